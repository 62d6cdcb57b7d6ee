//! Every documented call in the order of the pages, then a key at work and its usage read back.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, SOON, wait_until};
use crate::{create, gateway, no, scrape, scraper, text, user};

fn listed(name: &str, requests: u64) -> Value {
    let used = if requests > 0 { json!("SECONDS") } else { Value::Null };
    json!({
        "id": "UUID", "name": name, "key_prefix": "sk_live_", "key": null, "scopes": ["read", "write"],
        "created_at": "SECONDS", "last_used_at": used, "requests": requests,
    })
}

fn created(name: &str) -> Value {
    let mut key = listed(name, 0);
    key["key"] = json!("KEY");
    key
}

/// What rename and regenerate answer.
fn changed(name: &str, key: &Value) -> Value {
    json!({
        "id": "UUID", "name": name, "key_prefix": "sk_live_", "key": key, "scopes": ["read", "write"],
        "created_at": "SECONDS",
    })
}

fn limits(budget: &Value, requests: &Value, period: &str, enabled: bool, spent: (u64, u64)) -> Value {
    json!({
        "budget_limit_microcents": budget, "request_limit": requests, "reset_period": period,
        "enabled": enabled, "current_spend_microcents": spent.0, "current_request_count": spent.1,
        "period_start": "SECONDS", "period_end": "SECONDS",
    })
}

/// What asking answers once the log has come into the record.
async fn settled(client: &Client, request: &str, expected: Value) {
    let mut found = Value::Null;
    let reached = tokio::time::timeout(SOON, async {
        while found != expected {
            found = client.asks(request).await.1;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    drop(reached.await);
    assert_eq!(found, expected, "{request}");
}

#[tokio::test]
async fn the_guide() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);

    assert_eq!(ann.asks("GET /api/v1/api-keys").await, (200, json!([])));
    let made = ann.raw("POST /api/v1/api-keys", Some(json!({"name": "Production Key"}))).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("cache-control"), Some("no-store"), "it holds the key");
    assert_eq!(crate::support::comparable(&made.json()), created("Production Key"));
    let key = text(&made.json()["key"]);
    let (development, other) = create(&ann, "Development Key").await;
    // The newest first, as the page shows them, and none with its secret.
    let both = json!([listed("Development Key", 0), listed("Production Key", 0)]);
    assert_eq!(ann.asks("GET /api/v1/api-keys").await, (200, both));

    assert_eq!(scrape(&gateway, &key, "").await, 200);
    assert_eq!(scrape(&gateway, &other, "").await, 200);
    let seen = upstream.seen();
    assert_eq!((seen[0].target(), seen[0].header("x-api-key")), ("/api/v1/scrape?", None));
    settled(&ann, "GET /api/v1/api-keys", json!([listed("Development Key", 1), listed("Production Key", 1)]))
        .await;

    let deleted = ann.raw(&format!("DELETE /api/v1/api-keys/{development}"), None).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(deleted.header("content-type"), None);
    assert_eq!(scrape(&gateway, &other, "").await, 401, "at once");
    let again = ann.asks(&format!("DELETE /api/v1/api-keys/{development}")).await;
    assert_eq!(again, (404, no("Key not found", "not_found")));
    assert_eq!(ann.asks("GET /api/v1/api-keys").await, (200, json!([listed("Production Key", 1)])));

    // Common errors.
    let nobody = Client::nobody(gateway.data).asks("GET /api/v1/api-keys").await;
    assert_eq!(nobody, (401, no("Missing or invalid session token", "unauthorized")));
    let missing = "DELETE /api/v1/api-keys/550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(ann.asks(missing).await, (404, no("Key not found", "not_found")));
    let taken = ann.tells("POST /api/v1/api-keys", json!({"name": "Production Key"})).await;
    assert_eq!(taken, (409, no("Key with that name already exists", "conflict")));
    // A deleted key's name is free again.
    create(&ann, "Development Key").await;
}

