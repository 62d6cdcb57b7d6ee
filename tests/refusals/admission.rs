//! Checks 3 to 13, on one gateway that has a route for each dialect, from `cases.txt`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine as _;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::secrets::{mistyped, unknown};
use crate::support::{Answer, Gateway, Rows, SOON, Seen, Upstream, feed, get, rows, send, wait_until};
use crate::table::{DIALECTS, assert_refused, assert_refused_to_head, code, one_answer};

/// Organizations with caps of their own.
const ORGANIZATIONS: &[(&str, &[&str])] = &[
    ("acme", &[]),
    ("busy", &["--concurrency", "1"]),
    ("no_second", &["--per-second", "0"]),
    ("no_minute", &["--per-minute", "0"]),
    ("minute", &["--per-minute", "1"]),
    ("org_requests", &[]),
    ("org_budget", &[]),
];

/// Keys: name, organization, further arguments.
const KEYS: &[(&str, &str, &[&str])] = &[
    ("good", "acme", &[]),
    ("other", "acme", &[]),
    ("revoked", "acme", &[]),
    ("rotated", "acme", &[]),
    ("inactive", "acme", &[]),
    ("expired", "acme", &["--expires", "1ms"]),
    ("at_office", "acme", &["--allow-ip", "10.10.0.0/16", "--allow-ip", "2001:db8:10::/64"]),
    ("reader", "acme", &["--scope", "read"]),
    ("writer", "acme", &["--scope", "write"]),
    ("aside", "acme", &["--project", "aside"]),
    ("busy", "busy", &[]),
    ("no_second", "no_second", &[]),
    ("no_minute", "no_minute", &[]),
    ("minute", "minute", &[]),
    ("total", "acme", &["--total", "1"]),
    ("daily", "acme", &["--daily", "1"]),
    ("weekly", "acme", &["--weekly", "1"]),
    ("monthly", "acme", &["--monthly", "1"]),
    ("key_requests", "acme", &[]),
    ("key_budget", "acme", &[]),
    ("org_requests", "org_requests", &[]),
    ("org_budget", "org_budget", &[]),
    ("switched_off", "acme", &[]),
];

/// What is done to organizations and keys after they were made. A request is reserved 1,000 microcents.
const CHANGES: &[&str] = &[
    "key revoke revoked --org acme",
    "key rotate rotated --org acme",
    "key disable inactive --org acme",
    "key limit key_requests --org acme --requests 1 --period daily",
    "key limit key_budget --org acme --microcents 1999 --period monthly",
    "key limit switched_off --org acme --requests 0 --microcents 0 --period daily --disabled",
    "org limit org_requests --requests 1 --period weekly",
    "org limit org_budget --microcents 1999 --period daily",
];

/// Keys of which the one request that they are good for is made first.
const USED_UP: [&str; 9] = [
    "minute",
    "total",
    "daily",
    "weekly",
    "monthly",
    "key_requests",
    "key_budget",
    "org_requests",
    "org_budget",
];

/// Failures that block an address.
const FAILURES: usize = 3;

