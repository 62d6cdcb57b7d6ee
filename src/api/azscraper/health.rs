//! Whether the gateway can serve, in the shape of NestJS's Terminus. Parts are named, reasons are for operators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::desk::Desk;

/// The gateway itself.
const API: &str = "api";

/// How the gateway is.
#[derive(Debug, Serialize, ToSchema, PartialEq)]
#[schema(as = azscraper::Health)]
pub(super) struct Health {
    /// `ok` or `error`.
    status: &'static str,
    /// What is up.
    info: BTreeMap<&'static str, Part>,
    /// What is down.
    error: BTreeMap<&'static str, Part>,
    /// Both.
    details: BTreeMap<&'static str, Part>,
}

/// One part.
#[derive(Clone, Copy, Debug, Serialize, ToSchema, PartialEq)]
#[schema(as = azscraper::Part)]
struct Part {
    /// `up` or `down`.
    status: &'static str,
}

impl Health {
    /// Of a gateway of which these parts fail.
    fn of(failing: &[&'static str]) -> Self {
        let up: BTreeMap<_, _> = [(API, Part { status: "up" })].into();
        let down: BTreeMap<_, _> = failing.iter().map(|part| (*part, Part { status: "down" })).collect();
        let details = up.iter().chain(&down).map(|(name, part)| (*name, *part)).collect();
        let status = if failing.is_empty() { "ok" } else { "error" };
        Self { status, info: up, error: down, details }
    }
}

/// Whether the gateway can serve: as `/readyz` on the operators' side.
#[utoipa::path(
    get, path = "/health", tag = "AzScraper",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It cannot, and what fails", body = Health),
    ),
)]
pub(super) async fn health(State(desk): State<Desk>) -> Response {
    let failing: Vec<_> = desk.status.unready().into_iter().map(|(part, _)| part).collect();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health::of(&failing))).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_that_fails_is_named_and_no_reason_is_told() {
        let up = json!({"status": "up"});
        let expected = json!({"status": "ok", "info": {"api": up}, "error": {}, "details": {"api": up}});
        assert_eq!(serde_json::to_value(Health::of(&[])).unwrap(), expected);
        let down = json!({"status": "down"});
        let expected = json!({
            "status": "error", "info": {"api": up}, "error": {"record": down},
            "details": {"api": up, "record": down},
        });
        assert_eq!(serde_json::to_value(Health::of(&["record"])).unwrap(), expected);
    }
}
