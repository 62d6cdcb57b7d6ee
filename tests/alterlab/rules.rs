//! Who may do what, and how it is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Upstream, documented};
use crate::{config, create, gateway, no, scraper, user};

const KEYS: &str = "/api/v1/api-keys";

/// Every documented call, with a body where it takes one; `{id}` is a key's.
fn calls() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let limit = || Some(json!({"request_limit": 5}));
    let named = || Some(json!({"name": "renamed"}));
    vec![
        ("read", "GET /api/v1/api-keys/{id}/limits", None),
        ("read", "GET /api/v1/api-keys/{id}/usage", None),
        ("read", "GET /api/v1/api-keys/{id}/usage/by-tier", None),
        ("read", "GET /api/v1/api-keys/{id}/usage/errors", None),
        ("read", "GET /api/v1/api-keys/{id}/usage/requests", None),
        ("read", "GET /api/v1/api-keys/{id}/usage/timeseries", None),
        ("read", "GET /api/v1/account/limits", None),
        ("read", "GET /api/v1/usage", None),
        ("read", "GET /api/v1/auth/me", None),
        ("member", "GET /api/v1/api-keys", None),
        ("member", "GET /api/v1/api-keys/legacy-status", None),
        ("member", "POST /api/v1/api-keys/legacy-notice-shown", None),
        ("admin", "POST /api/v1/api-keys", Some(json!({"name": "another"}))),
        ("admin", "PATCH /api/v1/api-keys/{id}", named()),
        ("admin", "PUT /api/v1/api-keys/{id}/limits", limit()),
        ("admin", "DELETE /api/v1/api-keys/{id}/limits", None),
        ("admin", "POST /api/v1/api-keys/{id}/regenerate", None),
        ("admin", "PUT /api/v1/account/limits", limit()),
        ("admin", "DELETE /api/v1/account/limits", None),
        ("owner", "GET /api/v1/api-keys/{id}/decrypt", None),
        ("admin", "DELETE /api/v1/api-keys/{id}", None),
    ]
}

/// The calls that are asked here are those of the document at `/openapi.json`: one that only one of the two knows is
/// asked by nobody.
#[tokio::test]
async fn the_calls_are_those_of_the_document() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let asked: BTreeSet<_> = calls().iter().map(|(_, call, _)| (*call).to_owned()).collect();
    let documented = documented(gateway.control, "/api/v1/").await;
    assert_eq!(asked, documented.iter().map(|call| call.replace("{key_id}", "{id}")).collect());
}

/// A gateway with `acme`: its owner's session, one of its keys, and that key's id.
async fn acme(upstream: &Upstream) -> (Gateway, Client, String, String) {
    let gateway = gateway(upstream).await;
    gateway.cli(&["org", "create", "acme", "--plan", "team"]).await;
    let (_, owner) = user(&gateway, "olga@example.com", &["--org", "acme", "--role", "owner"]).await;
    let olga = Client::bearer(gateway.data, &owner).with("x-organization-id", "acme");
    let (id, key) = create(&olga, "ci").await;
    (gateway, olga, id, key)
}

/// Every call by an API key: what it may read it reads, everything else is 403 and changes nothing.
#[tokio::test]
async fn a_key_reads_usage_and_limits_and_nothing_else() {
    let upstream = scraper();
    let (gateway, olga, id, key) = acme(&upstream).await;
    let before = olga.send("GET", KEYS, None).await.json();
    for client in [Client::key(gateway.data, &key), Client::bearer(gateway.data, &key)] {
        for (needs, call, body) in calls() {
            let (status, answer) = client.raw(&call.replace("{id}", &id), body).await.into_parts();
            if needs == "read" {
                assert_eq!(status, 200, "{call}: {answer}");
            } else {
                let forbidden = no("An API key cannot do this: log in", "forbidden");
                assert_eq!((status, answer), (403, forbidden), "{call}");
            }
        }
    }
    assert_eq!(olga.send("GET", KEYS, None).await.json(), before);
    assert_eq!(upstream.count(), 0, "nothing of this is the upstream's");
    // The key of a project's program that was made at the command line: nobody's in particular.
    let (_, made) = gateway.key("acme", "from the command line", &[]).await;
    let me = Client::key(gateway.data, &made).asks("GET /api/v1/auth/me").await.1;
    assert_eq!((&me["id"], &me["email"], &me["name"]), (&json!("acme"), &Value::Null, &json!("acme")));
}

