//! AlterLab's key system, under `/api/v1`.
//!
//! Source of the shapes: alterlab.io/docs/api/api-keys and /docs/api/generated/{keys,account}. What these pages leave
//! open (the insides of `limits`, `tiers`, `errors`, `items` and `data`) is in [`wire`].
//!
//! Its quirks. The list is a bare array, without paging. Delete revokes. A *legacy* key is one of which only a digest
//! was kept. `X-Organization-Id` says which organization is meant; without it, the user's home, or the key's. Errors
//! say their sentence three times.
//!
//! A session manages keys; a key reads usage and limits of its own organization's keys, `GET /usage` and
//! `GET /auth/me`, and is told 403 for everything else.

mod account;
mod answer;
mod input;
mod keys;
mod limits;
mod usage;
mod wire;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::Refused;
use super::desk::Desk;
use super::no::No;
use crate::domain::refusal::Refusal;

/// What is answered here on the data listener. `/api/v1/scrape` and the rest go to the upstream.
pub const OWNED: [&str; 5] =
    ["/api/v1/api-keys", "/api/v1/api-keys/*", "/api/v1/account/limits", "/api/v1/usage", "/api/v1/auth/me"];

fn calls() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::legacy_status))
        .routes(routes!(keys::legacy_notice_shown))
        .routes(routes!(keys::rename, keys::delete))
        .routes(routes!(keys::decrypt))
        .routes(routes!(keys::regenerate))
        .routes(routes!(limits::of_key, limits::set_of_key, limits::delete_of_key))
        .routes(routes!(usage::total))
        .routes(routes!(usage::by_tier))
        .routes(routes!(usage::errors))
        .routes(routes!(usage::requests))
        .routes(routes!(usage::timeseries))
        .routes(routes!(limits::of_account, limits::set_of_account, limits::delete_of_account))
        .routes(routes!(account::usage))
        .routes(routes!(account::me))
}

/// Its calls, answered.
pub fn router(desk: Desk) -> Router {
    Router::from(calls())
        .method_not_allowed_fallback(async || refused(No::Method))
        .fallback(async || refused(No::Refused(Refusal::NoRoute)))
        .with_state(desk)
}

/// What the document says of them.
pub fn document() -> OpenApi {
    calls().into_openapi()
}

fn refused(no: No) -> Response {
    Refused::from(no).into_response()
}
