//! What the gateway answers itself on the data listener, over a real socket: `/_tollgate/*`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Answer, Gateway, Kept, SOON, Upstream, get, raw, row_of, send, wait_until};

fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "[data]
threads = 1
own_body_max = \"1KiB\"
stall_timeout = \"500ms\"
[ip_guard]
failures = 3
{more}
[plans.small]
per_minute = 100
concurrency = 9
[[upstreams]]
name = \"scraper\"
targets = [\"{upstream}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
price = 5
"
    )
}

async fn start(more: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let gateway = Gateway::start(&config(upstream.address, more)).await;
    gateway.cli(&["org", "create", "acme", "--plan", "small"]).await;
    (upstream, gateway)
}

async fn usage(address: SocketAddr, key: &str) -> support::Response {
    get(address, "/_tollgate/usage", &[("x-api-key", key)]).await
}

#[tokio::test]
async fn a_key_is_told_what_it_has_used_and_spends_nothing_by_asking() {
    let (upstream, gateway) = start("").await;
    let (id, key) = gateway.key("acme", "crawler", &["--daily", "7", "--total", "2"]).await;
    for _ in 0..2 {
        assert_eq!(get(gateway.data, "/page", &[("x-api-key", &key)]).await.status, 200);
    }
    let answer = usage(gateway.data, &key).await;
    let hint = &key[key.len() - 4..];
    let mut told = answer.json();
    assert_eq!(answer.status, 200, "{told}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("x-request-id").is_some());
    // Instants are later than now and otherwise unknown.
    let now = told["at"].take();
    let now = now.as_str().unwrap();
    for window in
        ["/plan/per_second", "/plan/per_minute", "/quotas/daily", "/quotas/weekly", "/quotas/monthly"]
    {
        let at = told.pointer_mut(&format!("{window}/resets_at")).unwrap().take();
        assert!(window.ends_with("second") || at.as_str().unwrap() > now, "{window}: {at}");
    }
    // A second may have passed since.
    told.pointer_mut("/plan/per_second/used").unwrap().take();
    let gauge = |limit: Value, used: u64, remaining: Value| json!({ "limit": limit, "used": used, "remaining": remaining, "resets_at": null });
    let unlimited = gauge(Value::Null, 2, Value::Null);
    let expected = json!({
        "at": null,
        "key": {
            "id": id, "name": "crawler", "hint": hint, "organization": "acme",
            "project": told["key"]["project"], "expires_at": null,
        },
        "plan": {
            "name": "small",
            "per_second": { "limit": null, "used": null, "remaining": null, "resets_at": null },
            "per_minute": gauge(100.into(), 2, 98.into()),
            "concurrency": gauge(9.into(), 0, 9.into()),
        },
        "quotas": {
            "total": gauge(2.into(), 2, 0.into()),
            "daily": gauge(7.into(), 2, 5.into()),
            "weekly": unlimited,
            "monthly": unlimited,
        },
        "spend": { "key": null, "organization": null },
    });
    assert_eq!(told, expected);

    // The quota is used up, which is when it is asked; asking has not changed it, here or behind the control listener.
    assert_eq!(get(gateway.data, "/page", &[("x-api-key", &key)]).await.status, 401);
    for address in [gateway.data, gateway.control] {
        assert_eq!(usage(address, &key).await.json()["quotas"]["total"]["used"], 2);
    }
    assert_eq!(upstream.count(), 2);
    wait_until("the log agrees", SOON, async || gateway.cli(&["key", "show", &id]).await["requests"] == 2)
        .await;
}

#[tokio::test]
async fn each_is_a_row_of_no_key_and_is_not_admitted() {
    let (upstream, gateway) = start("").await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    for (path, status, code) in [
        ("/_tollgate/usage", 200, ""),
        ("/_tollgate/other", 404, "no_route"),
        ("/_tollgate", 404, "no_route"),
    ] {
        let answer = get(gateway.data, &format!("{path}?secret=1"), &[("x-api-key", &key)]).await;
        let row = row_of(&gateway, answer.header("x-request-id").unwrap()).await;
        assert_eq!((&row["status"], &row["code"]), (&json!(status), &json!(code)), "{row}");
        assert_eq!((&row["path"], &row["method"]), (&json!(path), &json!("GET")), "{row}");
        assert_eq!((&row["admitted"], &row["key"]), (&json!(0), &Value::Null), "{row}");
        let outcome = if status == 200 { json!("success") } else { Value::Null };
        assert_eq!(row["outcome"], outcome, "{row}");
        assert_eq!(row["bytes_out"], answer.body.len(), "{row}");
        assert_eq!((row["credits"].clone(), row["cost_source"].clone()), (json!(0), json!("free")), "{row}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn who_may_not_use_the_key_is_told_nothing() {
    let (_upstream, gateway) = start("").await;
    let (id, disabled) = gateway.key("acme", "disabled", &[]).await;
    let (_, elsewhere) = gateway.key("acme", "elsewhere", &["--allow-ip", "10.0.0.0/8"]).await;
    let (_, writer) = gateway.key("acme", "writer", &["--scope", "write"]).await;
    gateway.cli(&["key", "disable", &id]).await;
    for (key, status, code) in [(&disabled, 401, "inactive_api_key"), (&elsewhere, 403, "ip_not_allowed")] {
        let answer = usage(gateway.data, key).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)));
    }
    // What may be done to the upstream says nothing about looking at one's own usage.
    assert_eq!(usage(gateway.data, &writer).await.status, 200);
}

