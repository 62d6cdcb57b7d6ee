//! Nothing that was sent in confidence is found anywhere afterwards.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config;
use super::support::{Answer, Entries, Gateway, Kept, SOON, Upstream, get, raw};

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn scan(gateway: &Gateway, metrics: &[u8], canaries: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: Vec<(String, Vec<u8>)> = vec![("metrics".to_owned(), metrics.to_owned())];
    for file in files(gateway.directory()) {
        // One may be deleted while it is looked for.
        places.extend(std::fs::read(&file).ok().map(|bytes| (file.display().to_string(), bytes)));
    }
    for (place, bytes) in places {
        for canary in canaries {
            if memchr::memmem::find(&bytes, canary.as_bytes()).is_some() {
                found.push(format!("{canary} in {place}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn no_key_and_no_query_is_left_behind_anywhere() {
    let upstream = Upstream::start(|seen| match seen.target().split('?').next() {
        Some("/close") => Answer::close(),
        _ => Answer::new(200).header("set-cookie", "canary-cookie-of-upstream").body("canary-answer"),
    });
    let config = config(upstream.address, 2, "ship_every = \"100ms\"");
    let mut gateway = Gateway::start_with(&config, &[("TOLLGATE_LOG", "trace")]).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateway.key("acme", "k", &[]).await;
    let (disabled, inactive) = gateway.key("acme", "disabled", &[]).await;
    gateway.cli(&["key", "disable", &disabled]).await;
    let (revoked, gone) = gateway.key("acme", "revoked", &[]).await;
    gateway.cli(&["key", "revoke", &revoked]).await;
    let old = key.clone();
    let rotated = gateway.cli(&["key", "rotate", &id, "--grace", "1h"]).await;
    let key = rotated["key"].as_str().unwrap().to_owned();
    let basic = STANDARD.encode(format!("{key}:"));
    let unknown = "sk_live_canaryunknowncanaryunknowncana";

    let mut asked = 0;
    for credential in [
        format!("X-API-Key: {key}"),
        format!("X-API-Key: {old}"),
        format!("X-API-Key: {inactive}"),
        format!("X-API-Key: {gone}"),
        format!("X-API-Key: {unknown}"),
        format!("Authorization: Bearer {key}"),
        format!("Authorization: Basic {basic}"),
        format!("X-API-Key: {key}\r\nAuthorization: Bearer {inactive}"),
        // Heads that are refused, and an upstream that fails.
        format!("X-API-Key: {key}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"),
        format!("X-API-Key: {key}\r\nX Ill Formed: canary-header"),
        format!("X-API-Key: {key}\r\nX-Long: {}canary-header", "a".repeat(40_000)),
    ] {
        for path in ["/page", "/close"] {
            let head = format!(
                "{credential}\r\nCookie: canary-cookie\r\nX-Other: canary-header\r\nConnection: close\r\n"
            );
            let body = "canary-body";
            let request = format!("POST {path}?token=canary-query HTTP/1.1\r\nHost: x\r\n{head}");
            raw(gateway.data, format!("{request}Content-Length: {}\r\n\r\n{body}", body.len())).await;
            asked += 1;
        }
    }
    let in_query = format!("/page?api_key={key}&more=canary-query");
    let request = format!("GET {in_query} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(Kept::new().ask(gateway.data, request).await.unwrap().status, 200);
    asked += 1;

    let canaries = [
        &*key,
        &old,
        &inactive,
        &gone,
        unknown,
        &basic,
        "canary-query",
        "canary-header",
        "canary-cookie",
        "canary-body",
        "canary-answer",
        "canary-cookie-of-upstream",
    ];
    // Killed, so that the spool is there as it was under load; then shipped.
    let metrics = get(gateway.control, "/metrics", &[]).await.body;
    gateway.kill().await;
    assert_eq!(scan(&gateway, &metrics, &canaries), Vec::<String>::new());
    gateway.start_again().await;
    let rows = Entries::of(&gateway).await.at_least(asked, SOON).await;
    assert_eq!(rows.len(), asked);
    assert_eq!(scan(&gateway, &metrics, &canaries), Vec::<String>::new());
    // The scan does find what is there.
    assert!(!scan(&gateway, &metrics, &["/page"]).is_empty());
    assert!(rows.iter().all(|row| row.path.is_empty() || row.path == "/page" || row.path == "/close"));
    assert!(gateway.stderr().contains("bad_request"), "refusals are logged at debug");
}
