//! `/openapi.json`: the document of every system that the gateway answers itself, made of the handlers' own
//! annotations (OpenAPI 3.1).
//!
//! What is the same for every call of the native API is written once, here: who may call it, from the same table
//! that decides ([`RULES`]); what every answer may be instead of the one that was hoped for; and the headers that
//! creations take. So a handler that names its deed cannot be documented wrongly.

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use utoipa::openapi::OpenApi;

use crate::admin::access::{Least, RULES, Rule};
use crate::domain::people::Role;

use super::native::{Problem, RowProblem};
use super::system::System;

/// Where the native API's calls begin.
const NATIVE: &str = "/v1/";
const INTRODUCTION: &str = "The gateway's own API (`/v1`, on the control listener) and the published key systems that it \
     speaks; these are on the clients' listener, too, where a route has their dialect or `[systems]` says so. Calls are \
     made with a session token (`Authorization: Bearer`); an API key only reads what its operation says. Another \
     organization's things are answered 404.";

/// Serves the document of these parts.
pub fn system(parts: Vec<OpenApi>) -> System {
    let document = document(parts).to_string();
    let answer = async move || ([(CONTENT_TYPE, "application/json")], document);
    System::new(&["GET /openapi.json"], Router::new().route("/openapi.json", get(answer)))
}

/// The document of these parts.
pub fn document(parts: Vec<OpenApi>) -> Value {
    let mut whole = OpenApi::default();
    for part in parts {
        whole.merge(part);
    }
    let mut document = serde_json::to_value(whole).unwrap_or_default();
    document["info"] = json!({
        "title": "Tollgate",
        "version": env!("CARGO_PKG_VERSION"),
        "description": INTRODUCTION,
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["components"]["securitySchemes"] = json!({
        "session": { "type": "http", "scheme": "bearer", "description": "A session token, from POST /v1/session" },
        "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
    });
    document["components"]["schemas"]["Problem"] = schema::<Problem>();
    document["components"]["schemas"]["RowProblem"] = schema::<RowProblem>();
    document["components"]["schemas"]["Refused"] = json!({
        "type": "object",
        "description": "The gateway's own no, before the call is looked at: the address is blocked, or it is too much.",
        "required": ["error", "code", "request_id"],
        "properties": {
            "error": { "type": "string" }, "code": { "type": "string" }, "request_id": { "type": "string" },
        },
    });
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut() else { continue };
            if path.starts_with(NATIVE) {
                complete(path, method, operation);
            }
            describe(operation);
        }
    }
    document
}

/// Says what each answer is, where its annotation left that to the status: OpenAPI 3.1 has no response without a
/// description.
fn describe(operation: &mut Map<String, Value>) {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (status, response) in responses.into_iter().flatten() {
        if let Some(response) = response.as_object_mut() {
            response.entry("description").or_insert_with(|| meaning(status).into());
        }
    }
}

/// What a status means, in the words of RFC 9110.
fn meaning(status: &str) -> Option<&'static str> {
    status.parse::<http::StatusCode>().ok()?.canonical_reason()
}

/// Adds what is the same for all.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    operation.insert("operationId".into(), name(path, method).into());
    let named = operation.get("x-tollgate-deed").and_then(Value::as_str);
    let rule = RULES.iter().find(|rule| Some(rule.name) == named);
    let writes = method != "get";
    let body = operation.contains_key("requestBody");
    let mut answers = vec![403, 503];
    if let Some(rule) = rule {
        answers.push(401);
        let text = operation.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{text}\n\nNeeds: {}.", needs(rule));
        operation.insert("description".into(), text.trim().into());
        let mut security = vec![json!({ "session": [] })];
        security.extend(rule.keys.then(|| json!({ "key": [] })));
        operation.insert("security".into(), security.into());
    } else {
        // The two that make a caller known: a login, and an invitation's acceptance.
        answers.extend([401, 429]);
    }
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    let names: Vec<_> = parameters.as_array().into_iter().flatten().map(|one| one["name"].clone()).collect();
    let has = |name: &str| names.iter().any(|one| one == name);
    if path.contains('{') || has("organization") || body {
        answers.push(404);
    }
    if has("If-Match") {
        answers.push(412);
    }
    for header in parameters.as_array_mut().into_iter().flatten().filter(|one| one["in"] == "header") {
        // One that may be left out; there is no header that is null.
        header["schema"] = json!({ "type": "string" });
    }
    let queries = parameters.as_array().into_iter().flatten().any(|one| one["in"] == "query");
    if queries || body {
        answers.push(422);
    }
    if writes {
        answers.push(409);
    }
    if body {
        answers.extend([400, 413, 415]);
    }
    if path.ends_with("/session/password") {
        // It asks for the password that there is, and whoever guesses waits, as at a login.
        answers.push(429);
    }
    if operation.get("x-tollgate-once").is_some() {
        answers.push(429);
        let name = json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A name for this request: repeated under the same name, it is answered the same and done once, \
                            for 24 hours",
            "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
        });
        if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
            parameters.push(name);
        }
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in answers {
        let reference = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
        let mut content = json!({ "application/problem+json": reference("Problem") });
        if status == 403 || status == 503 {
            content["application/json"] = reference("Refused");
        }
        responses.insert(status.to_string(), json!({ "content": content }));
    }
}

/// A call's name for programs: the method and the words of its path, such as `post_keys_key_rotate`.
fn name(path: &str, method: &str) -> String {
    let words = path.trim_start_matches(NATIVE).split(['/', '{', '}', '-']).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| name + "_" + word)
}

fn needs(rule: &Rule) -> String {
    let least = match rule.least {
        Least::Anyone => "a login",
        Least::Role(Role::Member) => "a member of the organization",
        Least::Role(Role::Admin) => "an admin of the organization",
        Least::Role(Role::Owner) => "an owner of the organization",
        Least::Operator => "an operator",
    };
    let key = if rule.keys { ", or an API key of it with the scope `read`" } else { "; no API key may" };
    format!("{least}{key}")
}

fn schema<T: PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