#[tokio::test]
async fn each_role_does_what_it_may() {
    let upstream = scraper();
    let (gateway, _, id, _) = acme(&upstream).await;
    let mut sessions = Vec::new();
    for role in ["member", "admin", "owner"] {
        let (_, token) =
            user(&gateway, &format!("{role}@example.com"), &["--org", "acme", "--role", role]).await;
        sessions.push((role, Client::bearer(gateway.data, &token).with("x-organization-id", "acme")));
    }
    let rank =
        |role: &str| ["read", "member", "admin", "owner"].iter().position(|known| *known == role).unwrap();
    for (role, session) in sessions {
        for (needs, call, body) in calls() {
            if call == "DELETE /api/v1/api-keys/{id}" && role != "owner" && rank(role) >= rank(needs) {
                // It would be gone for the next role.
                continue;
            }
            let body = body.map(|mut body| {
                if body.get("name").is_some() {
                    body["name"] = json!(format!("{role} {call}"));
                }
                body
            });
            let answer = session.raw(&call.replace("{id}", &id), body).await;
            let allowed = rank(role) >= rank(needs);
            assert_eq!((200..300).contains(&answer.status), allowed, "{role} {call}: {}", answer.text());
            if !allowed {
                let article = if needs == "member" { "a" } else { "an" };
                let says = format!("This takes {article} {needs} of the organization");
                assert_eq!((answer.status, answer.json()), (403, no(&says, "forbidden")), "{role} {call}");
            }
        }
    }
}

/// Another organization's key, and another organization's name, are not there.
#[tokio::test]
async fn what_is_another_organizations_is_not_there() {
    let upstream = scraper();
    let (gateway, _, id, key) = acme(&upstream).await;
    let (_, token) = user(&gateway, "eve@example.com", &[]).await;
    let eve = Client::bearer(gateway.data, &token);
    let (own, own_key) = create(&eve, "mine").await;
    let missing = (404, no("Key not found", "not_found"));
    let elsewhere = (404, no("Organization not found", "not_found"));
    for (needs, call, body) in calls() {
        let about_key = call.contains("{id}");
        let asked = |client: Client, id: &str| {
            let call = call.replace("{id}", id);
            let body = body.clone();
            async move { client.raw(&call, body).await.into_parts() }
        };
        if about_key {
            assert_eq!(asked(eve.clone(), &id).await, missing, "{call}");
            assert_eq!(asked(eve.clone(), "no-uuid").await, missing, "{call}");
            if needs == "read" {
                assert_eq!(asked(Client::key(gateway.data, &own_key), &id).await, missing, "{call}");
                assert_eq!(asked(Client::key(gateway.data, &key), &own).await, missing, "{call}");
            }
        }
        if call.contains("legacy-notice") {
            continue;
        }
        for named in ["acme", "nowhere", "%%"] {
            let named = asked(eve.with("x-organization-id", named), &own).await;
            assert_eq!(named, elsewhere, "{call}");
        }
        if needs == "read" {
            let key = Client::key(gateway.data, &own_key).with("x-organization-id", "acme");
            assert_eq!(asked(key, &own).await, elsewhere, "{call}");
        }
    }
    // Named rightly, and not at all, is the same.
    assert_eq!(eve.with("x-organization-id", "eve").asks("GET /api/v1/api-keys").await.0, 200);
    assert_eq!(eve.with("x-organization-id", "").asks("GET /api/v1/api-keys").await.0, 200);
}

