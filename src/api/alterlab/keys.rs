//! Keys: list, create, rename, delete, decrypt, regenerate.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;

use super::answer::{Refusals, Refused};
use super::input::{self, Named};
use super::wire::{ApiKey, ChangedKey, Decrypted, Done, LegacyStatus};
use crate::admin::KeyOrder;
use crate::admin::access::{Caller, Deed};
use crate::api::desk::{Desk, Visit};
use crate::api::no::{No, What};
use crate::domain::key::Key;
use crate::domain::time::Timestamp;
use crate::stores::record::KeyFilter;

/// The notice about keys that cannot be decrypted.
const LEGACY_NOTICE: &str = "legacy_keys";
/// What AlterLab says of a name that is taken.
const TAKEN: &str = "Key with that name already exists";

/// The organization's keys that may be used now, the newest first.
#[utoipa::path(
    get, path = "/api/v1/api-keys", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the user's own")),
    responses((status = 200, body = Vec<ApiKey>), Refusals), security(("session" = [])),
)]
pub(super) async fn list(State(desk): State<Desk>, visit: Visit) -> Result<Json<Vec<ApiKey>>, Refused> {
    let (_, organization) = desk.enter(&visit, Deed::ReadKeys).await?;
    let filter = KeyFilter { organization: Some(organization.id), revoked: false };
    let mut keys = desk.record.keys(&filter).await.map_err(|error| No::of(error.into(), What::Key))?;
    keys.retain(|key| is_active(key, visit.now()));
    keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id)));
    Ok(Json(keys.iter().map(|key| ApiKey::of(key, None)).collect()))
}

fn is_active(key: &Key, now: Timestamp) -> bool {
    key.active && key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end)
}

/// Makes a key. This answer alone holds it.
#[utoipa::path(
    post, path = "/api/v1/api-keys", tag = "AlterLab", request_body = Named,
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the user's own")),
    responses(
        (status = 201, body = ApiKey), (status = 409, description = "The name is taken", body = super::answer::ErrorBody),
        Refusals,
    ),
    security(("session" = [])),
)]
pub(super) async fn create(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<(StatusCode, Json<ApiKey>), Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ManageKeys).await?;
    let order = KeyOrder {
        organization: organization.id.to_string(),
        name: input::name(visit.body()?)?,
        created_by: caller.person().map(|user| user.id),
        ..KeyOrder::default()
    };
    let made = desk.admin.create_key(&order, &visit.actor(&caller), visit.now()).await;
    let (key, secret) = made.map_err(|error| No::of(error, What::Organization).taken(TAKEN))?;
    Ok((StatusCode::CREATED, Json(ApiKey::of(&key, Some(secret.expose().to_owned())))))
}

/// Gives a key another name.
#[utoipa::path(
    patch, path = "/api/v1/api-keys/{key_id}", tag = "AlterLab", request_body = Named,
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses(
        (status = 200, body = ChangedKey),
        (status = 409, description = "The name is taken", body = super::answer::ErrorBody),
        Refusals,
    ),
    security(("session" = [])),
)]
pub(super) async fn rename(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<ChangedKey>, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::ManageKeys, &id).await?;
    let name = input::name(visit.body()?)?;
    let renamed = desk.admin.rename_key(key.id, &name, &visit.actor(&caller), visit.now()).await;
    let key = renamed.map_err(|error| No::of(error, What::Key).taken(TAKEN))?;
    Ok(Json(ChangedKey::of(&key, None)))
}

/// Revokes a key: it never works again, and its history is kept.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{key_id}", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 204, description = "It is revoked"), Refusals),
    security(("session" = [])),
)]
pub(super) async fn delete(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<StatusCode, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::ManageKeys, &id).await?;
    let revoked = desk.admin.revoke_key(key.id, &visit.actor(&caller), visit.now()).await;
    revoked.map_err(|error| match No::of(error, What::Key) {
        // Somebody else was faster.
        No::Conflict(_) => No::Missing(What::Key),
        no => no,
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a key again, where a sealed copy of it was kept. Owners only.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/decrypt", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses(
        (status = 200, body = Decrypted),
        (status = 409, description = "Only its digest was kept", body = super::answer::ErrorBody),
        Refusals,
    ),
    security(("session" = [])),
)]
pub(super) async fn decrypt(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Decrypted>, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::RevealKey, &id).await?;
    let revealed = desk.admin.reveal_key(key.id, &visit.actor(&caller), visit.now()).await;
    let secret = revealed.map_err(|error| No::of(error, What::Key))?;
    Ok(Json(Decrypted { key: secret.expose().to_owned() }))
}

/// Gives a key a new secret; the old one stops at once.
#[utoipa::path(
    post, path = "/api/v1/api-keys/{key_id}/regenerate", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = ChangedKey), Refusals),
    security(("session" = [])),
)]
pub(super) async fn regenerate(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<ChangedKey>, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::ManageKeys, &id).await?;
    let at_once = Duration::ZERO;
    let rotated = desk.admin.rotate_key(key.id, at_once, &visit.actor(&caller), visit.now()).await;
    let (key, secret) = rotated.map_err(|error| No::of(error, What::Key))?;
    Ok(Json(ChangedKey::of(&key, Some(secret.expose().to_owned()))))
}

/// Whether there are keys that cannot be decrypted, and whether the user was told.
#[utoipa::path(
    get, path = "/api/v1/api-keys/legacy-status", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the user's own")),
    responses((status = 200, body = LegacyStatus), Refusals), security(("session" = [])),
)]
pub(super) async fn legacy_status(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<Json<LegacyStatus>, Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ReadKeys).await?;
    let failed = |error: crate::stores::record::RecordError| No::of(error.into(), What::Key);
    let legacy_key_count = desk.record.unsealed_keys(&organization.id).await.map_err(failed)?;
    let notice_shown = match &caller {
        Caller::Person { user, .. } => {
            desk.record.notice_shown(user.id, LEGACY_NOTICE).await.map_err(failed)?
        }
        Caller::Key(_) => false,
    };
    Ok(Json(LegacyStatus { has_legacy_keys: legacy_key_count > 0, legacy_key_count, notice_shown }))
}

/// Remembers that the user was told.
#[utoipa::path(
    post, path = "/api/v1/api-keys/legacy-notice-shown", tag = "AlterLab",
    responses((status = 200, body = Done), Refusals), security(("session" = [])),
)]
pub(super) async fn legacy_notice_shown(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<Json<Done>, Refused> {
    let (caller, _) = desk.enter(&visit, Deed::ReadKeys).await?;
    if let Caller::Person { user, .. } = &caller {
        let marked =
            desk.record.show_notice(user.id, LEGACY_NOTICE, &visit.actor(&caller), visit.now()).await;
        marked.map_err(|error| No::of(error.into(), What::Key))?;
    }
    Ok(Json(Done::OK))
}