#[tokio::test]
async fn guessing_keys_here_blocks_the_address_everywhere() {
    let (_upstream, gateway) = start("").await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    let wrong = |key: &str| format!("{}0", &key[..key.len() - 1]);
    let first = usage(gateway.data, &wrong(&key)).await;
    assert_eq!((first.status, first.json()["code"].clone()), (401, json!("invalid_api_key")));
    assert_eq!(first.header("www-authenticate"), Some("Bearer"));
    assert_eq!(usage(gateway.control, &wrong(&key)).await.status, 401);
    assert_eq!(get(gateway.data, "/_tollgate/usage", &[]).await.json()["code"], "missing_api_key");
    for (address, path) in
        [(gateway.data, "/_tollgate/usage"), (gateway.data, "/page"), (gateway.control, "/_tollgate/usage")]
    {
        let answer = get(address, path, &[("x-api-key", &key)]).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (403, json!("ip_blocked")), "{path}");
    }
    // Whoever operates the gateway still sees how it is.
    assert_eq!(get(gateway.control, "/healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_connections_stay_in_step() {
    let (_upstream, gateway) = start("").await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    let long = "x".repeat(1025);
    let answer = send(gateway.data, "POST", "/_tollgate/usage", &[("x-api-key", &key)], long.clone()).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, json!("body_too_large")));
    let chunked = "POST /_tollgate/usage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = raw(gateway.data, format!("{chunked}401\r\n{long}\r\n0\r\n\r\n")).await;
    assert!(text.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&text));
    // A body that never ends is waited for as long as one may stand still.
    let text = raw(gateway.data, format!("{chunked}5\r\nab")).await;
    assert!(text.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&text));

    let mut kept = Kept::new();
    let head = format!("/_tollgate/usage HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n");
    let posted = kept.ask(gateway.data, format!("POST {head}Content-Length: 4\r\n\r\nbody")).await.unwrap();
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET,HEAD")));
    let got = kept.ask(gateway.data, format!("GET {head}\r\n")).await.unwrap();
    assert_eq!(got.status, 200);
    let text = raw(gateway.data, format!("HEAD {head}Connection: close\r\n\r\n")).await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
    // A path that could be read in two ways is refused before anybody owns it.
    let odd = "GET /_tollgate/../usage HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = raw(gateway.data, odd).await;
    assert!(text.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&text));
}