#[tokio::test]
async fn the_reference() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, secret) = create(&ann, "ci").await;
    let of = |rest: &str| format!("/api/v1/api-keys/{id}{rest}");
    let id_of_it = json!("UUID");

    let status =
        |shown: bool| (200, json!({"has_legacy_keys": false, "legacy_key_count": 0, "notice_shown": shown}));
    let ok = (200, json!({"status": "ok"}));
    assert_eq!(ann.asks("GET /api/v1/api-keys/legacy-status").await, status(false));
    assert_eq!(ann.tells("POST /api/v1/api-keys/legacy-notice-shown", json!({})).await, ok);
    assert_eq!(ann.asks("GET /api/v1/api-keys/legacy-status").await, status(true));
    assert_eq!(ann.asks("POST /api/v1/api-keys/legacy-notice-shown").await, ok, "again, and without a body");

    let renamed = ann.tells(&format!("PATCH {}", of("")), json!({"name": "nightly"})).await;
    assert_eq!(renamed, (200, changed("nightly", &Value::Null)));
    let shown = ann.raw(&format!("GET {}", of("/decrypt")), None).await;
    assert_eq!((shown.status, shown.json()), (200, json!({"key": secret})));

    let without =
        json!({"api_key_id": id_of_it, "api_key_name": "nightly", "limits": null, "has_limits": false});
    let with = |limits: Value| json!({"api_key_id": id_of_it, "api_key_name": "nightly", "limits": limits, "has_limits": true});
    assert_eq!(ann.asks(&format!("GET {}", of("/limits"))).await, (200, without.clone()));
    let set = json!({"budget_limit_microcents": 5_000_000, "request_limit": 2, "reset_period": "daily", "enabled": false});
    let expected = with(limits(&json!(5_000_000), &json!(2), "daily", false, (0, 0)));
    assert_eq!(ann.tells(&format!("PUT {}", of("/limits")), set).await, (200, expected.clone()));
    assert_eq!(ann.asks(&format!("GET {}", of("/limits"))).await, (200, expected));
    // Switched off: it counts and refuses nothing.
    for _ in 0..3 {
        assert_eq!(scrape(&gateway, &secret, "").await, 200);
    }
    let spent = with(limits(&json!(5_000_000), &json!(2), "daily", false, (9_000, 3)));
    settled(&ann, &format!("GET {}", of("/limits")), spent).await;
    // The defaults: monthly, and on.
    let set = ann.tells(&format!("PUT {}", of("/limits")), json!({"request_limit": 3})).await;
    assert_eq!(set, (200, with(limits(&Value::Null, &json!(3), "monthly", true, (9_000, 3)))));
    let refused = Client::key(gateway.data, &secret).tells("POST /api/v1/scrape", json!({})).await;
    assert_eq!(refused, (429, no("Spend limit exceeded: monthly requests of this key", "spend_requests")));
    // The page's own example: all of it is optional. It counts and refuses nothing.
    let set = json!({"reset_period": "weekly", "enabled": true});
    let counting = with(limits(&Value::Null, &Value::Null, "weekly", true, (9_000, 3)));
    assert_eq!(ann.tells(&format!("PUT {}", of("/limits")), set).await, (200, counting));
    assert_eq!(scrape(&gateway, &secret, "").await, 200);
    assert_eq!(ann.asks(&format!("DELETE {}", of("/limits"))).await, ok);
    assert_eq!(ann.asks(&format!("GET {}", of("/limits"))).await, (200, without));
    assert_eq!(ann.asks(&format!("DELETE {}", of("/limits"))).await, ok, "again");
    assert_eq!(scrape(&gateway, &secret, "").await, 200);

    let regenerated = ann.raw(&format!("POST {}", of("/regenerate")), None).await;
    assert_eq!(regenerated.status, 200);
    assert_eq!(crate::support::comparable(&regenerated.json()), changed("nightly", &json!("KEY")));
    assert_eq!(text(&regenerated.json()["id"]), id);
    let new = text(&regenerated.json()["key"]);
    assert_eq!((scrape(&gateway, &secret, "").await, scrape(&gateway, &new, "").await), (401, 200));
    let shown = ann.raw(&format!("GET {}", of("/decrypt")), None).await.json();
    assert_eq!(shown, json!({"key": new}));
}

