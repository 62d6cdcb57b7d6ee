//! `[[routes]]`: which requests go to which upstream, who may send them, and what they cost.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::domain::cost::Outcome;
use crate::domain::key::Scope;
use crate::domain::path::Pattern;

/// `[[routes]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The path pattern, loose where the upstream reads paths so; a parameter `{project}` locks keys to that project,
    /// `{job}` to the one that made the job.
    pub path: Pattern,
    /// Methods it takes; empty is every method.
    pub methods: Vec<Method>,
    /// The position in [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// Who may use it.
    pub auth: Auth,
    /// How its refusals are spelled.
    pub dialect: Dialect,
    /// Credits charged where the upstream names none.
    pub price: u64,
    /// The scope it needs; `None` goes by method.
    pub scope: Option<Scope>,
    /// Request body, in bytes.
    pub body_bytes_max: u64,
    /// In the place of the upstream's.
    pub answer_timeout: Option<Duration>,
    /// Whether an `Upgrade` (WebSocket) is let through.
    pub upgrade: bool,
    /// Whether `%2F` may stand in a path.
    pub encoded_slashes: bool,
    /// Who names the credits, tried in order.
    pub cost: Vec<Finder>,
    /// Who names the microcents, tried in order.
    pub cost_microcents: Vec<Finder>,
    /// Who names the tier, tried in order.
    pub tier: Vec<Finder>,
    /// Who names the target's status, by which success is judged; empty goes by the answer's own status.
    pub outcome: Vec<Finder>,
    /// Statuses that count as success; empty is 200 to 299.
    pub success: Vec<u16>,
    /// Outcomes that are charged.
    pub charge: Vec<Outcome>,
    /// Where a JSON answer (RFC 6901) names what it made, so that it is remembered which project it belongs to.
    pub remember: Option<String>,
    /// How much of a JSON answer is looked into; a longer one is streamed on unread.
    pub inspect_bytes_max: usize,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Auth {
    /// A key.
    Key,
    /// Anyone; nothing is counted.
    None,
}

/// How refusals are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `{"error","code","request_id"}`
    Native,
    /// `{"error","message","detail","code"}`
    AlterLab,
    /// `{"success":false,"error":{"code","message","details":[]}}`
    AzScraper,
    /// As native.
    Piloterr,
}

/// One place to look for a value in an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Finder {
    /// `header:NAME`
    Header(HeaderName),
    /// `json:/pointer` (RFC 6901)
    Json(String),
    /// `2xx=1`: a fixed value for a class of statuses; the class is the first digit.
    Status(u8, String),
}
