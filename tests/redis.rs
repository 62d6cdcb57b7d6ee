//! Limits over several gateways on one Redis, over real processes: what is admitted is counted where it arrives, by
//! the upstream behind them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "redis/exact.rs"]
mod exact;

use std::net::SocketAddr;
use std::path::Path;

use support::{Gateway, RedisServer};

/// A gateway's configuration with counters at `redis`, the record in `shared`, and what `plans` says of plans.
fn config(upstream: SocketAddr, redis: &str, shared: &Path, more: &str) -> String {
    format!(
        "[data]
threads = 1
[record]
url = \"sqlite://{}\"
[counters]
url = \"{redis}\"
timeout = \"500ms\"
[logs]
segment_bytes = \"1MiB\"
[ip_guard]
failures = 0
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
cost = [\"header:x-cost\"]
{more}
",
        shared.join("tollgate.db").display()
    )
}

/// `count` gateways on one record and one Redis, with the organization `acme` on `plan`.
async fn start(
    count: usize,
    upstream: SocketAddr,
    redis: &RedisServer,
    shared: &Path,
    plans: &str,
    plan: &str,
) -> Vec<Gateway> {
    let config = config(upstream, &redis.url(), shared, plans);
    let mut gateways = vec![Gateway::start(&config).await];
    gateways[0].cli(&["org", "create", "acme", "--plan", plan]).await;
    while gateways.len() < count {
        gateways.push(Gateway::start(&config).await);
    }
    gateways
}
