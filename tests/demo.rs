//! `tollgate demo`: what it says is true, and what it prints works.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Answer, Client, Demo, Upstream, get, post};

const SCRAPE: &str = "/api/v1/scrape";

#[tokio::test]
async fn a_page_is_scraped_through_the_demo_and_its_cost_is_counted() {
    let site = Upstream::start(|seen| match seen.target() {
        "/page" => Answer::new(200)
            .header("content-type", "text/html; charset=latin1")
            .body(b"<title>Gr\xfc\xdfe</title>".to_vec()),
        _ => Answer::new(404),
    });
    let mut demo = Demo::start(&[]).await;
    let with_key = [("x-api-key", demo.said("key")), ("content-type", "application/json")];
    let wanted = |path: &str| json!({ "url": format!("http://{}{path}", site.address) }).to_string();

    let scraped = post(demo.data, SCRAPE, &with_key, wanted("/page")).await;
    assert_eq!(scraped.status, 200, "{}", scraped.text());
    let answer = scraped.json();
    assert_eq!((&answer["status_code"], &answer["title"]), (&json!(200), &json!("Grüße")));
    assert_eq!(
        answer["billing"],
        json!({ "total_credits": 1, "tier_used": "1", "final_cost_microcents": 1000 })
    );
    assert!(scraped.header("ratelimit").is_some(), "{:?}", scraped.headers);
    let missing = post(demo.data, SCRAPE, &with_key, wanted("/none")).await;
    assert_eq!((missing.status, &missing.json()["status_code"]), (200, &json!(404)));

    // The site saw a scraper, and nothing of the client.
    let seen = site.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].header("user-agent").unwrap().starts_with("tollgate-demo/"));
    assert!(!seen[0].head.contains(demo.said("key")), "{}", seen[0].head);

    // Without the key there is nothing, and the scrape service's own refusals come through.
    let refused = post(demo.data, SCRAPE, &[], wanted("/page")).await;
    assert_eq!((refused.status, &refused.json()["code"]), (401, &json!("missing_api_key")));
    let unfit = post(demo.data, SCRAPE, &with_key, "{\"url\": \"file:///etc/passwd\"}").await;
    assert_eq!(
        (unfit.status, unfit.json()),
        (422, json!({ "error": "`file:` is not fetched: only http and https are" }))
    );

    assert_eq!(get(demo.control, "/readyz", &[]).await.status, 200);
    let directory = demo.said("data_dir").to_owned();
    assert!(Path::new(&directory).join("gateway.toml").exists());
    assert_eq!(demo.interrupt().await.code(), Some(0));
    assert!(!Path::new(&directory).exists(), "{directory} was left behind");
}

/// The operator is at home in the one organization there is, so that nobody has to name it.
#[tokio::test]
async fn the_session_manages_the_key_that_was_printed() {
    let demo = Demo::start(&[]).await;
    let operator = Client::bearer(demo.data, demo.said("session_token"));
    let (status, keys) = operator.raw("GET /api/v1/api-keys", None).await.into_parts();
    assert_eq!((status, &keys[0]["id"]), (200, &json!(demo.said("key_id"))));
    let listed = operator.at(demo.control).raw("GET /v1/keys", None).await.json();
    assert_eq!((&listed["items"][0]["id"], &listed["next"]), (&json!(demo.said("key_id")), &json!(null)));
    let me = Client::key(demo.data, demo.said("key")).asks("GET /api/v1/auth/me").await;
    assert_eq!((me.0, &me.1["email"]), (200, &json!(demo.said("operator_email"))));
    // A limit of the account is one of the key's organization.
    let limit = json!({ "request_limit": 0 });
    assert_eq!(operator.tells("PUT /api/v1/account/limits", limit).await.0, 200);
    let refused = get(demo.data, "/", &[("x-api-key", demo.said("key"))]).await;
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("spend_requests")));
}

#[tokio::test]
async fn a_directory_that_was_named_is_kept() {
    let parent = tempfile::tempdir().unwrap();
    let named = parent.path().join("kept");
    let mut demo = Demo::start(&["--data", named.to_str().unwrap()]).await;
    assert_eq!(Path::new(demo.said("data_dir")), named.canonicalize().unwrap());
    assert_eq!(demo.interrupt().await.code(), Some(0));
    assert!(named.join("tollgate.db").exists());
}

/// In the shell of an operator, whose settings name a record that a demo has no business in.
#[tokio::test]
async fn flags_go_before_the_environment_and_the_stores_are_its_own() {
    let place = tempfile::tempdir().unwrap();
    let elsewhere = place.path().join("production.db");
    let url = format!("sqlite://{}", elsewhere.display());
    let demo = Demo::start_in(
        &[],
        &[
            ("TOLLGATE__DATA__LISTEN", "127.0.0.1:1"),
            ("TOLLGATE__RECORD__URL", &url),
            ("TOLLGATE__COUNTERS__URL", "redis://127.0.0.1:1"),
            ("TOLLGATE__PLANS__DEMO__PER_MINUTE", "7"),
        ],
    )
    .await;
    let answer = get(demo.data, "/hello", &[("x-api-key", demo.said("key"))]).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, Some("7")));
    assert!(!elsewhere.exists() && Path::new(demo.said("data_dir")).join("tollgate.db").exists());
}