#[tokio::test]
async fn requests_are_refused_in_every_dialect() {
    let (held, pieces) = feed();
    let pieces = parking_lot::Mutex::new(Some(pieces));
    let upstream = Upstream::start(move |seen| answer(seen, &pieces));
    let dead = dead();
    let config = config(upstream.address, dead.local_addr().unwrap().as_socket().unwrap());
    let bench = Bench::start(&config).await;
    bench.block_addresses().await;
    for name in USED_UP {
        assert_eq!(bench.get("/native/a", &bench.keys[name]).await.status, 200, "{name}");
    }
    wait_until("the ill target is found out", SOON, async || {
        bench.get("/native/ill/a", &bench.keys["good"]).await.status == 503
    })
    .await;
    let slot = tokio::spawn({
        let (at, key) = (bench.gateway.data, bench.keys["busy"].clone());
        async move { get(at, "/native/hold", &[("x-api-key", &key)]).await }
    });
    wait_until("the slot is taken", SOON, async || {
        upstream.seen().iter().any(|seen| seen.target() == "/native/hold")
    })
    .await;

    let mut seen = Seens::new();
    let cases = include_str!("cases.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for case in cases {
        let (label, request) = case.split_at(23);
        for dialect in DIALECTS {
            bench.check(label.trim(), request, dialect, &mut seen).await;
        }
    }
    // Where no route is known and the routes differ, refusals are native.
    let headless = one_answer(bench.gateway.data, "GET /alterlab/a HTTP/1.1\r\n\r\n").await;
    seen.push((assert_refused(&headless, "bad_request", "native", "no Host"), "bad_request".into(), 400));
    let nowhere = bench.get("/elsewhere", "").await;
    seen.push((assert_refused(&nowhere, "no_route", "native", "no route"), "no_route".into(), 404));
    bench.bodies(&mut seen).await;
    bench.seconds(&mut seen).await;

    drop(held);
    assert_eq!(slot.await.unwrap().status, 200);
    for dialect in DIALECTS {
        let freed = bench.get(&format!("/{dialect}/a"), &bench.keys["busy"]).await;
        assert_eq!(freed.status, 200, "the slot is free again");
    }
    assert_eq!(dead_connections(&dead), 0, "nobody listens there");
    logged(&bench.gateway, &seen).await;
}

/// What each request was answered: its id, code and status.
type Seens = Vec<(String, String, u16)>;

/// The log has one row for each request, with the status and code that its client got.
async fn logged(gateway: &Gateway, seen: &Seens) {
    let mut log = Rows::new();
    wait_until("every request is in the log", SOON, async || {
        log = rows(gateway).await;
        seen.iter().all(|(id, ..)| log.contains_key(id))
    })
    .await;
    for (id, code, status) in seen {
        let row = &log[id];
        let logged = json!([row["code"], row["status"]]);
        assert_eq!(logged, json!([code, status]), "{row}");
        // What failed on its way to the upstream had been admitted; nothing else had.
        let underway = code.is_empty() || code.contains("upstream") || code == "body_too_large";
        assert_eq!(row["admitted"], json!(i64::from(underway && !row["key"].is_null())), "{row}");
        if !code.is_empty() {
            assert_eq!(json!([row["credits"], row["microcents"], row["cost_source"]]), json!([0, 0, "free"]));
            assert_eq!(row["bytes_out"].as_i64() > Some(0), row["method"] != "HEAD", "{row}");
        }
    }
}

struct Bench {
    gateway: Gateway,
    keys: HashMap<String, String>,
    projects: HashMap<String, String>,
    addresses: RefCell<u32>,
}

impl Bench {
    async fn start(config: &str) -> Self {
        let gateway = Gateway::start(config).await;
        for (name, caps) in ORGANIZATIONS {
            gateway.cli(&["org", "create", name, "--plan", "wide"]).await;
            if !caps.is_empty() {
                gateway.cli(&[&["org", "set-plan", name, "wide"], *caps].concat()).await;
            }
        }
        gateway.cli(&["project", "create", "aside", "--org", "acme"]).await;
        let (mut keys, mut projects) = (HashMap::new(), HashMap::new());
        for (name, organization, more) in KEYS {
            let made = gateway
                .cli(&[&["key", "create", "--org", organization, "--name", name], *more].concat())
                .await;
            let text = |field: &str| made[field].as_str().unwrap().to_owned();
            keys.insert((*name).to_owned(), text("key"));
            projects.insert((*name).to_owned(), text("project"));
        }
        for change in CHANGES {
            gateway.cli(&change.split(' ').collect::<Vec<_>>()).await;
        }
        keys.insert("unknown".into(), unknown());
        keys.insert("unknown2".into(), unknown());
        keys.insert("mistyped".into(), mistyped(&keys["good"]));
        Self { gateway, keys, projects, addresses: RefCell::new(0) }
    }