/// A key scrapes, and its usage is read back, by the session and by the key itself.
#[tokio::test]
async fn a_key_at_work_and_its_usage() {
    let upstream = scraper();
    let gateway = gateway(&upstream).await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, key) = create(&ann, "ci").await;
    let by_key = Client::key(gateway.data, &key);
    let of = |rest: &str| format!("GET /api/v1/api-keys/{id}/usage{rest}");

    let none = json!({
        "api_key_id": "UUID", "api_key_name": "ci", "total_requests": 0, "successful_requests": 0,
        "failed_requests": 0, "total_spend_microcents": 0,
    });
    assert_eq!(ann.asks(&of("")).await, (200, none));
    let empty = |name: &str| json!({"api_key_id": "UUID", "days": 30, name: []});
    assert_eq!(ann.asks(&of("/by-tier")).await, (200, empty("tiers")));

    for query in ["a", "b", "c", "d", "cheap", "fail", "fail"] {
        scrape(&gateway, &key, query).await;
    }
    for client in [&ann, &by_key] {
        let total = json!({
            "api_key_id": "UUID", "api_key_name": "ci", "total_requests": 7, "successful_requests": 5,
            "failed_requests": 2, "total_spend_microcents": 15_000,
        });
        settled(client, &of(""), total.clone()).await;
        assert_eq!(client.asks(&of("?days=1")).await, (200, total));
        let tier = |tier: &str, total: u64, successful: u64| {
            json!({
                "tier": tier, "total_requests": total, "successful_requests": successful,
                "failed_requests": total - successful, "total_spend_microcents": 3_000 * successful,
            })
        };
        let tiers = json!({"api_key_id": "UUID", "days": 7, "tiers": [tier("3.5", 6, 4), tier("1", 1, 1)]});
        settled(client, &of("/by-tier?days=7"), tiers).await;
        let errors = json!({
            "api_key_id": "UUID", "days": 30, "total_errors": 2,
            "errors": [{"status_code": 502, "error_code": null, "count": 2}],
        });
        assert_eq!(client.asks(&of("/errors")).await, (200, errors));
        let series = client.asks(&of("/timeseries?days=2")).await;
        assert_eq!(series.0, 200);
        assert_eq!((&series.1["days"], &series.1["granularity"]), (&json!(2), &json!("hour")));
        let data = series.1["data"].as_array().unwrap();
        assert!((48..=50).contains(&data.len()), "every hour, also those without a request: {}", data.len());
        let sum = |name: &str| data.iter().map(|point| point[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("total_requests"), sum("total_spend_microcents")), (7, 15_000));
        assert_eq!(data[0]["timestamp"], "SECONDS");
        let daily = client.asks(&of("/timeseries")).await.1;
        assert_eq!((&daily["days"], &daily["granularity"]), (&json!(30), &json!("day")));
        pages(client, &of("/requests")).await;
    }
    account(&gateway, &ann, &by_key).await;
}

