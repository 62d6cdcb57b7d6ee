//! AlterLab's published pages (/docs/api/api-keys and /docs/api/generated/keys, .../account), as its clients call them:
//! over real sockets, on the data listener, whole bodies compared. `page` is the pages in their order, `rules` what is
//! refused and how, `crowd` many at once and in several processes, `secrets` what must not be left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "alterlab/crowd.rs"]
mod crowd;
#[path = "alterlab/page.rs"]
mod page;
#[path = "alterlab/rules.rs"]
mod rules;
#[path = "alterlab/secrets.rs"]
mod secrets;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Answer, Client, Gateway, Seen, Upstream};

/// 32 bytes, base64.
const REVEAL_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const PASSWORD: &str = "correct horse battery staple";

/// A scraping service that says what it charged, as the routes below read it. `?fail` fails.
fn scraper() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let failed = seen.target().contains("fail");
        let answer = Answer::new(if failed { 502 } else { 200 });
        let tier = if seen.target().contains("cheap") { "1" } else { "3.5" };
        answer.header("x-tier", tier).header("x-credits-used", "3").json(&json!({"ok": !failed}))
    })
}

fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "{more}\n[data]\nthreads = 1\n\
         [plans.team]\nper_second = 1000\nper_minute = 10000\nconcurrency = 100\n\
         [[upstreams]]\nname = \"up\"\ntargets = [\"{upstream}\"]\nhealth = {{ every = \"0s\" }}\n\
         [[routes]]\npath = \"/*\"\nupstream = \"up\"\ndialect = \"alterlab\"\nprice = 5\n\
         cost = [\"header:x-credits-used\"]\ntier = [\"header:x-tier\"]\n"
    )
}

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&config(upstream.address, &format!("keys.reveal_key = \"{REVEAL_KEY}\""))).await
}

/// Makes a user with further arguments of `user create`, and logs it in: its id and its token.
async fn user(gateway: &Gateway, email: &str, more: &[&str]) -> (String, String) {
    let arguments = [&["user", "create", email, "--password-stdin"], more].concat();
    let made = gateway.cli_with(&arguments, PASSWORD).await;
    let session = gateway.cli(&["session", "create", email]).await;
    (text(&made["id"]), text(&session["session_token"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// AlterLab's spelling of a refusal.
fn no(text: &str, code: &str) -> Value {
    json!({"error": text, "message": text, "detail": text, "code": code})
}

/// Creates a key: its id and its secret.
async fn create(client: &Client, name: &str) -> (String, String) {
    let made = client.raw("POST /api/v1/api-keys", Some(json!({"name": name}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    (text(&made.json()["id"]), text(&made.json()["key"]))
}

/// Scrapes with a key: the status.
async fn scrape(gateway: &Gateway, key: &str, query: &str) -> u16 {
    let body = json!({"url": "https://shop.example/page"});
    Client::key(gateway.data, key).raw(&format!("POST /api/v1/scrape?{query}"), Some(body)).await.status
}
