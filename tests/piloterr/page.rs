//! The page on API keys, section by section.

use serde_json::json;

use crate::support::{Client, SOON, get, row_of, wait_until};
use crate::{gateway, key, said, says, service};

/// "Creating a key", "Categories", "Deactivating vs. deleting": alias, category, quotas, expiry; inactive at once,
/// active again, and never deleted once used.
#[tokio::test]
async fn a_keys_life() {
    let upstream = service();
    let gateway = gateway(&upstream, "").await;
    let settings = ["--category", "partner-acme", "--expires", "2099-12-31", "--daily", "100000"];
    let (id, secret) = key(&gateway, "sandbox", &settings).await;
    let made = gateway.cli(&["key", "show", &id]).await;
    assert_eq!((&made["name"], &made["category"]), (&json!("sandbox"), &json!("partner-acme")));
    let again = gateway.run(&["key", "create", "--org", "Partner Acme", "--name", "sandbox"], "").await;
    assert_eq!(again.code, Some(1), "the alias is unique: {again:?}");

    let asked = async || Client::key(gateway.data, &secret).raw("GET /v2/company", None).await;
    assert_eq!(asked().await.status, 200);
    gateway.cli(&["key", "disable", &id]).await;
    wait_until("it is inactive", SOON, async || asked().await.status == 401).await;
    assert_eq!(said(&asked().await), says(401, "Inactive API Key", "inactive_api_key"));
    gateway.cli(&["key", "enable", &id]).await;
    wait_until("it is active again", SOON, async || asked().await.status == 200).await;

    // "If a key has request history, it cannot be deleted."
    wait_until("the history is in the record", SOON, async || {
        gateway.run(&["key", "delete", &id], "").await.code == Some(1)
    })
    .await;
    let (unused, _) = key(&gateway, "never used", &[]).await;
    assert_eq!(gateway.cli(&["key", "delete", &unused]).await, json!({"deleted": unused}));

    // Request logs: endpoint, status, duration, address, credits.
    let answer = asked().await;
    let row = row_of(&gateway, answer.header("x-request-id").unwrap()).await;
    let shown = json!([row["method"], row["path"], row["status"], row["address"], row["credits"]]);
    assert_eq!(shown, json!(["GET", "/v2/company", 200, "127.0.0.1", 2]));
    assert!(row["first_byte_micros"].is_u64());
}

/// "Per-key quotas" and "Error reference", word for word.
#[tokio::test]
async fn the_error_reference() {
    let upstream = service();
    let more = "ip_guard.failures = 3\nplans.slow.per_minute = 1";
    let gateway = gateway(&upstream, more).await;
    for (quota, code) in [
        ("total", "quota_total"),
        ("daily", "quota_daily"),
        ("weekly", "quota_weekly"),
        ("monthly", "quota_monthly"),
    ] {
        let (_, secret) = key(&gateway, quota, &[&format!("--{quota}"), "1"]).await;
        let client = Client::key(gateway.data, &secret);
        assert_eq!(client.raw("GET /v2/company", None).await.status, 200, "{quota}");
        let refused = client.raw("GET /v2/company", None).await;
        let error = format!("Rate limit exceeded: quota {quota}");
        assert_eq!(said(&refused), says(401, &error, code));
        // What is used up can still be asked for.
        assert_eq!(client.raw("GET /v2/usage", None).await.status, 200, "{quota}");
    }
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let end = jiff::Timestamp::from_second(now + 4).unwrap();
    let (_, ending) = key(&gateway, "ends soon", &["--expires", &end.to_string()]).await;
    let client = Client::key(gateway.data, &ending);
    wait_until("it has expired", SOON, async || client.raw("GET /v2/company", None).await.status == 401)
        .await;
    let refused = client.raw("GET /v2/company", None).await;
    assert_eq!(said(&refused), says(401, "Expired API Key", "expired_api_key"));
    let refused = client.raw("GET /v2/usage", None).await;
    assert_eq!(said(&refused), says(401, "Expired API Key", "expired_api_key"));

    gateway.cli(&["org", "create", "slow", "--plan", "slow"]).await;
    let (_, slow) = gateway.key("slow", "k", &[]).await;
    let slow = Client::key(gateway.data, &slow);
    assert_eq!(slow.raw("GET /v2/company", None).await.status, 200);
    let refused = slow.raw("GET /v2/company", None).await;
    let text = "You have exceeded the per-minute rate limit on your subscription";
    assert_eq!(said(&refused), says(429, text, "rate_limited_minute"));

    // Too many failed attempts from the same address.
    for _ in 0..3 {
        let invalid = get(gateway.data, "/v2/usage", &[("x-api-key", "sk_live_none")]).await;
        assert_eq!(said(&invalid), says(401, "Invalid API Key", "invalid_api_key"));
    }
    let blocked = get(gateway.data, "/v2/usage", &[]).await;
    assert_eq!(said(&blocked), says(403, "IP temporarily blocked", "ip_blocked"));
}

/// A key in the query goes no further than here.
#[tokio::test]
async fn a_key_in_the_query() {
    let upstream = service();
    let gateway = gateway(&upstream, "").await;
    let (_, secret) = key(&gateway, "k", &[]).await;
    let asked = get(gateway.data, &format!("/v2/company?query=x&x_api_key={secret}"), &[]).await;
    assert_eq!((asked.status, upstream.seen()[0].target()), (200, "/v2/company?query=x"));
    let asked = get(gateway.data, &format!("/v2/usage?x_api_key={secret}"), &[]).await;
    assert_eq!((asked.status, &asked.json()["api_key"]["alias"]), (200, &json!("k")));
    let (_, other) = key(&gateway, "other", &[]).await;
    let both = get(gateway.data, &format!("/v2/usage?x_api_key={secret}"), &[("x-api-key", &other)]).await;
    assert_eq!(said(&both), says(400, "More than one API key was sent", "ambiguous_credentials"));
}
