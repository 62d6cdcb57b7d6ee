//! Configuration: the checked form that the rest of the gateway reads.
//!
//! Raw text and checked configuration are two things. [`load`](load::load) reads the compiled-in
//! `gateway.toml`, the operator's file, the environment and flags, collects *every* problem, and only where
//! there is none is there a [`Config`]. Nothing behind this floor parses, defaults or validates a setting.
//!
//! ```text
//! gateway.toml, the operator's file, environment, flags
//!   tree, settings       one tree of raw values, each with the place where it was written
//!   field, expand, read  every setting read as what it should be, or noted as a problem
//!   Config               or all Problems
//! ```
//!
//! Deliberately absent: serde (it stops at the first mistake), a watch on the file (SIGHUP asks for a reload),
//! and defaults in code (`gateway.toml` has them all, and so documents them all).

pub mod changes;
mod expand;
mod field;
pub mod load;
pub mod problem;
mod read;
mod route;
mod settings;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

pub use self::route::{Auth, Dialect, Finder, Route};
pub use self::upstream::{Health, Target, Upstream, UpstreamCredential};
use crate::domain::limit::Caps;

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    /// The clients' side.
    pub data: Data,
    /// The operators' side.
    pub control: Control,
    /// Where keys, people and the request log live.
    pub record: Record,
    /// Where limits are counted.
    pub counters: Counters,
    /// The request log's spool.
    pub logs: Logs,
    /// Built-in logins.
    pub session: Session,
    /// What keys look like and where they are found.
    pub keys: Keys,
    /// Blocking of addresses that guess keys.
    pub ip_guard: IpGuard,
    /// The published key systems whose paths are answered here.
    pub systems: Systems,
    /// Money.
    pub billing: Billing,
    /// Plans by name, in the order of the file; never empty.
    pub plans: Vec<Plan>,
    /// Upstreams, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Routes; the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
}

/// `[data]`
#[derive(Debug)]
pub struct Data {
    /// Where clients connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Certificate and key in PEM: turns on HTTPS and HTTP/2.
    pub tls: Option<Tls>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// I/O threads, each with a listener and runtime of its own.
    pub threads: usize,
    /// Open client connections over all threads; more are closed at once, and counted.
    pub connections_max: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Request line and headers together, in bytes.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Request target, in bytes.
    pub target_bytes_max: usize,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// How long a request body or an answer's reader may stand still.
    pub stall_timeout: Duration,
    /// How long new connections are still taken after SIGTERM, when readiness has fallen.
    pub drain_delay: Duration,
    /// How long in-flight requests may take to finish after that.
    pub drain_timeout: Duration,
    /// Requests that the gateway answers itself, at one time; more get 503.
    pub own_requests_max: usize,
    /// The body of such a request, in bytes.
    pub own_body_max: usize,
}

/// Certificate chain and private key, as PEM files.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[control]`
#[derive(Debug)]
pub struct Control {
    /// Where operators connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Open connections; more wait to be accepted.
    pub connections_max: usize,
    /// Requests at work; more are refused with 503.
    pub requests_max: usize,
    /// A request's body, in bytes.
    pub body_bytes_max: u64,
    /// From a request's head to the head of its answer, and from a connection's first byte to a whole head.
    pub timeout: Duration,
}

/// `[record]`
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which, and where.
    pub url: RecordUrl,
    /// Connections to a server, at most; the log has one more.
    pub connections_max: u32,
    /// How long the making of a connection may take, and the waiting for one that is free.
    pub connect_timeout: Duration,
    /// How long a server may take over one question or change. Batches of the log have a bound of their own.
    pub answer_timeout: Duration,
}

/// Where the record is.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordUrl {
    /// A file; made where it does not exist.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by a URL that may hold a password.
    Postgres(Masked),
}

/// `[counters]`
#[derive(Debug)]
pub struct Counters {
    /// The engine.
    pub engine: CountersEngine,
    /// What happens while an engine outside of this process is out of reach.
    pub on_outage: OnOutage,
    /// Keys with live counts; a request of one more is refused as overloaded.
    pub keys_max: usize,
    /// How long a call to an engine outside of this process may take.
    pub timeout: Duration,
}

/// Where limits are counted.
#[derive(Debug, Clone, PartialEq)]
pub enum CountersEngine {
    /// In this process.
    Memory,
    /// In one Redis, at this URL.
    Redis(RedisUrl),
}

/// Where Redis is. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(pub String);

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redis://…")
    }
}

/// What happens while the counters are out of reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OnOutage {
    /// Limits are kept with this node's share.
    Local,
    /// Requests are refused with 503.
    Closed,
}

/// `[logs]`
#[derive(Debug)]
pub struct Logs {
    /// The spool's directory; made where it does not exist.
    pub dir: PathBuf,
    /// How long rows are kept.
    pub retention: Duration,
    /// The spool's size on disk, over all its segments.
    pub spool_bytes_max: u64,
    /// One segment's size.
    pub segment_bytes: u64,
    /// What happens to requests when the spool is full.
    pub when_full: WhenFull,
    /// How often the spool is forced to disk; what a power cut can lose.
    pub sync_every: Duration,
    /// How often rows are moved to the record.
    pub ship_every: Duration,
    /// Rows moved in one transaction.
    pub batch_rows_max: usize,
    /// Rows as JSON lines.
    pub export: Export,
}

