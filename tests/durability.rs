//! The request log over the real binary: what a client has received whole is written down, whatever becomes of the
//! gateway, the record or the room on the disk; and nothing secret is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::float_cmp, reason = "samples are counts, which floats hold exactly")]

mod support;

#[path = "durability/aborts.rs"]
mod aborts;
#[path = "durability/disk.rs"]
mod disk;
#[path = "durability/full.rs"]
mod full;
#[path = "durability/kill.rs"]
mod kill;
#[path = "durability/locked.rs"]
mod locked;
#[path = "durability/secrets.rs"]
mod secrets;

use std::net::SocketAddr;

use support::Gateway;

/// A gateway's configuration; `logs` are further settings of that section.
fn config(upstream: SocketAddr, threads: usize, logs: &str) -> String {
    format!(
        "[data]
threads = {threads}
[logs]
{logs}
[keys]
sources = [\"header:x-api-key\", \"bearer\", \"basic\", \"query:api_key\"]
[ip_guard]
failures = 0
[plans.wide]
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
"
    )
}

/// Every sum of the record is that of its rows.
async fn no_drift(gateway: &Gateway) {
    let verified = gateway.cli(&["verify"]).await;
    assert_eq!((&verified["ok"], &verified["drifted"]), (&true.into(), &0.into()), "{verified}");
}

/// A gateway with the one organization `acme` and its key: the key's id and secret.
async fn start(config: &str) -> (Gateway, String, String) {
    let gateway = Gateway::start(config).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateway.key("acme", "k", &["--daily", "1000000"]).await;
    (gateway, id, key)
}

/// The memory of its own that a process has now; files mapped are not its own.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
