//! Limits over several gateways on one Redis, over real processes: what is admitted is counted where it arrives, by
//! the upstream behind them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "redis/alone.rs"]
mod alone;
#[path = "redis/blackhole.rs"]
mod blackhole;
#[path = "redis/cheap.rs"]
mod cheap;
#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/emptied.rs"]
mod emptied;
#[path = "redis/exact.rs"]
mod exact;
#[path = "redis/failover.rs"]
mod failover;
#[path = "redis/guard.rs"]
mod guard;
#[path = "redis/killed.rs"]
mod killed;
#[path = "redis/outage.rs"]
mod outage;
#[path = "redis/still.rs"]
mod still;
#[path = "redis/tls.rs"]
mod tls;
#[path = "redis/unseen.rs"]
mod unseen;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Gateway, Kept, RedisServer};
use tokio::task::JoinSet;

/// A gateway's configuration with counters at `redis`, the record in `shared`, and what `plans` says of plans.
fn config(upstream: SocketAddr, redis: &str, shared: &Path, more: &str) -> String {
    format!(
        "[data]
threads = 1
[record]
url = \"sqlite://{}\"
[counters]
url = \"{redis}\"
timeout = \"400ms\"
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
    start_at(count, upstream, &redis.url(), shared, plans, plan).await
}

/// As [`start`], with Redis at a URL.
async fn start_at(
    count: usize,
    upstream: SocketAddr,
    redis: &str,
    shared: &Path,
    plans: &str,
    plan: &str,
) -> Vec<Gateway> {
    let config = config(upstream, redis, shared, plans);
    let mut gateways = vec![Gateway::start(&config).await];
    gateways[0].cli(&["org", "create", "acme", "--plan", plan]).await;
    while gateways.len() < count {
        gateways.push(Gateway::start(&config).await);
    }
    gateways
}

/// Every client asks `each` times, spread over all gateways; how many were admitted, and the codes of the others.
async fn burst(gateways: &[Gateway], key: &str, clients: usize, each: usize) -> (usize, Vec<String>) {
    let mut asking = JoinSet::new();
    for client in 0..clients {
        let (data, key) = (gateways[client % gateways.len()].data, key.to_owned());
        asking.spawn(async move {
            let mut kept = Kept::new();
            let mut refused = Vec::new();
            let mut admitted = 0;
            for _ in 0..each {
                let reply = kept.get(data, "/", &key).await.unwrap();
                match reply.status {
                    200 => admitted += 1,
                    _ => refused.push(reply.code()),
                }
            }
            (admitted, refused)
        });
    }
    let all = asking.join_all().await;
    (all.iter().map(|(admitted, _)| admitted).sum(), all.into_iter().flat_map(|(_, codes)| codes).collect())
}

/// `clients` ask one gateway for as long as `time`; how many requests that were.
async fn flood(gateway: &Gateway, key: &str, clients: usize, time: Duration) -> usize {
    let until = Instant::now() + time;
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let (data, key) = (gateway.data, key.to_owned());
        asking.spawn(async move {
            let mut kept = Kept::new();
            let mut asked = 0;
            while Instant::now() < until {
                kept.get(data, "/", &key).await.unwrap();
                asked += 1;
            }
            asked
        });
    }
    asking.join_all().await.into_iter().sum()
}
