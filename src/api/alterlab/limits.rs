//! Spend limits of a key and of the account, with what is used of them.

use axum::Json;
use axum::extract::{Path, State};

use super::answer::{Refusals, Refused};
use super::input::{self, SetLimits};
use super::wire::{AccountLimits, Done, KeyLimits, Limits};
use crate::admin::access::{Caller, Deed};
use crate::api::desk::{Desk, Visit, spent_by};
use crate::api::no::{No, What};
use crate::domain::key::{Key, Organization};
use crate::domain::limit::SpendLimit;

/// A key's limit, and what is used of it.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/limits", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = KeyLimits), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn of_key(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<KeyLimits>, Refused> {
    let (_, key) = desk.reach_key(&visit, Deed::ReadLimits, &id).await?;
    Ok(Json(key_limits(&desk, &visit, &key).await))
}

/// Sets a key's limit, all of it: what is left out is the default.
#[utoipa::path(
    put, path = "/api/v1/api-keys/{key_id}/limits", tag = "AlterLab", request_body = SetLimits,
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = KeyLimits), Refusals), security(("session" = [])),
)]
pub(super) async fn set_of_key(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<KeyLimits>, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::ManageLimits, &id).await?;
    let limit = input::limit(visit.body()?)?;
    let set = desk.admin.set_key_limit(key.id, Some(limit), &visit.actor(&caller), visit.now()).await;
    let key = set.map_err(|error| No::of(error, What::Key))?;
    Ok(Json(key_limits(&desk, &visit, &key).await))
}

/// Removes a key's limit.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{key_id}/limits", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = Done), Refusals), security(("session" = [])),
)]
pub(super) async fn delete_of_key(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Done>, Refused> {
    let (caller, key) = desk.reach_key(&visit, Deed::ManageLimits, &id).await?;
    if key.limit.is_some() {
        let removed = desk.admin.set_key_limit(key.id, None, &visit.actor(&caller), visit.now()).await;
        removed.map_err(|error| No::of(error, What::Key))?;
    }
    Ok(Json(Done::OK))
}

/// The account's limit, over all its keys, and what is used of it.
#[utoipa::path(
    get, path = "/api/v1/account/limits", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the caller's own")),
    responses((status = 200, body = AccountLimits), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn of_account(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<Json<AccountLimits>, Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ReadLimits).await?;
    Ok(Json(account_limits(&desk, &visit, &caller, &organization).await))
}

/// Sets the account's limit, all of it: what is left out is the default.
#[utoipa::path(
    put, path = "/api/v1/account/limits", tag = "AlterLab", request_body = SetLimits,
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the user's own")),
    responses((status = 200, body = AccountLimits), Refusals), security(("session" = [])),
)]
pub(super) async fn set_of_account(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<Json<AccountLimits>, Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ManageLimits).await?;
    let limit = input::limit(visit.body()?)?;
    let organization = set_account(&desk, &visit, &caller, &organization, Some(limit)).await?;
    Ok(Json(account_limits(&desk, &visit, &caller, &organization).await))
}

/// Removes the account's limit.
#[utoipa::path(
    delete, path = "/api/v1/account/limits", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the user's own")),
    responses((status = 200, body = Done), Refusals), security(("session" = [])),
)]
pub(super) async fn delete_of_account(State(desk): State<Desk>, visit: Visit) -> Result<Json<Done>, Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ManageLimits).await?;
    if organization.limit.is_some() {
        set_account(&desk, &visit, &caller, &organization, None).await?;
    }
    Ok(Json(Done::OK))
}

async fn set_account(
    desk: &Desk,
    visit: &Visit,
    caller: &Caller,
    organization: &Organization,
    limit: Option<SpendLimit>,
) -> Result<Organization, No> {
    let (id, actor) = (organization.id.as_str(), visit.actor(caller));
    let set = desk.admin.set_organization_limit(id, limit, &actor, visit.now()).await;
    set.map_err(|error| No::of(error, What::Organization))
}

async fn key_limits(desk: &Desk, visit: &Visit, key: &Key) -> KeyLimits {
    let spent = desk.in_use(key, visit.now()).await.key.spent;
    KeyLimits {
        api_key_id: key.id.to_string(),
        api_key_name: key.name.clone(),
        limits: key.limit.as_ref().map(|limit| Limits::of(limit, &spent)),
        has_limits: key.limit.is_some(),
    }
}

async fn account_limits(
    desk: &Desk,
    visit: &Visit,
    caller: &Caller,
    organization: &Organization,
) -> AccountLimits {
    let user = match caller {
        Caller::Person { user, .. } => Some(user.id),
        Caller::Key(key) => key.created_by,
    };
    let spent = spent_by(desk, &organization.id, visit.now()).await;
    AccountLimits {
        user_id: user.map(|id| id.to_string()),
        limits: organization.limit.as_ref().map(|limit| Limits::of(limit, &spent)),
        has_limits: organization.limit.is_some(),
    }
}
