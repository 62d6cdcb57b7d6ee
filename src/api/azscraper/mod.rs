//! AzScraper's key system: logins, and the keys of a project.
//!
//! Source of the shapes: docs.azscraper.com's pages "API keys" and "Sample responses". A key and a session's token come
//! in the same `Authorization: Bearer`; what has the three parts of a JWT is a token. Answers are `{"data": …}` or
//! `{"success": true}`, refusals `{"success": false, "error": {"code", "message", "details"}}` with a code of a closed
//! list. Times have milliseconds.
//!
//! What a key may reach besides its own project's paths is for the routes to say: `{project}` and `{job}`.

mod answer;
mod auth;
mod health;
mod input;
mod keys;
mod wire;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Refused;
use super::desk::Desk;
use super::no::No;

/// What is answered here on the data listener. `/projects`, `/jobs` and the rest go to the upstream.
pub const OWNED: [&str; 4] =
    ["/auth/login", "/auth/register", "/private/projects/{project_id}/api-keys/*", "/health"];

fn calls() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::register))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rename, keys::revoke))
        .routes(routes!(health::health))
}

/// Its calls, answered.
pub fn router(desk: Desk) -> Router {
    Router::from(calls()).method_not_allowed_fallback(async || refused(No::Method)).with_state(desk)
}

/// What the document says of them.
pub fn document() -> OpenApi {
    calls().into_openapi()
}

fn refused(no: No) -> Response {
    Refused::from(no).into_response()
}
