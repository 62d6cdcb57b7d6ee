//! `/v1/keys/{key}/…`: what is done to a key as a whole.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::body::Input;
use super::call::{Call, Named};
use super::keys::shown;
use super::tag::tag;
use super::views::{KeyView, span};
use crate::admin::access::Deed;
use crate::stores::record::seen_key;

/// How a key is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the old secret still works, such as `24h`, at most 30d; not at all where nothing is said.
    grace: Option<String>,
}

/// A secret that was kept sealed.
#[derive(Serialize, ToSchema)]
pub(super) struct Revealed {
    id: String,
    key: String,
}

/// Disable a key: it is refused at once, and can be enabled again.
#[utoipa::path(post, path = "/v1/keys/{key}/disable", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 200, description = "Disabled", body = KeyView)))]
pub(super) async fn disable(call: Call, Named(id): Named<String>) -> Result<Response, Problem> {
    set_active(&call, &id, false).await
}

/// Enable a key that was disabled.
#[utoipa::path(post, path = "/v1/keys/{key}/enable", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 200, description = "Enabled", body = KeyView)))]
pub(super) async fn enable(call: Call, Named(id): Named<String>) -> Result<Response, Problem> {
    set_active(&call, &id, true).await
}

async fn set_active(call: &Call, id: &str, active: bool) -> Result<Response, Problem> {
    let key = call.key(Deed::ManageKeys, id).await?;
    Ok(shown(&call.admin().set_key_active(key.id, active, &call.actor(), call.now()).await?))
}

/// Revoke a key for good. Its history is kept, its name is free again.
#[utoipa::path(post, path = "/v1/keys/{key}/revoke", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 200, description = "Revoked", body = KeyView)))]
pub(super) async fn revoke(call: Call, Named(id): Named<String>) -> Result<Response, Problem> {
    let key = call.key(Deed::ManageKeys, &id).await?;
    Ok(shown(&call.admin().revoke_key(key.id, &call.actor(), call.now()).await?))
}

/// Give a key a new secret, which is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/keys/{key}/rotate", tag = "keys",
    params(("key" = String, Path, description = "The key's id")), request_body = Rotation,
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 200, description = "Rotated", body = KeyView)))]
pub(super) async fn rotate(call: Call, Named(id): Named<String>, input: Input) -> Result<Response, Problem> {
    let key = call.key(Deed::ManageKeys, &id).await?;
    let Rotation { grace } = input.read()?;
    let grace = grace.map_or(Ok(Duration::ZERO), |grace| span("grace", &grace))?;
    let (key, secret) = call.admin().rotate_key(key.id, grace, &call.actor(), call.now()).await?;
    Ok((tag(&seen_key(&key)), Json(KeyView::new(&key, Some(&secret)))).into_response())
}

/// See the secret of a key again, where this gateway keeps sealed copies and has one of it. It is written down who
/// asked.
#[utoipa::path(post, path = "/v1/keys/{key}/reveal", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("reveal-key"))),
    responses((status = 200, description = "The secret", body = Revealed)))]
pub(super) async fn reveal(call: Call, Named(id): Named<String>) -> Result<Json<Revealed>, Problem> {
    let key = call.key(Deed::RevealKey, &id).await?;
    let secret = call.admin().reveal_key(key.id, &call.actor(), call.now()).await?;
    Ok(Json(Revealed { id: key.id.to_string(), key: secret.expose().to_owned() }))
}
