//! `[data]` and `[control]`: the two sides that listen.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

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
    /// How long the answer to such a request may take.
    pub own_timeout: Duration,
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