/// The pages of requests and their filters, of the seven made above.
async fn pages(client: &Client, requests: &str) {
    let page = client.asks(requests).await;
    assert_eq!(page.0, 200);
    let head = |page: &Value| {
        let names = ["api_key_id", "total", "page", "page_size", "total_pages"];
        names.map(|name| page[name].clone())
    };
    assert_eq!(head(&page.1), [json!("UUID"), json!(7), json!(1), json!(50), json!(1)]);
    let items = page.1["items"].as_array().unwrap();
    assert_eq!(items.len(), 7);
    let item = |status_code: u16, tier: &str, spend: u64, credits: u64| {
        json!({
            "id": "UUID", "created_at": "SECONDS", "method": "POST", "path": "/api/v1/scrape",
            "status": if status_code == 200 { "success" } else { "failed" }, "status_code": status_code,
            "error_code": null, "tier_used": tier, "domain": "shop.example", "credits": credits,
            "spend_microcents": spend, "duration_ms": null,
        })
    };
    let timeless = |item: &Value| {
        let mut item = item.clone();
        assert!(item["duration_ms"].is_u64(), "{item}");
        item["duration_ms"] = Value::Null;
        item
    };
    // Those of one millisecond are in no order.
    let count = |expected: Value| items.iter().filter(|item| timeless(item) == expected).count();
    assert_eq!(count(item(502, "3.5", 0, 0)), 2);
    assert_eq!(count(item(200, "1", 3_000, 3)), 1);
    assert_eq!(count(item(200, "3.5", 3_000, 3)), 4);
    for (query, total, pages, length) in [
        ("?page_size=3", 7, 3, 3),
        ("?page_size=3&page=3", 7, 3, 1),
        ("?page_size=3&page=4", 7, 3, 0),
        ("?status=success", 5, 1, 5),
        ("?status=failed&days=1", 2, 1, 2),
        ("?tier=1", 1, 1, 1),
        ("?tier=2", 0, 0, 0),
        ("?domain=SHOP.ex", 7, 1, 7),
        ("?domain=nowhere", 0, 0, 0),
        ("?status=success&tier=3.5&page_size=2", 4, 2, 2),
    ] {
        let (status, page) = client.asks(&format!("{requests}{query}")).await;
        let found = (status, page["total"].as_u64(), page["total_pages"].as_u64());
        assert_eq!(found, (200, Some(total), Some(pages)), "{query}: {page}");
        assert_eq!(page["items"].as_array().unwrap().len(), length, "{query}");
    }
}

/// The account: limits, usage, and who one is.
async fn account(gateway: &Gateway, ann: &Client, by_key: &Client) {
    let without = json!({"user_id": "UUID", "limits": null, "has_limits": false});
    for client in [ann, by_key] {
        assert_eq!(client.asks("GET /api/v1/account/limits").await, (200, without.clone()));
    }
    let usage = |limit: Value, available: Value| {
        json!({
            "credits_available": available, "credits_used": 15, "credits_limit": limit, "requests_count": 7,
            "subscription_tier": "team", "billing_period_start": "SECONDS", "billing_period_end": "SECONDS",
        })
    };
    for client in [ann, by_key] {
        assert_eq!(client.asks("GET /api/v1/usage").await, (200, usage(Value::Null, Value::Null)));
    }
    let set = json!({"budget_limit_microcents": 20_000, "reset_period": "weekly"});
    let with = json!({
        "user_id": "UUID", "limits": limits(&json!(20_000), &Value::Null, "weekly", true, (15_000, 7)),
        "has_limits": true,
    });
    assert_eq!(ann.tells("PUT /api/v1/account/limits", set).await, (200, with.clone()));
    for client in [ann, by_key] {
        assert_eq!(client.asks("GET /api/v1/account/limits").await, (200, with.clone()));
        assert_eq!(client.asks("GET /api/v1/usage").await, (200, usage(json!(20), json!(5))));
        let me = json!({
            "id": "UUID", "email": "ann@example.com", "name": "ann", "created_at": "SECONDS",
            "subscription_tier": "team", "credits_remaining": 5, "credits_total": 20,
            "tier_info": {
                "name": "team", "slug": "team", "requests_per_minute": 10_000, "concurrent_requests": 100,
            },
        });
        assert_eq!(client.asks("GET /api/v1/auth/me").await, (200, me));
    }
    assert_eq!(ann.asks("DELETE /api/v1/account/limits").await, (200, json!({"status": "ok"})));
    assert_eq!(ann.asks("GET /api/v1/account/limits").await, (200, without));
    // Everything is there on the operators' side, too.
    let control = ann.at(gateway.control);
    wait_until("the control listener answers", SOON, async || {
        control.asks("GET /api/v1/usage").await == (200, usage(Value::Null, Value::Null))
    })
    .await;
}
