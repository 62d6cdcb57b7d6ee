//! Four gateways under load: how long after a change was acknowledged any of them still answers as before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tollgate::clock;

use super::support::{Answer, Gateway, Kept, Postgres, RedisServer, SOON, Upstream, send};
use super::{Load, config, start};

const GATEWAYS: usize = 4;
/// Changes; `TOLLGATE_REVOKES` asks for more. A thousand take six minutes.
const CHANGES: usize = 24;
/// Changes that are made at one time.
const WORKERS: usize = 6;
/// How long a wrong answer may still be given.
const IN_FORCE: Duration = Duration::from_secs(1);
/// How long it is looked for, each node asked this often.
const LOOKED_FOR: Duration = Duration::from_millis(1_500);
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// What is done to a key, and the code by which it is refused from then on.
const KINDS: [(&str, &str); 6] = [
    ("revoke", "invalid_api_key"),
    ("disable", "inactive_api_key"),
    ("rotate", "invalid_api_key"),
    ("edit: networks", "ip_not_allowed"),
    ("edit: quotas", "quota_total"),
    ("expire", "expired_api_key"),
];

/// Who makes the changes: an operator, by the API of whichever gateway.
struct Operator {
    controls: Vec<SocketAddr>,
    token: String,
}

impl Operator {
    async fn new(gateways: &[Gateway]) -> Self {
        let arguments = ["user", "create", "operator@example.com", "--operator", "--password-stdin"];
        gateways[0].cli_with(&arguments, "the password of the operator").await;
        let session = gateways[0].cli(&["session", "create", "operator@example.com", "--ttl", "1h"]).await;
        let controls = gateways.iter().map(|gateway| gateway.control).collect();
        Self { controls, token: session["session_token"].as_str().unwrap().to_owned() }
    }

    async fn does(&self, at: usize, method: &'static str, path: String, body: Value) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = send(self.controls[at % GATEWAYS], method, &path, &headers, body.to_string()).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
        answer.json()
    }

    /// Changes a key; from when on it must be refused.
    async fn change(&self, at: usize, kind: &str, id: &str) -> Instant {
        let asked = Instant::now();
        let end = clock::now().plus(Duration::from_secs(1));
        let edit = match kind {
            "edit: networks" => json!({ "allowed_ips": ["192.0.2.0/24"] }),
            "edit: quotas" => json!({ "quotas": { "total": 1 } }),
            "expire" => json!({ "expires_at": end.to_string() }),
            done => {
                self.does(at, "POST", format!("/v1/keys/{id}/{done}"), json!({})).await;
                return Instant::now();
            }
        };
        self.does(at, "PATCH", format!("/v1/keys/{id}"), edit).await;
        if kind == "expire" {
            return Instant::now().max(asked + Duration::from_secs(1));
        }
        Instant::now()
    }
}

/// A key in use at every gateway, and when each last admitted a request that was sent when it should not have been.
struct Watched {
    clients: JoinSet<Option<Instant>>,
    answered: Arc<Mutex<[usize; GATEWAYS]>>,
    changed: watch::Sender<Option<Instant>>,
}

impl Watched {
    fn start(gateways: &[SocketAddr], secret: &str, code: &'static str) -> Self {
        let (changed, change) = watch::channel(None::<Instant>);
        let mut watched = Self { clients: JoinSet::new(), answered: Arc::default(), changed };
        for (number, gateway) in gateways.iter().copied().enumerate() {
            let (secret, change, answered) =
                (secret.to_owned(), change.clone(), Arc::clone(&watched.answered));
            watched.clients.spawn(async move {
                let mut kept = Kept::new();
                let mut wrong = None;
                loop {
                    let in_force = *change.borrow();
                    let is_wrong = in_force.is_some_and(|from| Instant::now() > from);
                    let reply = kept.get(gateway, "/page", &secret).await.unwrap();
                    assert!(reply.status == 200 || reply.code() == code, "{reply:?}");
                    if is_wrong && reply.status == 200 {
                        wrong = Some(Instant::now());
                    }
                    answered.lock()[number] += 1;
                    if in_force.is_some_and(|from| from.elapsed() > LOOKED_FOR) {
                        assert_eq!(reply.code(), code);
                        return wrong;
                    }
                    tokio::time::sleep(ASKED_EVERY).await;
                }
            });
        }
        watched
    }

    /// Waits until every gateway has admitted it twice, so that each has it in its memory.
    async fn known(&self) {
        let deadline = Instant::now() + SOON;
        while self.answered.lock().iter().any(|answers| *answers < 2) {
            assert!(Instant::now() < deadline, "not every gateway answers");
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// How long after `from` the last wrong answer came.
    async fn end(self, from: Instant) -> Duration {
        self.changed.send_replace(Some(from));
        let last = self.clients.join_all().await.into_iter().flatten().max();
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(from))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_after_a_change_no_gateway_answers_as_before() {
    let changes: usize =
        std::env::var("TOLLGATE_REVOKES").ok().and_then(|text| text.parse().ok()).unwrap_or(CHANGES);
    let upstream = Arc::new(Upstream::start(|_| Answer::new(200).body("page")));
    let (server, redis) = (Postgres::start(), RedisServer::start());
    let counters = format!("[counters]\nurl = \"{}\"\ntimeout = \"400ms\"", redis.url());
    let (first, _, key) = start(&server, upstream.address, &counters).await;
    let mut gateways = vec![first];
    while gateways.len() < GATEWAYS {
        gateways.push(Gateway::start(&config(&server, upstream.address, &counters)).await);
    }
    let operator = Arc::new(Operator::new(&gateways).await);
    let load = Load::every(Duration::from_millis(25), &gateways.iter().collect::<Vec<_>>(), &key);
    let data: Vec<_> = gateways.iter().map(|gateway| gateway.data).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (data, next) = (data.clone(), Arc::clone(&next));
        let (operator, upstream) = (Arc::clone(&operator), Arc::clone(&upstream));
        workers.spawn(async move {
            let mut latest = [(0, Duration::ZERO); KINDS.len()];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= changes {
                    return latest;
                }
                let kind = number % KINDS.len();
                let made = json!({ "name": format!("k{number}"), "quotas": { "total": 100_000 } });
                let made = operator.does(number, "POST", "/v1/keys?organization=acme".to_owned(), made).await;
                let text = |name: &str| made[name].as_str().unwrap().to_owned();
                let watched = Watched::start(&data, &text("key"), KINDS[kind].1);
                watched.known().await;
                // At each of the gateways in turn; the others hear of it from the record.
                let from = operator.change(number / KINDS.len(), KINDS[kind].0, &text("id")).await;
                let last = watched.end(from).await;
                latest[kind] = (latest[kind].0 + 1, last.max(latest[kind].1));
                upstream.forget();
            }
        });
    }
    let all = workers.join_all().await;
    load.end().await;
    let mut slowest = Duration::ZERO;
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let times: usize = all.iter().map(|latest| latest[kind].0).sum();
        let last = all.iter().map(|latest| latest[kind].1).max().unwrap_or_default();
        println!("{name}: {times} times, last wrong answer after {last:?}");
        slowest = slowest.max(last);
    }
    println!(
        "{changes} changes, {GATEWAYS} gateways: the last wrong answer came {slowest:?} after the change"
    );
    assert!(slowest < IN_FORCE, "{slowest:?}");
}
