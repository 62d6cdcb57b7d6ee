//! The request log's tools over the real binary: `tollgate logs`, `tollgate verify`, and the export.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::float_cmp, reason = "samples are counts, which floats hold exactly")]

mod support;

#[path = "logs/domains.rs"]
mod domains;
#[path = "logs/export.rs"]
mod export;
#[path = "logs/show.rs"]
mod show;
#[path = "logs/verify.rs"]
mod verify;

use std::net::SocketAddr;

use support::Gateway;

/// A gateway's configuration; `logs` are further settings of that section, or sections behind it.
fn config(upstream: SocketAddr, logs: &str) -> String {
    format!(
        "[data]
threads = 2
[logs]
segment_bytes = \"64KiB\"
ship_every = \"20ms\"
batch_rows_max = 100
{logs}
[ip_guard]
failures = 0
[plans.wide]
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
tier = [\"json:/tier\"]
"
    )
}

/// A gateway with the one organization `acme` and its key: the key's id and secret.
async fn start(config: &str) -> (Gateway, String, String) {
    let gateway = Gateway::start(config).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateway.key("acme", "k", &[]).await;
    (gateway, id, key)
}
