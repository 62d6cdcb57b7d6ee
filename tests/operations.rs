//! What an operator sees and does: starting, watching, reloading and ending the real binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::float_cmp, reason = "samples are counts, which floats hold exactly")]

mod support;

#[path = "operations/ending.rs"]
mod ending;
#[path = "operations/reload.rs"]
mod reload;
#[path = "operations/starting.rs"]
mod starting;
#[path = "operations/watching.rs"]
mod watching;

use std::net::SocketAddr;

use support::Gateway;

/// A gateway's configuration: one plan, one route to one upstream. `data` are further settings of that section.
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
[upstreams.health]
every = \"100ms\"
rise = 1
fall = 1
[[routes]]
path = \"/*\"
upstream = \"scraper\"
"
    )
}

/// A gateway with the one organization `acme`, and its key.
async fn start(config: &str, environment: &[(&str, &str)]) -> (Gateway, String) {
    let gateway = Gateway::start_with(config, environment).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    (gateway, key)
}
