//! AzScraper's published pages ("API keys", "Sample responses"), as its clients call them: over real sockets, on the data
//! listener, whole bodies compared. `page` is the pages in their order, `lock` what a key reaches, `rules` what is
//! refused and how, `register` accounts that people make themselves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "azscraper/lock.rs"]
mod lock;
#[path = "azscraper/page.rs"]
mod page;
#[path = "azscraper/register.rs"]
mod register;
#[path = "azscraper/rules.rs"]
mod rules;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Answer, Client, Gateway, Seen, Upstream};

const PASSWORD: &str = "correct horse battery staple";

/// A crawling service: jobs are made below a project and read by their id alone. The id is told by `?id=`.
fn crawler() -> Upstream {
    Upstream::start(|seen: &Seen| {
        let made = seen.method() == "POST" && seen.target().contains("/jobs");
        let id = seen.target().split("id=").nth(1).unwrap_or("67e2aa").to_owned();
        Answer::new(if made { 201 } else { 200 }).json(&json!({"data": {"id": id, "status": "queued"}}))
    })
}

fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "{more}\n[data]\nthreads = 1\n\
         [plans.team]\nper_second = 1000\nper_minute = 10000\nconcurrency = 100\n\
         [[upstreams]]\nname = \"up\"\ntargets = [\"{upstream}\"]\nhealth = {{ every = \"0s\" }}\n\
         [[routes]]\npath = \"/projects/{{project}}/jobs\"\nmethods = [\"POST\"]\nupstream = \"up\"\n\
         dialect = \"azscraper\"\nremember = \"/data/id\"\n\
         [[routes]]\npath = \"/projects/{{project}}/*\"\nupstream = \"up\"\ndialect = \"azscraper\"\n\
         [[routes]]\npath = \"/jobs/{{job}}/*\"\nupstream = \"up\"\ndialect = \"azscraper\"\n\
         [[routes]]\npath = \"/*\"\nupstream = \"up\"\ndialect = \"azscraper\"\n"
    )
}

/// A gateway with the organization `acme`, its project `67d1aa`, and ann, its admin.
async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let gateway = Gateway::start(&config(upstream.address, more)).await;
    gateway.cli(&["org", "create", "acme", "--plan", "team"]).await;
    gateway.cli(&["project", "create", "catalog", "--org", "acme", "--id", "67d1aa"]).await;
    user(&gateway, "ann@example.com", &["--org", "acme", "--role", "admin"]).await;
    gateway
}

async fn user(gateway: &Gateway, email: &str, more: &[&str]) {
    let arguments = [&["user", "create", email, "--password-stdin"], more].concat();
    gateway.cli_with(&arguments, PASSWORD).await;
}

/// Logs in, as a client does: its session.
async fn login(gateway: &Gateway, email: &str) -> Client {
    let body = json!({"email": email, "password": PASSWORD});
    let answer = Client::nobody(gateway.data).raw("POST /auth/login", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Client::bearer(gateway.data, answer.json()["data"]["accessToken"].as_str().unwrap())
}

/// Creates a key in a project: its id, and a client that uses it as a client does.
async fn key(session: &Client, project: &str, name: &str) -> (String, Client) {
    let path = format!("POST /private/projects/{project}/api-keys");
    let made = session.raw(&path, Some(json!({"name": name}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |field: &str| made.json()["data"][field].as_str().unwrap().to_owned();
    (text("id"), Client::bearer(session.address, &text("key")))
}

/// The envelope of a refusal.
fn no(code: &str, message: &str) -> Value {
    json!({"success": false, "error": {"code": code, "message": message, "details": []}})
}

/// The envelope of a field that is wrong.
fn invalid(field: &str, message: &str) -> Value {
    let details = json!([{"field": field, "message": message}]);
    json!({
        "success": false,
        "error": {"code": "VALIDATION_ERROR", "message": "Validation failed", "details": details},
    })
}
