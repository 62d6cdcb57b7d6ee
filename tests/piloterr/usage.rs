//! `GET /v2/usage`: what the account and the key have used, and what is left.

use serde_json::{Value, json};

use crate::support::{Client, SOON, comparable, wait_until};
use crate::{gateway, key, said, says, service};

fn expected(used: u64, subscription: &Value, key: &Value) -> Value {
    json!({
        "remaining": subscription["remaining"], "total_used": used, "renewal_date": "DAY",
        "period": {"start": "DAY", "end": "DAY"},
        "subscription": subscription,
        "credits": {"given": 0, "consumed": 0, "remaining": 0, "percent_used": 0},
        "rate_limit": {"per_minute": 10_000, "per_second": 1_000},
        "account": {"name": "Partner Acme", "slug": "Partner-Acme"},
        "api_key": key,
    })
}

fn unlimited(used: u64) -> Value {
    json!({"used": used, "total": null, "remaining": null, "percent_used": null})
}

#[tokio::test]
async fn usage_of_the_account_and_settings_of_the_key() {
    let upstream = service();
    let gateway = gateway(&upstream, "").await;
    let (_, plain) = key(&gateway, "one", &["--category", "development"]).await;
    let quotas =
        ["--expires", "2099-12-31", "--total", "100", "--daily", "9", "--weekly", "8", "--monthly", "7"];
    let (_, full) = key(&gateway, "two", &quotas).await;
    let (plain, full) = (Client::key(gateway.data, &plain), Client::key(gateway.data, &full));
    let one = json!({
        "alias": "one", "active": true, "category": "development", "expires": null,
        "quotas": {"total": null, "daily": null, "weekly": null, "monthly": null},
    });
    let two = json!({
        "alias": "two", "active": true, "category": "production", "expires": "SECONDS",
        "quotas": {"total": 100, "daily": 9, "weekly": 8, "monthly": 7},
    });
    assert_eq!(plain.asks("GET /v2/usage").await, (200, expected(0, &unlimited(0), &one)));
    assert_eq!(full.asks("GET /v2/usage").await, (200, expected(0, &unlimited(0), &two)));

    // 404s are billed, as the page says; 500s are not.
    for path in ["/v2/company", "/v2/company", "/v2/nothing", "/v2/fails"] {
        plain.raw(&format!("GET {path}"), None).await;
    }
    full.raw("GET /v2/company", None).await;
    wait_until("the log is in the record", SOON, async || {
        plain.asks("GET /v2/usage").await == (200, expected(8, &unlimited(8), &one))
    })
    .await;
    // Asking is free, and the account is that of all its keys.
    assert_eq!(full.asks("GET /v2/usage").await, (200, expected(8, &unlimited(8), &two)));
    assert_eq!(upstream.count(), 5);

    // A budget of 25,000 microcents is one of 25 credits, at 1,000 for one.
    let limit = ["org", "limit", "Partner Acme", "--period", "monthly"];
    gateway.cli(&[&limit[..], &["--microcents", "25000"]].concat()).await;
    let subscription = json!({"used": 8, "total": 25, "remaining": 17, "percent_used": 32.0});
    assert_eq!(plain.asks("GET /v2/usage").await, (200, expected(8, &subscription, &one)));
    gateway.cli(&[&limit[..], &["--requests", "4"]].concat()).await;
    let subscription = json!({"used": 5, "total": 4, "remaining": 0, "percent_used": 125.0});
    assert_eq!(plain.asks("GET /v2/usage").await, (200, expected(8, &subscription, &one)));
    // The month, in days.
    let answer = plain.raw("GET /v2/usage", None).await.json();
    assert!(answer["period"]["start"].as_str().unwrap().ends_with("-01"), "{answer}");
    assert_eq!(answer["renewal_date"], answer["period"]["end"]);
    // And the same on the operators' side.
    let there = plain.at(gateway.control).raw("GET /v2/usage", None).await;
    assert_eq!(comparable(&there.json()), expected(8, &subscription, &one));
}

#[tokio::test]
async fn only_a_key_is_told_its_usage() {
    let upstream = service();
    let gateway = gateway(&upstream, "").await;
    let (_, secret) = key(&gateway, "k", &["--allow-ip", "10.0.0.0/8"]).await;
    let (_, token) = user(&gateway).await;
    let missing = Client::nobody(gateway.data).raw("GET /v2/usage", None).await;
    assert_eq!(said(&missing), says(401, "Invalid API Key", "missing_api_key"));
    let session = Client::bearer(gateway.data, &token).raw("GET /v2/usage", None).await;
    assert_eq!(said(&session), says(401, "Invalid API Key", "missing_api_key"));
    let elsewhere = Client::key(gateway.data, &secret).raw("GET /v2/usage", None).await;
    let text = "This API key may not be used from your address";
    assert_eq!(said(&elsewhere), says(403, text, "ip_not_allowed"));
    let method = Client::key(gateway.data, &secret).raw("POST /v2/usage", Some(json!({}))).await;
    assert_eq!(method.header("allow"), Some("GET,HEAD"));
    assert_eq!(said(&method), says(405, "Method not allowed", "method_not_allowed"));
    assert_eq!(upstream.count(), 0);
}

async fn user(gateway: &crate::Gateway) -> (String, String) {
    let arguments = ["user", "create", "ann@example.com", "--password-stdin"];
    let made = gateway.cli_with(&arguments, "correct horse battery staple").await;
    let session = gateway.cli(&["session", "create", "ann@example.com"]).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["id"]), text(&session["session_token"]))
}
