//! What integration tests are made of: the real binary, an upstream that does what it is told and remembers what
//! it got, and clients that see every byte.
//!
//! ```ignore
//! mod support;
//! use support::{Answer, Gateway, Upstream, get};
//!
//! let upstream = Upstream::start(|seen| Answer::new(200).body(format!("you asked for {}", seen.target())));
//! let gateway = Gateway::start(&format!(…, upstream.address)).await;
//! let key = gateway.cli(&["key", "create", "--org", "acme", "--name", "k"]).await["key"].as_str()…;
//! let answer = get(gateway.data, "/page", &[("x-api-key", key)]).await;
//! assert_eq!(upstream.seen()[0].header("x-api-key"), None);
//! ```
//!
//! Nothing sleeps for luck: whatever takes time is waited for with [`wait_until`], which says what it waited for.

#![allow(dead_code, reason = "each test uses the part it needs")]
#![allow(unused_imports, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod answer;
mod client;
mod demo;
mod entries;
mod gateway;
mod http1;
mod kept;
mod postgres;
mod published;
mod recorder;
mod redis_cluster;
mod redis_server;
mod relay;
mod rows;
mod running;
mod upstream;

use std::time::{Duration, Instant};

pub use answer::{Answer, Feed, feed};
pub use client::{Response, Wire, get, post, raw, send};
pub use demo::Demo;
pub use entries::{Entries, Entry, Locked, metrics, sum};
pub use gateway::{Finished, Gateway, run};
pub use kept::{Kept, Reply};
pub use postgres::{PASSWORD, Postgres};
pub use published::{Client, comparable, documented};
pub use recorder::Recorder;
pub use redis_cluster::{RedisCluster, SLOTS};
pub use redis_server::{RedisServer, free_port};
pub use relay::Relay;
pub use rows::{Rows, row_of, rows};
pub use running::Running;
pub use upstream::{Seen, Upstream};

/// How long anything may take that should be quick, on a machine that is busy building.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// Where it does not within `within`; the message names `what`.
pub async fn wait_until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
