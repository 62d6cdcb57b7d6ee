//! The counters in Redis: the script against memory's accounts, and both in a simulation of nodes and a network.

#[path = "../../../../../tests/support/redis_server.rs"]
#[allow(dead_code, reason = "what these tests do not need, others do")]
pub mod redis_server;

#[path = "../../../../../tests/support/redis_cluster.rs"]
#[allow(dead_code, reason = "what these tests do not need, others do")]
pub mod redis_cluster;

mod central;
mod equal;
mod rebuilt;
mod reported;
mod simulation;