#[tokio::test]
async fn who_is_unknown_is_told_nothing() {
    let upstream = scraper();
    let config = config(upstream.address, "ip_guard.failures = 0");
    let gateway = Gateway::start(&config).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, key) = create(&ann, "ci").await;
    let nobody = no("Missing or invalid session token", "unauthorized");
    let forged = format!("{}x", &token[..token.len() - 1]);
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.";
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    let short = gateway.cli(&["session", "create", "ann@example.com", "--ttl", "1s"]).await;
    let expired = Client::bearer(gateway.data, short["session_token"].as_str().unwrap());
    crate::support::wait_until("the session ends", crate::support::SOON, async || {
        expired.asks("GET /api/v1/usage").await.0 == 401
    })
    .await;
    for (_, call, body) in calls() {
        let call = call.replace("{id}", &id);
        for (client, expected) in [
            (Client::nobody(gateway.data), nobody.clone()),
            (expired.clone(), nobody.clone()),
            (Client::bearer(gateway.data, &forged), nobody.clone()),
            (Client::bearer(gateway.data, unsigned), nobody.clone()),
            (Client::bearer(gateway.data, "a.b.c"), nobody.clone()),
            (Client::nobody(gateway.data).with("authorization", "Digest x"), nobody.clone()),
            (Client::key(gateway.data, &mistyped), no("Invalid API Key", "invalid_api_key")),
        ] {
            let answer = client.raw(&call, body.clone()).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{call}");
            assert_eq!(answer.into_parts(), (401, expected), "{call}");
        }
    }
    gateway.cli(&["key", "disable", &id]).await;
    let disabled = Client::key(gateway.data, &key);
    crate::support::wait_until("the key is disabled here", crate::support::SOON, async || {
        disabled.asks("GET /api/v1/usage").await == (401, no("Inactive API Key", "inactive_api_key"))
    })
    .await;
    // Its own organization does not list it: it is not active.
    assert_eq!(ann.asks("GET /api/v1/api-keys").await, (200, json!([])));
}

#[tokio::test]
async fn fields_are_checked_and_named() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, _) = create(&ann, "ci").await;
    let chars = "name: give 1 to 100 characters, without line breaks and control characters";
    let whole = "request_limit: must be a whole number from 0 to 9007199254740991";
    for (call, body, says) in [
        (format!("POST {KEYS}"), json!({}), "name: is required"),
        (format!("POST {KEYS}"), json!({"name": "  "}), chars),
        (format!("POST {KEYS}"), json!({"name": "x".repeat(101)}), chars),
        (format!("PATCH {KEYS}/{id}"), json!({"name": 7}), "name: must be a text"),
        (format!("PUT {KEYS}/{id}/limits"), json!({"request_limit": -1}), whole),
        (
            format!("PUT {KEYS}/{id}/limits"),
            json!({"request_limit": 1, "reset_period": "yearly"}),
            "reset_period: must be daily, weekly or monthly",
        ),
        ("PUT /api/v1/account/limits".into(), json!([]), "The body must be a JSON object"),
    ] {
        assert_eq!(ann.tells(&call, body).await, (422, no(says, "invalid")), "{call}");
    }
    let days = no("days: must be a whole number from 1 to 365", "invalid");
    for path in ["usage", "usage/by-tier", "usage/errors", "usage/requests", "usage/timeseries"] {
        let asked = ann.asks(&format!("GET {KEYS}/{id}/{path}?days=0")).await;
        assert_eq!(asked, (422, days.clone()), "{path}");
    }
    let status = no("status: must be one of success, failed", "invalid");
    assert_eq!(ann.asks(&format!("GET {KEYS}/{id}/usage/requests?status=ok")).await, (422, status));
    let (other, _) = create(&ann, "other").await;
    let taken = (409, no("Key with that name already exists", "conflict"));
    assert_eq!(ann.tells(&format!("PATCH {KEYS}/{other}"), json!({"name": "ci"})).await, taken);
    // Its own name again is no conflict.
    assert_eq!(ann.tells(&format!("PATCH {KEYS}/{other}"), json!({"name": "other"})).await.0, 200);
    let large = json!({"name": "x".repeat(100_000)});
    assert_eq!(ann.tells(&format!("POST {KEYS}"), large).await.0, 413);
}

