//! What an answer is taken to have cost: in the log, and against the limits.

use serde_json::{Value, json};

use crate::bed::Setup;
use crate::support::{Answer, SOON, Seen, Upstream, row_of, wait_until};

/// Finders in the order of the lists: header, then JSON, then by status. Price 5.
const ROUTE: &str = r#"
    price = 5
    cost = ["header:x-credits-used", "json:/billing/credits", "4xx=2"]
    cost_microcents = ["json:/billing/microcents"]
    tier = ["header:x-tier", "json:/billing/tier"]
    outcome = ["json:/status_code"]
    inspect_max = "1KiB"
"#;

/// What the upstream answers, by its target, and what the log must say of it: outcome, credits, microcents,
/// who said so, tier.
const ANSWERS: &[(&str, &str, &str)] = &[
    // Nobody says: unknown, not zero, and priced by the route.
    ("200", "", r#"["success", 5, 5000, "unknown", null]"#),
    ("200", "{}", r#"["success", 5, 5000, "unknown", null]"#),
    ("200 x-credits-used:3", "", r#"["success", 3, 3000, "header", null]"#),
    ("200 x-credits-used:0", "", r#"["success", 0, 0, "header", null]"#),
    ("200 x-credits-used:2.5 x-tier:3.5", "", r#"["success", 3, 3000, "header", "3.5"]"#),
    ("200 x-credits-used:many", "", r#"["success", 5, 5000, "unknown", null]"#),
    ("200", r#"{"billing":{"credits":4,"tier":2}}"#, r#"["success", 4, 4000, "json", "2"]"#),
    ("200", r#"{"billing":{"credits":"4","microcents":123}}"#, r#"["success", 4, 123, "json", null]"#),
    // Credits of which only the microcents are named: turned back, at 1,000 for one.
    ("200", r#"{"billing":{"microcents":123}}"#, r#"["success", 1, 123, "json", null]"#),
    ("200", r#"{"billing":{"microcents":2001}}"#, r#"["success", 3, 2001, "json", null]"#),
    // The first place of the list that can be read.
    ("200 x-credits-used:3", r#"{"billing":{"credits":4}}"#, r#"["success", 3, 3000, "header", null]"#),
    ("200 x-credits-used:-1", r#"{"billing":{"credits":4}}"#, r#"["success", 4, 4000, "json", null]"#),
    // The status that counts is the target's, where the answer tells it.
    ("200", r#"{"status_code":503,"billing":{"credits":4}}"#, r#"["failure", 0, 0, "free", null]"#),
    ("200", r#"{"status_code":204,"billing":{"credits":4}}"#, r#"["success", 4, 4000, "json", null]"#),
    ("404", r#"{"status_code":200}"#, r#"["success", 2, 2000, "status", null]"#),
    ("404", "", r#"["failure", 0, 0, "free", null]"#),
    ("500 x-credits-used:3 x-tier:1", "", r#"["failure", 0, 0, "free", "1"]"#),
    // What is no JSON, and what is longer than is looked into.
    (
        "200 content-type:text/plain",
        r#"{"billing":{"credits":4}}"#,
        r#"["success", 5, 5000, "unknown", null]"#,
    ),
    (
        "200 content-type:application/problem+json",
        r#"{"billing":{"credits":4}}"#,
        r#"["success", 4, 4000, "json", null]"#,
    ),
    ("200", "LONG", r#"["success", 5, 5000, "unknown", null]"#),
    ("200", r#"{"billing":{"credits":4"#, r#"["success", 5, 5000, "unknown", null]"#),
];

/// Answers by the request's headers: `x-answer` is a status and headers, the body is sent back.
fn answer(seen: &Seen) -> Answer {
    let mut parts = seen.header("x-answer").unwrap_or("200").split(' ');
    let mut answer = Answer::new(parts.next().unwrap().parse().unwrap());
    let headers: Vec<_> = parts.map(|header| header.split_once(':').unwrap()).collect();
    for (name, value) in &headers {
        answer = answer.header(name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        answer = answer.header("content-type", "application/json; charset=utf-8");
    }
    answer.body(seen.body.clone())
}

#[tokio::test]
async fn the_log_says_what_was_charged_and_who_said_so() {
    let upstream = Upstream::start(answer);
    let bed = Setup { route: ROUTE, ..Setup::default() }.start(&[&upstream]).await;
    let long = format!(r#"{{"billing":{{"credits":4}},"page":"{}"}}"#, "x".repeat(2000));
    let mut asked = Vec::new();
    for (head, body, expected) in ANSWERS {
        let body = if *body == "LONG" { &long } else { *body };
        let answer = bed.send("POST", "/scrape?url=secret", &[("x-answer", head)], body).await;
        assert_eq!(answer.text(), body, "handed on as it is");
        asked.push((answer.header("x-request-id").unwrap().to_owned(), *head, body.to_owned(), *expected));
    }
    for (id, head, body, expected) in asked {
        let row = row_of(&bed.gateway, &id).await;
        let found =
            json!([row["outcome"], row["credits"], row["microcents"], row["cost_source"], row["tier"]]);
        assert_eq!(found, serde_json::from_str::<Value>(expected).unwrap(), "{head} {body}: {row}");
    }
    let encodings: Vec<_> =
        upstream.seen().iter().map(|seen| seen.header("accept-encoding").map(str::to_owned)).collect();
    assert!(encodings.iter().all(|encoding| encoding.as_deref() == Some("identity")), "{encodings:?}");
}

#[tokio::test]
async fn a_row_says_all_that_happened() {
    let upstream = Upstream::start(|_| Answer::new(201).body("answer"));
    let bed = Setup::default().start(&[&upstream]).await;
    let answer = bed.send("PUT", "/a/b?q=secret", &[("user-agent", "tester/1")], "request").await;
    let mut row = row_of(&bed.gateway, answer.header("x-request-id").unwrap()).await;
    let micros = |field: &str| row[field].as_u64().unwrap();
    assert!(micros("first_byte_micros") <= micros("total_micros") && micros("total_micros") < 20_000_000);
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64 - micros("at");
    assert!(age < 60_000_000, "{row}");
    for gone in ["id", "at", "first_byte_micros", "total_micros"] {
        row.as_object_mut().unwrap().remove(gone);
    }
    let expected = json!({
        "organization": "acme", "project": bed.project, "key": bed.key_id, "admitted": 1,
        "method": "PUT", "path": "/a/b", "status": 201, "code": "", "outcome": "success",
        "address": "127.0.0.1", "credits": 1, "microcents": 1000, "cost_source": "unknown",
        "tier": null, "domain": null, "bytes_in": 7, "bytes_out": 6,
        "target": upstream.address.to_string(), "user_agent": "tester/1",
    });
    assert_eq!(row, expected);
}

/// Which outcomes cost, and what counts as success, is the route's to say.
#[tokio::test]
async fn a_route_says_what_is_charged() {
    let upstream = Upstream::start(answer);
    let route =
        "price = 2\nsuccess = [200, 404]\ncharge = [\"failure\", \"upstream_error\"]\ncost = [\"5xx=9\"]";
    let bed = Setup { route, ..Setup::default() }.start(&[&upstream]).await;
    for (head, expected) in [
        ("200", json!(["success", 0, 0, "free"])),
        ("404", json!(["success", 0, 0, "free"])),
        ("201", json!(["failure", 2, 2000, "unknown"])),
        ("500", json!(["failure", 9, 9000, "status"])),
    ] {
        let answer = bed.send("GET", "/", &[("x-answer", head)], "").await;
        let row = row_of(&bed.gateway, answer.header("x-request-id").unwrap()).await;
        assert_eq!(
            json!([row["outcome"], row["credits"], row["microcents"], row["cost_source"]]),
            expected,
            "{head}"
        );
    }
}

/// The price is reserved before, the actual cost settled after: a budget is used up by what was charged.
#[tokio::test]
async fn a_budget_counts_what_was_charged() {
    let upstream = Upstream::start(answer);
    let bed = Setup { route: ROUTE, ..Setup::default() }.start(&[&upstream]).await;
    let limit = ["key", "limit", &bed.key_id, "--microcents", "20000", "--period", "monthly"];
    bed.gateway.cli(&limit).await;
    wait_until("the limit is in force", SOON, async || {
        bed.gateway.cli(&["key", "show", &bed.key_id]).await["limits"]["microcents"] == 20_000
    })
    .await;
    let spend = async |head: &str| bed.send("GET", "/", &[("x-answer", head)], "").await.status;
    // 5,000 are reserved for each. Failures and what is free leave the budget as it was.
    for _ in 0..10 {
        assert_eq!(spend("500").await, 500);
        assert_eq!(spend("200 x-credits-used:0").await, 200);
    }
    assert_eq!(spend("200 x-credits-used:12").await, 200, "12,000 of 20,000 spent");
    assert_eq!(spend("200 x-credits-used:3").await, 200, "15,000 spent: room for one more");
    assert_eq!(spend("200 x-credits-used:1").await, 200, "16,000 spent, 4,000 left");
    assert_eq!(spend("200 x-credits-used:0").await, 429, "5,000 would have to be reserved");
    assert_eq!(upstream.count(), 23);
}
