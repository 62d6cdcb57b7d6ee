//! The gateway over a real PostgreSQL server: killed, stopped, full, shared by several gateways.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "postgres/blackhole.rs"]
mod blackhole;
#[path = "postgres/both.rs"]
mod both;
#[path = "postgres/migrate.rs"]
mod migrate;
#[path = "postgres/newcomers.rs"]
mod newcomers;
#[path = "postgres/nodes.rs"]
mod nodes;
#[path = "postgres/outages.rs"]
mod outages;
#[path = "postgres/revokes.rs"]
mod revokes;
#[path = "postgres/starts.rs"]
mod starts;
#[path = "postgres/tls.rs"]
mod tls;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tokio::task::JoinSet;

use support::{Gateway, Kept, Postgres, SOON, wait_until};

/// The configuration of one of the gateways on `server`; `more` stands behind its `[logs]`.
fn config(server: &Postgres, upstream: SocketAddr, more: &str) -> String {
    format!(
        "[data]
threads = 2
[record]
url = \"{}\"
connect_timeout = \"2s\"
answer_timeout = \"2s\"
[ip_guard]
failures = 0
[logs]
ship_every = \"50ms\"
{more}
[plans.wide]
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
",
        server.url()
    )
}

/// A gateway with the one organization `acme` and its key: the key's id and secret.
async fn start(server: &Postgres, upstream: SocketAddr, more: &str) -> (Gateway, String, String) {
    let gateway = Gateway::start(&config(server, upstream, more)).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateway.key("acme", "k", &["--daily", "10000000"]).await;
    (gateway, id, key)
}

/// What a statement counts.
async fn number(server: &Postgres, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
}

/// The ids of every row of the log.
async fn ids(server: &Postgres) -> Vec<String> {
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    let rows = sqlx::query("SELECT id::text FROM requests").fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Answers that a client takes on one connection. Which I/O thread serves a connection is the kernel's choice: clients that
/// kept theirs for good could leave a thread without traffic, whose log then never moves on.
const ON_ONE_CONNECTION: usize = 50;

/// Clients of one key, who go on until they are told to end, and expect nothing but 200.
struct Load {
    clients: JoinSet<()>,
    until: Arc<Mutex<Option<Instant>>>,
    received: Arc<Mutex<HashSet<String>>>,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl Load {
    fn start(gateways: &[&Gateway], key: &str) -> Self {
        Self::every(Duration::from_millis(5), gateways, key)
    }

    /// Each client waits for `pause` between an answer and its next request.
    fn every(pause: Duration, gateways: &[&Gateway], key: &str) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            until: Arc::default(),
            received: Arc::default(),
            took: Arc::default(),
        };
        for client in 0..8 {
            let data = gateways[client % gateways.len()].data;
            let (key, until) = (key.to_owned(), Arc::clone(&load.until));
            let (received, took) = (Arc::clone(&load.received), Arc::clone(&load.took));
            load.clients.spawn(async move {
                let mut kept = Kept::new();
                let mut answers = 0;
                while until.lock().is_none_or(|until| Instant::now() < until) {
                    let began = Instant::now();
                    let reply = kept.get(data, "/page", &key).await.unwrap();
                    assert_eq!(reply.status, 200, "a known key: {reply:?}");
                    took.lock().push(began.elapsed());
                    received.lock().insert(reply.header("x-request-id").unwrap().to_owned());
                    answers += 1;
                    if answers % ON_ONE_CONNECTION == 0 {
                        kept.hang_up();
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
        load
    }

    fn count(&self) -> usize {
        self.received.lock().len()
    }

    /// How long answers took since this was last asked, the fastest first.
    fn took(&self) -> Vec<Duration> {
        let mut took = std::mem::take(&mut *self.took.lock());
        took.sort();
        took
    }

    /// Ends the clients: what they received, and how long the slowest answer took.
    async fn end(self) -> (HashSet<String>, Duration) {
        *self.until.lock() = Some(Instant::now());
        self.clients.join_all().await;
        let received = std::mem::take(&mut *self.received.lock());
        let slowest = self.took.lock().iter().max().copied().unwrap_or_default();
        (received, slowest)
    }
}

/// Waits until the log has every request that a client has received, each once, and nothing else of it.
async fn logged(server: &Postgres, received: &HashSet<String>) {
    wait_until("what was received whole is written down", SOON, async || {
        let known: HashSet<_> = ids(server).await.into_iter().collect();
        received.is_subset(&known)
    })
    .await;
    let ids = ids(server).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a row is there twice");
    let sums = number(server, "SELECT sum(requests)::bigint FROM key_usage").await;
    let admitted = number(server, "SELECT count(*) FROM requests WHERE admitted AND key IS NOT NULL").await;
    assert_eq!(sums, admitted);
}
