//! `[[upstreams]]`: where requests go, with which credential, and how long they may take.

use std::time::Duration;

use http::HeaderName;

use super::Masked;

/// `[[upstreams]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name, for routes and metrics.
    pub name: String,
    /// `host:port`, each with a weight; several are balanced.
    pub targets: Vec<Target>,
    /// The gateway's own credential towards it.
    pub credential: Option<UpstreamCredential>,
    /// To make a connection.
    pub connect_timeout: Duration,
    /// From the request sent to the head of the answer.
    pub answer_timeout: Duration,
    /// How long an answer's body may stand still.
    pub stall_timeout: Duration,
    /// Connections kept open without a request, per I/O thread and target.
    pub idle_max: usize,
    /// How long they are kept.
    pub idle_timeout: Duration,
    /// Further targets tried where no byte of the request was sent.
    pub retries: usize,
    /// Whether and how targets are probed.
    pub health: Health,
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `host:port`; a name is resolved at start and at reload.
    pub address: String,
    /// Its share of requests.
    pub weight: usize,
}

/// The gateway's own credential: set on every forwarded request.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamCredential {
    /// `{ header = NAME, value = … }`
    Header(HeaderName, Masked),
    /// `{ query = NAME, value = … }`
    Query(String, Masked),
}

/// `[upstreams.health]`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Between two probes of a target; zero switches probing off.
    pub every: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// A path that must answer 2xx; `None` probes by connecting only.
    pub path: Option<String>,
    /// Probes in a row that make a target healthy.
    pub rise: usize,
    /// Probes in a row that make it unhealthy.
    pub fall: usize,
}
