//! Many at once, and more than one process.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Entries, Gateway, SOON, get, wait_until};
use crate::{config, create, gateway, no, scrape, scraper, text, user};

#[tokio::test]
async fn of_64_that_take_one_name_at_once_one_has_it() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let tries = (0..64).map(|_| {
        let ann = ann.clone();
        tokio::spawn(async move { ann.tells("POST /api/v1/api-keys", json!({"name": "one"})).await })
    });
    let mut statuses = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        let (status, body) = tried.await.unwrap();
        if status != 201 {
            assert_eq!((status, body), (409, no("Key with that name already exists", "conflict")));
        }
        statuses.push(status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(ann.asks("GET /api/v1/api-keys").await.1.as_array().unwrap().len(), 1);
    // Every change has its row of the audit trail, and what was refused has none.
    let entries = Entries::of(&gateway).await;
    assert_eq!(entries.number("SELECT count(*) FROM audit WHERE what = 'key.create'").await, 1);
}

/// Each change by the API is in the audit trail: who, what, and from where.
#[tokio::test]
async fn every_change_is_told() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (ann_id, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, _) = create(&ann, "ci").await;
    let path = format!("/api/v1/api-keys/{id}");
    ann.tells(&format!("PATCH {path}"), json!({"name": "nightly"})).await;
    ann.tells(&format!("PUT {path}/limits"), json!({"request_limit": 5})).await;
    ann.asks(&format!("DELETE {path}/limits")).await;
    ann.asks(&format!("GET {path}/decrypt")).await;
    ann.asks(&format!("POST {path}/regenerate")).await;
    ann.tells("PUT /api/v1/account/limits", json!({"request_limit": 5})).await;
    ann.asks("POST /api/v1/api-keys/legacy-notice-shown").await;
    ann.asks(&format!("DELETE {path}")).await;
    // Refused, so not told.
    ann.tells("POST /api/v1/api-keys", json!({})).await;
    ann.asks(&format!("DELETE {path}")).await;
    let entries = Entries::of(&gateway).await;
    let count = async |of: &str| entries.number(&format!("SELECT count(*) FROM audit WHERE {of}")).await;
    let hers = format!("who = '{ann_id}' AND origin = '127.0.0.1'");
    assert_eq!(count(&hers).await, 9);
    assert_eq!(count(&format!("{hers} AND subject = '{id}'")).await, 7);
    assert_eq!(count(&format!("{hers} AND what = 'user.show_notice'")).await, 1);
}

#[tokio::test]
async fn a_revoked_key_stops_here_at_once_and_elsewhere_within_a_second() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let record = gateway.directory().join("data/tollgate.db");
    let more = format!("record.url = \"sqlite://{}\"", record.display());
    let beside = Gateway::start(&config(upstream.address, &more)).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    for name in ["deleted", "regenerated"] {
        let (id, key) = create(&ann, name).await;
        let asked = async |gateway: &Gateway| scrape(gateway, &key, "").await;
        assert_eq!((asked(&gateway).await, asked(&beside).await), (200, 200), "both know it now");
        let call = match name {
            "deleted" => format!("DELETE /api/v1/api-keys/{id}"),
            _ => format!("POST /api/v1/api-keys/{id}/regenerate"),
        };
        let answered = ann.raw(&call, None).await;
        let since = Instant::now();
        assert_eq!(asked(&gateway).await, 401, "{name}: at once");
        wait_until("it is in force there", SOON, async || asked(&beside).await == 401).await;
        assert!(since.elapsed() < Duration::from_secs(1), "{name}: {:?}", since.elapsed());
        if name == "regenerated" {
            let new = text(&answered.json()["key"]);
            assert_eq!((scrape(&gateway, &new, "").await, scrape(&beside, &new, "").await), (200, 200));
        }
    }
    // A session of one process is a session of the other.
    assert_eq!(ann.at(beside.data).asks("GET /api/v1/api-keys").await.0, 200);
}

/// Who guesses at the key system is blocked as one who guesses at the upstream.
#[tokio::test]
async fn who_guesses_is_blocked() {
    let upstream = scraper();
    let gateway = Gateway::start(&config(upstream.address, "ip_guard.failures = 3")).await;
    // Who has not logged in guesses nothing, nor does a page that asks on when its session has ended.
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ended = Client::bearer(gateway.data, &token);
    let out = ended.at(gateway.control).raw("DELETE /v1/session", None).await;
    assert_eq!(out.status, 204);
    for _ in 0..5 {
        assert_eq!(Client::nobody(gateway.data).asks("GET /api/v1/api-keys").await.0, 401);
        assert_eq!(ended.asks("GET /api/v1/api-keys").await.0, 401);
    }
    let forged = Client::bearer(gateway.data, "a.b.c");
    for _ in 0..3 {
        assert_eq!(forged.asks("GET /api/v1/api-keys").await.0, 401);
    }
    // In the system's own words on both listeners, though no router of it was asked.
    for at in [gateway.data, gateway.control] {
        let blocked = get(at, "/api/v1/api-keys", &[]).await;
        assert_eq!((blocked.status, blocked.json()), (403, no("IP temporarily blocked", "ip_blocked")));
    }
}
