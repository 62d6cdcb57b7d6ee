//! Clients of the published key systems, and their answers made comparable.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::client::{Response, get, send};

/// A client with one credential.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Client {
    /// Without a credential.
    pub const fn nobody(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new() }
    }

    /// With `Authorization: Bearer`.
    pub fn bearer(address: SocketAddr, token: &str) -> Self {
        Self::nobody(address).with("authorization", &format!("Bearer {token}"))
    }

    /// With `X-API-Key`.
    pub fn key(address: SocketAddr, key: &str) -> Self {
        Self::nobody(address).with("x-api-key", key)
    }

    /// The same, with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same at another address.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// Any request; a body is sent as JSON.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        send(self.address, method, path, &headers, body).await
    }

    /// A request, such as `GET /api/v1/api-keys`: its status, and its body as [`comparable`] (`null` where there is
    /// none).
    pub async fn asks(&self, request: &str) -> (u16, Value) {
        self.sends(request, None).await
    }

    /// A request with a JSON body.
    pub async fn tells(&self, request: &str, body: Value) -> (u16, Value) {
        self.sends(request, Some(body)).await
    }

    async fn sends(&self, request: &str, body: Option<Value>) -> (u16, Value) {
        let response = self.raw(request, body).await;
        let body = if response.body.is_empty() { Value::Null } else { comparable(&response.json()) };
        (response.status, body)
    }

    /// The answer as it came.
    pub async fn raw(&self, request: &str, body: Option<Value>) -> Response {
        let (method, path) = request.split_once(' ').unwrap();
        let response = self.send(method, path, body.as_ref()).await;
        if !response.body.is_empty() {
            assert_eq!(response.header("content-type"), Some("application/json"), "{request}");
        }
        response
    }
}

/// `value` with what differs from run to run replaced by the name of its exact form: `UUID`, `SECONDS` and `MILLIS`
/// for times, `DAY` for dates, `KEY` for a whole key, `TOKEN` for a JWT.
pub fn comparable(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(form(text).unwrap_or(text)),
        Value::Array(items) => items.iter().map(comparable).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), comparable(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn form(text: &str) -> Option<&'static str> {
    let shape: String = text
        .chars()
        .map(|c| match c {
            '0'..='9' => '9',
            other => other,
        })
        .collect();
    match shape.as_str() {
        "9999-99-99" => return Some("DAY"),
        "9999-99-99T99:99:99Z" => return Some("SECONDS"),
        "9999-99-99T99:99:99.999Z" => return Some("MILLIS"),
        _ => {}
    }
    let key = text.strip_prefix("sk_live_");
    if key.is_some_and(|key| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Some("KEY");
    }
    if uuid::Uuid::try_parse(text).is_ok() && text.len() == 36 && *text == text.to_lowercase() {
        return Some("UUID");
    }
    (text.starts_with("eyJ") && text.split('.').count() == 3).then_some("TOKEN")
}

/// Every call of the document at `/openapi.json` whose path begins with `prefix`, such as `GET /api/v1/usage`.
pub async fn documented(control: SocketAddr, prefix: &str) -> BTreeSet<String> {
    let document = get(control, "/openapi.json", &[]).await.json();
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with(prefix));
    let calls = paths.flat_map(|(path, calls)| {
        calls.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    calls.collect()
}
