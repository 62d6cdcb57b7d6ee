//! `soft_fail=true`: "handle 404 errors with a 200 status code", while log and billing keep the 404.

use serde_json::{Value, json};

use crate::support::{Client, Upstream, row_of};
use crate::{Gateway, gateway, key, service};

/// Asks: the answer's status and body, and status, outcome and credits in the log.
async fn asked(gateway: &Gateway, client: &Client, path: &str) -> (u16, Value, Value) {
    let answer = client.send("GET", path, None).await;
    let row = row_of(gateway, answer.header("x-request-id").unwrap()).await;
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if !answer.body.is_empty() {
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        assert!(
            length.is_none_or(|length: usize| length == answer.body.len()),
            "{path}: {:?}",
            answer.headers
        );
    }
    (answer.status, body, json!([row["status"], row["outcome"], row["credits"]]))
}

async fn bed() -> (Upstream, Gateway, Client) {
    let upstream = service();
    let gateway = gateway(&upstream, "").await;
    let (_, secret) = key(&gateway, "k", &[]).await;
    let client = Client::key(gateway.data, &secret);
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_404_becomes_a_200_with_its_error() {
    let (upstream, gateway, client) = bed().await;
    let logged = json!([404, "failure", 2]);
    for (path, body) in [
        // What the upstream said stays, and `error` is there in any case.
        ("/v2/said", json!({"error": "Company not found"})),
        ("/v2/chunked", json!({"error": "Company not found"})),
        ("/v2/nothing", json!({"message": "no such company", "query": "x", "error": "Not Found"})),
        ("/v2/page", json!({"error": "Not Found"})),
        ("/v2/empty", json!({"error": "Not Found"})),
        ("/v2/long", json!({"error": "Not Found"})),
    ] {
        let found = asked(&gateway, &client, &format!("{path}?query=x&soft_fail=true")).await;
        assert_eq!(found, (200, body, logged.clone()), "{path}");
    }
    // The upstream is asked as if nobody wanted it softly: it might answer so itself, and nobody would know.
    assert!(upstream.seen().iter().all(|seen| seen.target().ends_with("?query=x")));
    // Without it, and for everything else, nothing changes.
    for (path, status, logged) in [
        ("/v2/said", 404, json!([404, "failure", 2])),
        ("/v2/said?soft_fail=false", 404, json!([404, "failure", 2])),
        ("/v2/said?soft_fail=", 404, json!([404, "failure", 2])),
        ("/v2/fails?soft_fail=true", 500, json!([500, "failure", 0])),
        ("/v2/company?soft_fail=true", 200, json!([200, "success", 2])),
    ] {
        let (found, _, row) = asked(&gateway, &client, path).await;
        assert_eq!((found, row), (status, logged), "{path}");
    }
    // HEAD has no body, and is told the same.
    let head = client.send("HEAD", "/v2/said?soft_fail=true", None).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// An upstream that breaks off its 404 has not said that there is nothing.
#[tokio::test]
async fn a_404_that_breaks_off_is_no_answer() {
    let (_upstream, gateway, client) = bed().await;
    let (status, body, row) = asked(&gateway, &client, "/v2/broken?soft_fail=true").await;
    assert_eq!((status, &body["code"]), (502, &json!("upstream_unreachable")), "{body}");
    assert_eq!(row[1], "upstream_error");
}

/// Refusals stay what they are: they are not the upstream's 404.
#[tokio::test]
async fn a_refusal_is_no_soft_failure() {
    let (upstream, gateway, _) = bed().await;
    let refused = Client::nobody(gateway.data).send("GET", "/v2/said?soft_fail=true", None).await;
    assert_eq!((refused.status, upstream.count()), (401, 0));
}
