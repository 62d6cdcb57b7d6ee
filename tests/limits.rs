//! Limits of the contract's section 6 over the real binary: what is admitted is counted where it arrives, by the
//! upstream behind the gateway, and by the request log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]
#![allow(clippy::float_cmp, reason = "samples are counts, which floats hold exactly")]

mod support;

#[path = "limits/changes.rs"]
mod changes;
#[path = "limits/concurrency.rs"]
mod concurrency;
#[path = "limits/plan.rs"]
mod plan;
#[path = "limits/quota.rs"]
mod quota;
#[path = "limits/spend.rs"]
mod spend;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use support::{Gateway, Kept, Reply};
use tokio::task::JoinSet;

/// A gateway's configuration with the plans `wide`, which has no caps, and what `plans` says. The price of a request
/// is 5 credits; the upstream may say otherwise in `x-cost`.
fn config(upstream: SocketAddr, plans: &str) -> String {
    format!(
        "[data]
threads = 2
[logs]
segment_bytes = \"1MiB\"
[ip_guard]
failures = 0
[plans.wide]
{plans}
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
answer_timeout = \"1s\"
[[routes]]
path = \"/*\"
upstream = \"scraper\"
price = 5
body_max = \"64KiB\"
cost = [\"header:x-cost\"]
"
    )
}

/// A gateway with the one organization `acme`.
async fn start(upstream: SocketAddr, plans: &str, plan: &str) -> Gateway {
    let gateway = Gateway::start(&config(upstream, plans)).await;
    gateway.cli(&["org", "create", "acme", "--plan", plan]).await;
    gateway
}

/// Where the gateway is at present, as a restart moves it.
type Address = Arc<Mutex<SocketAddr>>;

/// As many clients as there are keys given, each on a connection of its own and `stagger` after the one before;
/// each insists on one whole answer. The replies come in any order.
fn each_once(address: &Address, stagger: Duration, keys: impl IntoIterator<Item = String>) -> JoinSet<Reply> {
    let mut clients = JoinSet::new();
    for (before, key) in (0..).zip(keys) {
        let address = Arc::clone(address);
        clients.spawn(async move {
            tokio::time::sleep(before * stagger).await;
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n");
            Kept::new().insist(|| *address.lock(), &request).await
        });
    }
    clients
}

/// All at once.
const AT_ONCE: Duration = Duration::ZERO;

/// How many replies had this status and code.
fn count(replies: &[Reply], status: u16, code: &str) -> usize {
    replies.iter().filter(|reply| reply.status == status && reply.code() == code).count()
}