    /// Guesses until two addresses are blocked; and fails as often for other reasons from a third, which counts
    /// for nothing.
    async fn block_addresses(&self) {
        let from = async |address: &str, key: &str, status: u16| {
            let headers = [("x-api-key", key), ("x-forwarded-for", address)];
            assert_eq!(get(self.gateway.data, "/native/a", &headers).await.status, status, "{address}");
        };
        for number in 0..FAILURES {
            from("10.66.0.1", &unknown(), 401).await;
            from(&format!("2001:db8:66:1::{number}"), "sk_live_short", 401).await;
            from("10.66.0.2", &self.keys["inactive"], 401).await;
            from("10.66.0.2", &self.keys["at_office"], 403).await;
        }
    }

    async fn get(&self, path: &str, key: &str) -> crate::support::Response {
        get(self.gateway.data, path, &[("x-api-key", key)]).await
    }

    /// Sends one case, GET as HEAD too, and holds the answers against the row.
    async fn check(&self, label: &str, case: &str, dialect: &str, seen: &mut Seens) {
        let mut parts = case.split(" | ");
        let (method, path) = parts.next().unwrap().split_once(' ').unwrap();
        let path = format!("/{dialect}{}", self.fill(path.trim()));
        let mut headers: Vec<(String, String)> = parts
            .map(|header| {
                let (name, value) = header.split_once(':').unwrap();
                (name.to_owned(), self.fill(value.trim()))
            })
            .collect();
        if !headers.iter().any(|(name, _)| name == "x-forwarded-for") {
            headers.push(("x-forwarded-for".into(), self.address()));
        }
        let borrowed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = send(self.gateway.data, method, &path, &borrowed, "").await;
        if label == "-" {
            assert_eq!(answer.status, 200, "{dialect}: {case}: {}", answer.text());
            seen.push((answer.header("x-request-id").unwrap().to_owned(), String::new(), 200));
            return;
        }
        let id = assert_refused(&answer, label, dialect, case);
        seen.push((id, code(label).to_owned(), answer.status));
        if method == "GET" {
            if headers.last().unwrap().0 == "x-forwarded-for" && !case.contains("x-forwarded-for") {
                headers.last_mut().unwrap().1 = self.address();
            }
            let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
            let answer = one_answer(self.gateway.data, head).await;
            let id = assert_refused_to_head(&answer, label, dialect, case);
            seen.push((id, code(label).to_owned(), answer.status));
        }
    }

    /// A body that is too large, declared or found out, is refused and its connection closed.
    async fn bodies(&self, seen: &mut Seens) {
        let key = &self.keys["good"];
        for dialect in DIALECTS {
            let head = format!("POST /{dialect}/small/a HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n");
            let long = "b".repeat(65);
            for framed in [
                // Of the declared one no byte is waited for.
                "Content-Length: 65\r\n\r\n".to_owned(),
                format!("Content-Length: 65\r\n\r\n{long}"),
                format!("Content-Length: {}\r\n\r\n", u64::MAX / 2),
                format!("Transfer-Encoding: chunked\r\n\r\n41\r\n{long}\r\n0\r\n\r\n"),
                // More than is allowed has come: the end of it is not waited for.
                format!("Transfer-Encoding: chunked\r\n\r\n40\r\n{}\r\n1\r\nb\r\n", &long[1..]),
            ] {
                let answer = one_answer(self.gateway.data, format!("{head}{framed}")).await;
                let id = assert_refused(&answer, "body_too_large", dialect, &framed);
                assert_eq!(answer.header("connection"), Some("close"), "{framed}");
                seen.push((id, "body_too_large".into(), 413));
            }
            let path = format!("/{dialect}/small/a");
            let fits = send(self.gateway.data, "POST", &path, &[("x-api-key", key)], "b".repeat(64)).await;
            assert_eq!(fits.status, 200);
        }
    }

