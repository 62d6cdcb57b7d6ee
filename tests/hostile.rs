//! Hostile clients, over real sockets: slow ones, ambiguous ones, forging ones, endless ones. What reaches the
//! upstream behind the gateway is what should, and nobody else is hurt.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::float_cmp, reason = "samples are counts, which floats hold exactly")]

mod support;

#[path = "hostile/bounds.rs"]
mod bounds;
#[path = "hostile/framing.rs"]
mod framing;
#[path = "hostile/identity.rs"]
mod identity;
#[path = "hostile/large.rs"]
mod large;
#[path = "hostile/slow.rs"]
mod slow;

use std::net::SocketAddr;

use support::Gateway;

/// A gateway's configuration; `data` are further settings of that section.
fn config(upstream: SocketAddr, data: &str) -> String {
    format!(
        "[data]
threads = 2
{data}
[logs]
segment_bytes = \"1MiB\"
[ip_guard]
failures = 0
[plans.wide]
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/limited/*\"
upstream = \"scraper\"
body_max = \"1MiB\"
[[routes]]
path = \"/*\"
upstream = \"scraper\"
body_max = \"1TiB\"
"
    )
}

/// A gateway with the one organization `acme`, and its key.
async fn start(upstream: SocketAddr, data: &str) -> (Gateway, String) {
    let gateway = Gateway::start(&config(upstream, data)).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    (gateway, key)
}
