//! Piloterr's key system: `GET /v2/usage`.
//!
//! Source of the shape: docs.piloterr.com/v2/api-reference/usage. Keys are managed by the native API and the command
//! line, as Piloterr's are by its dashboard; alias, category, activity, expiry and quotas are those of every key here.
//! What a key is told that may not be used is in the dialect; `soft_fail=true` is for the proxy.
//!
//! Its quirks. Only a key is asked for, in `x-api-key` or `?x_api_key=`. Days are dates. What is null is unlimited.
//! Bonus credits are always none: this gateway has no such account.

mod wire;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json, Router};
use serde_json::json;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{ErrorBody, Usage};
use super::arrival::Arrival;
use super::desk::{Desk, Visit, caps};
use super::no::{No, What};

/// What is answered here on the data listener.
pub const OWNED: [&str; 1] = ["/v2/usage"];

fn calls() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(usage))
}

/// Its calls, answered.
pub fn router(desk: Desk) -> Router {
    let method = async |Extension(arrival): Extension<Arrival>| refused(&No::Method, &arrival);
    Router::from(calls()).method_not_allowed_fallback(method).with_state(desk)
}

/// What the document says of them.
pub fn document() -> OpenApi {
    calls().into_openapi()
}

/// What the account and the key have used, and what is left. Free, also where a limit is used up.
#[utoipa::path(
    get, path = "/v2/usage", tag = "Piloterr",
    params(("x_api_key" = Option<String>, Query, description = "The key, where it is not in `x-api-key`")),
    responses(
        (status = 200, body = Usage),
        (status = 400, description = "Two different keys", body = ErrorBody),
        (status = 401, description = "No key, or one that may not be used", body = ErrorBody),
        (status = 403, description = "Not from this address", body = ErrorBody),
        (status = 503, description = "The record cannot be reached", body = ErrorBody),
    ),
    security(("key" = [])),
)]
async fn usage(State(desk): State<Desk>, visit: Visit) -> Response {
    match read(&desk, &visit).await {
        Ok(usage) => Json(usage).into_response(),
        Err(no) => refused(&no, &visit.arrival),
    }
}

async fn read(desk: &Desk, visit: &Visit) -> Result<Usage, No> {
    let key = desk.key(visit).await?;
    let found = desk.record.organization(key.organization.as_str()).await;
    let organization = found.map_err(|error| No::of(error.into(), What::Organization))?;
    let account = desk.account(visit, &organization).await?;
    Ok(Usage::of(&key, &organization, &account, caps(visit, &organization)))
}

fn refused(no: &No, arrival: &Arrival) -> Response {
    let body = json!({ "error": no.text(), "code": no.code(), "request_id": arrival.id.to_string() });
    no.answer(400, body)
}