    /// The plan's second, used up by one request: sent until two of them fall into one second.
    async fn seconds(&self, seen: &mut Seens) {
        self.gateway.cli(&["org", "set-plan", "no_second", "wide", "--per-second", "1"]).await;
        let key = &self.keys["no_second"];
        wait_until("the new cap is in force", SOON, async || self.get("/native/a", key).await.status == 200)
            .await;
        for dialect in DIALECTS {
            let path = format!("/{dialect}/a");
            let mut answer = self.get(&path, key).await;
            while answer.status == 200 {
                answer = self.get(&path, key).await;
            }
            let id = assert_refused(&answer, "rate_limited_second", dialect, "one a second");
            // A second and a cell of it, in whole seconds.
            let wait = answer.header("retry-after").unwrap();
            assert!(wait == "1" || wait == "2", "the second is over after {wait} s");
            seen.push((id, "rate_limited_second".into(), 429));
        }
    }

    /// `text` with the names in braces replaced.
    fn fill(&self, text: &str) -> String {
        let mut parts = text.split('{');
        let mut filled = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            let find = |map: &HashMap<String, String>, name: &str| {
                map.get(name).unwrap_or_else(|| panic!("no {name}")).clone()
            };
            filled += &match name.split_once(':') {
                Some(("basic", name)) => {
                    base64::engine::general_purpose::STANDARD.encode(format!("{}:", find(&self.keys, name)))
                }
                Some(("project", name)) => find(&self.projects, name),
                _ => find(&self.keys, name),
            };
            filled += rest;
        }
        filled
    }

    /// An address that has not been used.
    fn address(&self) -> String {
        let mut number = self.addresses.borrow_mut();
        *number += 1;
        format!("10.200.{}.{}", *number / 256, *number % 256)
    }
}

fn answer(
    seen: &Seen,
    held: &parking_lot::Mutex<Option<tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>>>,
) -> Answer {
    let place = seen.target().split('/').nth(2).unwrap_or_default();
    match place {
        "hold" => Answer::fed(held.lock().take().unwrap()),
        "closes" => Answer::close(),
        "garbles" => Answer::raw("what?\r\n\r\n").then_close(),
        "slow" => Answer::hang(),
        _ => Answer::new(200).body("ok"),
    }
}

/// A port of which nobody else can have it, and at which nobody listens.
fn dead() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket
}

/// Connections that were made to a socket that does not listen: none, or the test's premise is wrong.
fn dead_connections(dead: &Socket) -> usize {
    usize::from(dead.accept().is_ok())
}

fn config(upstream: SocketAddr, dead: SocketAddr) -> String {
    let mut config = format!(
        r#"
        [data]
        trusted_proxies = ["127.0.0.0/8", "10.99.0.0/16"]
        [keys]
        sources = ["header:x-api-key", "bearer", "basic", "query:api_key"]
        [ip_guard]
        failures = {FAILURES}
        [plans.wide]
        per_second = 100000
        per_minute = 100000
        concurrency = 1000
        "#
    );
    let never = "health = { every = \"0s\" }";
    for (name, target, more) in [
        ("up", upstream, never),
        ("slow", upstream, "health = { every = \"0s\" }\nanswer_timeout = \"150ms\""),
        ("dead", dead, never),
        ("ill", dead, "health = { every = \"50ms\", fall = 1 }"),
    ] {
        config += &format!("[[upstreams]]\nname = \"{name}\"\ntargets = [\"{target}\"]\n{more}\n");
    }
    for dialect in DIALECTS {
        for (path, upstream, more) in [
            ("projects/{project}/*", "up", ""),
            ("tenants/{project}/*", "up", "loose_path = true"),
            ("public/*", "up", "auth = \"none\""),
            ("writes/*", "up", "scope = \"write\""),
            ("small/*", "up", "body_max = 64"),
            ("slow/*", "slow", ""),
            ("dead/*", "dead", ""),
            ("ill/*", "ill", ""),
            ("*", "up", ""),
        ] {
            config += &format!(
                "[[routes]]\npath = \"/{dialect}/{path}\"\nupstream = \"{upstream}\"\ndialect = \"{dialect}\"\n{more}\n"
            );
        }
    }
    config
}