/// `[logs.export]`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// Where lines go; `None` is nowhere.
    pub to: Option<ExportTo>,
    /// A file is rotated away when it has become this long.
    pub rotate_bytes: u64,
    /// Files kept, the present one and those rotated away.
    pub files_max: usize,
}

/// Where exported lines go.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportTo {
    /// A file, appended to.
    File(PathBuf),
    /// Standard output, behind the line that says that the gateway is ready.
    Stdout,
}

/// What happens to requests when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WhenFull {
    /// They are refused with 503 before anything is claimed.
    Refuse,
    /// They are served; their rows are dropped and counted as lost.
    Drop,
}

/// `[session]`
#[derive(Debug)]
pub struct Session {
    /// The HS256 secret of tokens; `None` where no built-in login is wanted.
    pub secret: Option<Masked>,
    /// How long a login lasts.
    pub ttl: Duration,
    /// Who else says who somebody is.
    pub outside: Option<Issuer>,
}

/// An outside identity provider, whose tokens (JWT) are believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// Where its public keys are.
    pub keys: KeySet,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// How its tokens are signed.
    pub algorithm: IssuerAlgorithm,
}

/// Where a JWK set (RFC 7517) is.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySet {
    /// Fetched, and fetched again.
    Url(String),
    /// Read from a file, and read again.
    File(PathBuf),
}

/// How an outside issuer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A text that is never printed.
#[derive(Clone, PartialEq)]
pub struct Masked(pub String);

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(masked)")
    }
}

/// A key of 256 bits that is never printed.
#[derive(Clone, PartialEq)]
pub struct SealKey(pub [u8; 32]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(masked)")
    }
}

/// `[keys]`
#[derive(Debug)]
pub struct Keys {
    /// What a made key begins with.
    pub prefix: String,
    /// Where a key is looked for; the first source present decides.
    pub sources: Vec<Source>,
    /// Keys kept in memory.
    pub cache_max: usize,
    /// Unknown digests remembered as unknown.
    pub cache_absent_max: usize,
    /// How long an unknown digest is remembered as unknown.
    pub cache_absent_for: Duration,
    /// How often changes made elsewhere are looked for.
    pub follow_every: Duration,
    /// How long the key index in Redis keeps a key that nobody reads from the record; zero is no index.
    pub index_for: Duration,
    /// With a record on a server: how long after that last confirmed them a gateway that starts without it goes on with
    /// the keys it knew; zero is never.
    pub remember_for: Duration,
    /// What new keys are sealed with; `None` keeps digests only.
    pub reveal_key: Option<SealKey>,
}

/// A place where a client may put its key.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// `header:NAME`
    Header(HeaderName),
    /// `bearer`: `Authorization: Bearer KEY` (RFC 6750)
    Bearer,
    /// `basic`: `Authorization: Basic`, the key as user name (password empty) or as password (RFC 7617)
    Basic,
    /// `query:NAME`
    Query(String),
}

/// `[ip_guard]`
#[derive(Debug)]
pub struct IpGuard {
    /// Failed authentications that block an address; 0 switches the guard off.
    pub failures: u32,
    /// The time in which they count.
    pub within: Duration,
    /// How long the address stays blocked.
    pub block_for: Duration,
    /// Addresses watched at one time.
    pub addresses_max: usize,
}

/// `[systems]`: where each is answered, whatever the file said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Systems {
    /// AlterLab's.
    pub alterlab: Answered,
    /// AzScraper's.
    pub azscraper: Answered,
    /// Piloterr's.
    pub piloterr: Answered,
    /// Jobs kept in memory, of those that routes remember.
    pub jobs_max: usize,
    /// Whether AzScraper's `POST /auth/register` makes accounts.
    pub register: bool,
}

/// On which listeners a system is answered. In this order: what is answered to clients is to operators, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// On none.
    Nowhere,
    /// On the operators' alone: on the clients' its paths are the upstream's.
    Control,
    /// On both.
    Everywhere,
}

/// `[billing]`
#[derive(Debug)]
pub struct Billing {
    /// What a microcent is, for people and reports; nothing is computed with it.
    pub microcents_per_dollar: u64,
    /// What a credit costs where only credits are known, and the other way round.
    pub microcents_per_credit: u64,
}

/// `[plans.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its caps.
    pub caps: Caps,
}

impl Config {
    /// How refusals are spelled before a route is known: as all routes do, or natively where they differ.
    pub fn common_dialect(&self) -> Dialect {
        match self.routes.split_first() {
            Some((first, rest)) if rest.iter().all(|route| route.dialect == first.dialect) => first.dialect,
            _ => Dialect::Native,
        }
    }

    /// The caps of the plan called `name`; of no plan known any more, the strictest of all plans, as a limit
    /// must never become unlimited by an edit.
    pub fn caps(&self, name: &str) -> Caps {
        self.plans.iter().find(|plan| plan.name == name).map_or_else(
            || self.plans.iter().fold(Caps::default(), |caps, plan| caps.strictest(plan.caps)),
            |plan| plan.caps,
        )
    }
}
