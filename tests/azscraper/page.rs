//! Every documented call in the order of the pages, then a key at work.

use serde_json::{Value, json};

use crate::support::{Client, SOON, comparable, row_of, wait_until};
use crate::{PASSWORD, crawler, gateway, login, no};

#[tokio::test]
async fn the_pages() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    let nobody = Client::nobody(gateway.data);

    // Authentication.
    let said =
        nobody.tells("POST /auth/login", json!({"email": "ann@example.com", "password": PASSWORD})).await;
    let user = json!({"id": "UUID", "email": "ann@example.com", "name": "ann"});
    assert_eq!(said, (200, json!({"data": {"accessToken": "TOKEN", "user": user}})));
    let wrong = json!({"email": "ann@example.com", "password": "wrong"});
    let refused = (401, no("INVALID_CREDENTIALS", "Invalid credentials"));
    assert_eq!(nobody.tells("POST /auth/login", wrong).await, refused);
    let unknown = json!({"email": "nobody@example.com", "password": PASSWORD});
    assert_eq!(nobody.tells("POST /auth/login", unknown).await, refused, "the same words");

    // Manage keys.
    let ann = login(&gateway, "ann@example.com").await;
    let keys = "/private/projects/67d1aa/api-keys";
    assert_eq!(ann.asks(&format!("GET {keys}")).await, (200, json!({"data": []})));
    let made = ann.raw(&format!("POST {keys}"), Some(json!({"name": "ci-pipeline"}))).await;
    let expected =
        json!({"data": {"id": "UUID", "name": "ci-pipeline", "key": "KEY", "createdAt": "MILLIS"}});
    assert_eq!((made.status, comparable(&made.json())), (201, expected));
    let made = made.json();
    let text = |field: &str| made["data"][field].as_str().unwrap().to_owned();
    let (id, secret) = (text("id"), text("key"));
    let listed = |name: &str, used: Value| {
        let hint = &secret[secret.len() - 4..];
        json!({"data": [
            {"id": "UUID", "name": name, "keyHint": hint, "createdAt": "MILLIS", "lastUsedAt": used}
        ]})
    };
    assert_eq!(ann.asks(&format!("GET {keys}")).await, (200, listed("ci-pipeline", Value::Null)));
    let success = (200, json!({"success": true}));
    assert_eq!(ann.tells(&format!("PATCH {keys}/{id}"), json!({"name": "new-name"})).await, success);

    // Using a key: exactly like a JWT.
    let key = Client::bearer(gateway.data, &secret);
    let job = key.raw("POST /projects/67d1aa/jobs?id=67e2bb", Some(json!({"type": "search"}))).await;
    assert_eq!((job.status, job.json()), (201, json!({"data": {"id": "67e2bb", "status": "queued"}})));
    assert_eq!(upstream.seen()[0].header("authorization"), None);
    let row = row_of(&gateway, job.header("x-request-id").unwrap()).await;
    assert_eq!((&row["project"], &row["key"], &row["status"]), (&json!("67d1aa"), &json!(id), &json!(201)));
    wait_until("the list says when it was used", SOON, async || {
        ann.asks(&format!("GET {keys}")).await.1 == listed("new-name", json!("MILLIS"))
    })
    .await;

    // Revoked keys stop working immediately.
    assert_eq!(ann.asks(&format!("DELETE {keys}/{id}")).await, success);
    let gone = (401, no("UNAUTHORIZED", "Invalid API Key"));
    assert_eq!(key.asks("GET /projects/67d1aa/jobs").await, gone);
    assert_eq!(ann.asks(&format!("GET {keys}")).await, (200, json!({"data": []})));
    assert_eq!(ann.asks(&format!("DELETE {keys}/{id}")).await, (404, no("NOT_FOUND", "Key not found")));
}

#[tokio::test]
async fn health_is_that_of_the_gateway() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    let up = json!({"status": "up"});
    let expected = json!({"status": "ok", "info": {"api": up}, "error": {}, "details": {"api": up}});
    for address in [gateway.data, gateway.control] {
        assert_eq!(Client::nobody(address).asks("GET /health").await, (200, expected.clone()));
    }
    assert_eq!(upstream.count(), 0, "it is answered here");
}

/// An upstream that is gone makes it unfit to serve, and `/health` says which part it is and not why.
#[tokio::test]
async fn health_tells_what_fails() {
    let upstream = crawler();
    let probed = crate::config(upstream.address, "").replace("every = \"0s\"", "every = \"20ms\", fall = 1");
    let gateway = crate::Gateway::start(&probed).await;
    let nobody = Client::nobody(gateway.data);
    // A gateway that has just started has not asked its record yet.
    wait_until("all is up", SOON, async || nobody.asks("GET /health").await.0 == 200).await;
    drop(upstream);
    wait_until("the probe has noticed", SOON, async || nobody.asks("GET /health").await.0 == 503).await;
    let (up, down) = (json!({"status": "up"}), json!({"status": "down"}));
    let expected = json!({
        "status": "error", "info": {"api": up}, "error": {"upstreams": down},
        "details": {"api": up, "upstreams": down},
    });
    assert_eq!(nobody.asks("GET /health").await, (503, expected));
}
