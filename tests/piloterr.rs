//! Piloterr's published pages ("API Keys", "Usage", "Status Code"), as its clients call them: over real sockets, on the
//! data listener, whole bodies compared. `page` is the page on keys in its order, `usage` what a key is told, `soft`
//! `soft_fail=true`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "piloterr/page.rs"]
mod page;
#[path = "piloterr/soft.rs"]
mod soft;
#[path = "piloterr/usage.rs"]
mod usage;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Answer, Gateway, Response, Seen, Upstream};

/// A data service. The target says what it answers.
fn service() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let path = seen.target().split('?').next().unwrap_or_default();
        match path {
            "/v2/nothing" => Answer::new(404).json(&json!({"message": "no such company", "query": "x"})),
            "/v2/said" => Answer::new(404).json(&json!({"error": "Company not found"})),
            "/v2/page" => Answer::new(404).header("content-type", "text/html").body("<h1>Not Found</h1>"),
            "/v2/empty" => Answer::new(404),
            "/v2/chunked" => Answer::new(404)
                .header("content-type", "application/json")
                .chunks(&["{\"error\":", "\"Company not found\"}"], ""),
            "/v2/broken" => Answer::new(404).header("content-length", "100").body("{\"error\"").then_close(),
            "/v2/long" => Answer::new(404).body(" ".repeat(300_000)),
            "/v2/fails" => Answer::new(500).json(&json!({"error": "Internal Error"})),
            _ => Answer::new(200).json(&json!({"ok": true})),
        }
    })
}

fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "{more}\n[data]\nthreads = 1\n\
         [keys]\nsources = [\"header:x-api-key\", \"query:x_api_key\"]\n\
         [plans.startup]\nper_second = 1000\nper_minute = 10000\n\
         [[upstreams]]\nname = \"up\"\ntargets = [\"{upstream}\"]\nhealth = {{ every = \"0s\" }}\n\
         [[routes]]\npath = \"/*\"\nupstream = \"up\"\ndialect = \"piloterr\"\nprice = 2\n\
         charge = [\"success\", \"failure\"]\ncost = [\"5xx=0\"]\n"
    )
}

/// A gateway with the organization `Partner Acme`.
async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let gateway = Gateway::start(&config(upstream.address, more)).await;
    gateway.cli(&["org", "create", "Partner Acme", "--plan", "startup"]).await;
    gateway
}

/// Makes a key: its id and its secret.
async fn key(gateway: &Gateway, alias: &str, more: &[&str]) -> (String, String) {
    gateway.key("Partner Acme", alias, more).await
}

/// What stands in a refusal beside the request's id.
fn said(answer: &Response) -> (u16, Value, Value) {
    let body = answer.json();
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    (answer.status, body["error"].clone(), body["code"].clone())
}

fn says(status: u16, error: &str, code: &str) -> (u16, Value, Value) {
    (status, json!(error), json!(code))
}
