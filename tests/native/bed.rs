//! A gateway with people in two organizations, and a way to call its API as any of them.

use serde_json::{Value, json};

use super::support::{Answer, Gateway, Response, Upstream, send};

/// What an organization's people are called by; `stranger` owns the other organization.
pub const PEOPLE: [(&str, &str); 4] =
    [("owner", "owner"), ("admin", "admin"), ("member", "member"), ("stranger", "owner")];

pub struct Bed {
    pub gateway: Gateway,
    pub upstream: Upstream,
    /// Session tokens by name: those of [`PEOPLE`], and `operator`.
    tokens: Vec<(&'static str, String)>,
}

impl Bed {
    /// With the organizations `acme` and `other`, and further settings.
    pub async fn new(settings: &str) -> Self {
        let upstream = Upstream::start(|_| Answer::new(200).body("page"));
        let config = format!(
            "[data]
threads = 1
trusted_proxies = [\"127.0.0.1\"]
[logs]
segment_bytes = \"1MiB\"
{settings}
[plans.wide]
[plans.narrow]
per_second = 1
[[upstreams]]
name = \"scraper\"
targets = [\"{}\"]
[[routes]]
path = \"/*\"
upstream = \"scraper\"
",
            upstream.address
        );
        let gateway = Gateway::start(&config).await;
        for org in ["acme", "other"] {
            gateway.cli(&["org", "create", org, "--plan", "wide"]).await;
        }
        let mut bed = Self { gateway, upstream, tokens: Vec::new() };
        bed.person("operator", &["--operator"]).await;
        for (name, role) in PEOPLE {
            let org = if name == "stranger" { "other" } else { "acme" };
            bed.person(name, &["--org", org, "--role", role]).await;
        }
        bed
    }

    async fn person(&mut self, name: &'static str, more: &[&str]) {
        let email = email(name);
        let arguments = [&["user", "create", &email, "--password-stdin"], more].concat();
        self.gateway.cli_with(&arguments, &password(name)).await;
        let token = self.session(name, "1h").await;
        self.tokens.push((name, token));
    }

    /// A new session's token.
    pub async fn session(&self, name: &str, ttl: &str) -> String {
        let session = self.gateway.cli(&["session", "create", &email(name), "--ttl", ttl]).await;
        session["session_token"].as_str().unwrap().to_owned()
    }

    /// The token of one of the people; anything else is itself.
    pub fn token<'a>(&'a self, who: &'a str) -> &'a str {
        self.tokens.iter().find(|(name, _)| *name == who).map_or(who, |(_, token)| token)
    }

    /// A call as `who`: one of the people, or a token or key; empty is nobody.
    pub async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> Response {
        self.call_with(who, method, path, &[], body).await
    }

    /// As [`Bed::call`], with further headers.
    pub async fn call_with(
        &self,
        who: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Response {
        let bearer = format!("Bearer {}", self.token(who));
        let mut all = headers.to_vec();
        if !who.is_empty() {
            all.push(("authorization", &bearer));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        if !body.is_empty() {
            all.push(("content-type", "application/json"));
        }
        send(self.gateway.control, method, path, &all, body).await
    }

    /// A call that must be answered with `status`: its body.
    pub async fn does(&self, who: &str, method: &str, path: &str, body: Value, status: u16) -> Value {
        let answer = self.call(who, method, path, body).await;
        assert_eq!(answer.status, status, "{who} {method} {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// A key of `org`: its id and its secret.
    pub async fn key(&self, org: &str, name: &str) -> (String, String) {
        let path = format!("/v1/keys?organization={org}");
        let made = self.does("operator", "POST", &path, json!({ "name": name }), 201).await;
        (text(&made["id"]), text(&made["key"]))
    }

    /// What a request with this key is answered on the data listener.
    pub async fn scrape(&self, key: &str) -> u16 {
        send(self.gateway.data, "GET", "/page", &[("x-api-key", key)], "").await.status
    }
}

pub fn email(name: &str) -> String {
    format!("{name}@example.com")
}

pub fn password(name: &str) -> String {
    format!("the password of {name}")
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