#[tokio::test]
async fn methods_and_paths_that_there_are_none_of() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, key) = create(&ann, "ci").await;
    for (call, allow) in [
        (format!("PUT {KEYS}"), vec!["GET", "HEAD", "POST"]),
        (format!("GET {KEYS}/{id}"), vec!["DELETE", "PATCH"]),
        (format!("POST {KEYS}/{id}/limits"), vec!["DELETE", "GET", "HEAD", "PUT"]),
        ("DELETE /api/v1/usage".into(), vec!["GET", "HEAD"]),
    ] {
        let answer = ann.raw(&call, None).await;
        let mut found: Vec<_> =
            answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        found.sort_unstable();
        assert_eq!(found, allow, "{call}");
        assert_eq!(answer.into_parts(), (405, no("Method not allowed", "method_not_allowed")));
    }
    let nowhere = ann.asks(&format!("GET {KEYS}/{id}/nothing")).await;
    assert_eq!(nowhere, (404, no("No such route", "no_route")));
    assert_eq!(ann.send("HEAD", KEYS, None).await.status, 200);
    assert_eq!(upstream.count(), 0);
    // What is not the key system's is the upstream's.
    let passed = Client::key(gateway.data, &key).raw("GET /api/v1/api-keyring", None).await;
    assert_eq!((passed.status, upstream.count()), (200, 1));
    assert_eq!(upstream.seen()[0].target(), "/api/v1/api-keyring");
}

/// Where the system is off, its paths are the upstream's, like all others.
#[tokio::test]
async fn a_system_that_is_off_owns_nothing() {
    let upstream = scraper();
    let gateway = Gateway::start(&config(upstream.address, "systems.alterlab = \"off\"")).await;
    gateway.cli(&["org", "create", "acme", "--plan", "team"]).await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    assert_eq!(Client::key(gateway.data, &key).raw("GET /api/v1/usage", None).await.status, 200);
    assert_eq!(upstream.seen()[0].target(), "/api/v1/usage");
}

/// Keys made while no sealed copies were kept are legacy ones, and stay so.
#[tokio::test]
async fn a_key_of_which_only_a_digest_was_kept_is_legacy() {
    let upstream = scraper();
    let mut gateway = Gateway::start(&config(upstream.address, "")).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (old, _) = create(&ann, "old").await;
    gateway.stop().await;
    let sealed = config(upstream.address, &format!("keys.reveal_key = \"{}\"", crate::REVEAL_KEY));
    std::fs::write(gateway.config(), sealed).unwrap();
    gateway.start_again().await;
    let ann = ann.at(gateway.data);
    let (new, secret) = create(&ann, "new").await;
    let status = |count: u64| {
        (200, json!({"has_legacy_keys": count > 0, "legacy_key_count": count, "notice_shown": false}))
    };
    assert_eq!(ann.asks("GET /api/v1/api-keys/legacy-status").await, status(1));
    let refused = ann.asks(&format!("GET {KEYS}/{old}/decrypt")).await;
    let says = "There is no sealed copy of this key: rotate it to get a new secret";
    assert_eq!(refused, (409, no(says, "conflict")));
    let shown = ann.send("GET", &format!("{KEYS}/{new}/decrypt"), None).await.json();
    assert_eq!(shown, json!({"key": secret}));
    // A new secret is kept sealed.
    assert_eq!(ann.asks(&format!("POST {KEYS}/{old}/regenerate")).await.0, 200);
    assert_eq!(ann.asks("GET /api/v1/api-keys/legacy-status").await, status(0));
    assert_eq!(ann.asks(&format!("GET {KEYS}/{old}/decrypt")).await.0, 200);
}
