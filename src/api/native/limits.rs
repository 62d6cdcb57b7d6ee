//! `…/limits`: calendar caps of a key or an organization, and how much of them is used.

use axum::Json;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::body::Input;
use super::call::{Call, Named};
use super::views::LimitView;
use crate::admin::access::Deed;
use crate::domain::id::KeyId;
use crate::domain::limit::SpendLimit;
use crate::domain::used::InPeriod;

/// A calendar cap, and where it stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Limits {
    /// Null where there is none.
    limits: Option<LimitView>,
    /// What is used of it in the present period.
    used: Option<Used>,
}

/// What is used in a calendar period, as this node knows it.
#[derive(Serialize, ToSchema)]
pub(super) struct Used {
    /// The first instant of the period.
    starts_at: String,
    /// The first instant after it.
    ends_at: String,
    requests: u64,
    /// Spent, and reserved by requests in flight.
    microcents: u64,
}

/// Read a key's limits, and what is used of them.
#[utoipa::path(get, path = "/v1/keys/{key}/limits", tag = "limits",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("read-limits"))),
    responses((status = 200, description = "The limits", body = Limits)))]
pub(super) async fn of_key(call: Call, Named(id): Named<String>) -> Result<Json<Limits>, Problem> {
    let key = call.key(Deed::ReadLimits, &id).await?;
    let in_use = call.native.gate.counters.used(&key.organization, key.id, call.now()).await;
    Ok(Json(Limits::new(key.limit, &in_use.key.spent)))
}

/// Set a key's limits.
#[utoipa::path(put, path = "/v1/keys/{key}/limits", tag = "limits",
    params(("key" = String, Path, description = "The key's id")), request_body = LimitView,
    extensions(("x-tollgate-deed" = json!("manage-limits"))),
    responses((status = 200, description = "Set", body = Limits)))]
pub(super) async fn set_of_key(
    call: Call,
    Named(id): Named<String>,
    input: Input,
) -> Result<Json<Limits>, Problem> {
    let key = call.key(Deed::ManageLimits, &id).await?;
    let limit: LimitView = input.read()?;
    let key = call.admin().set_key_limit(key.id, Some(limit.into()), &call.actor(), call.now()).await?;
    let in_use = call.native.gate.counters.used(&key.organization, key.id, call.now()).await;
    Ok(Json(Limits::new(key.limit, &in_use.key.spent)))
}

/// Remove a key's limits.
#[utoipa::path(delete, path = "/v1/keys/{key}/limits", tag = "limits",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("manage-limits"))),
    responses((status = 204, description = "Removed")))]
pub(super) async fn clear_of_key(call: Call, Named(id): Named<String>) -> Result<StatusCode, Problem> {
    let key = call.key(Deed::ManageLimits, &id).await?;
    call.admin().set_key_limit(key.id, None, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read an organization's limits over all its keys, and what is used of them.
#[utoipa::path(get, path = "/v1/organizations/{organization}/limits", tag = "limits",
    params(("organization" = String, Path, description = "Id or name")),
    extensions(("x-tollgate-deed" = json!("read-limits"))),
    responses((status = 200, description = "The limits", body = Limits)))]
pub(super) async fn of_organization(
    call: Call,
    Named(named): Named<String>,
) -> Result<Json<Limits>, Problem> {
    let org = call.enter(Deed::ReadLimits, Some(&named)).await?;
    // Of no key: what the organization has spent is the same whichever key is asked about.
    let in_use = call.native.gate.counters.used(&org.id, KeyId(uuid::Uuid::nil()), call.now()).await;
    Ok(Json(Limits::new(org.limit, &in_use.organization)))
}

/// Set an organization's limits over all its keys.
#[utoipa::path(put, path = "/v1/organizations/{organization}/limits", tag = "limits",
    params(("organization" = String, Path, description = "Id or name")), request_body = LimitView,
    extensions(("x-tollgate-deed" = json!("manage-limits"))),
    responses((status = 200, description = "Set", body = Limits)))]
pub(super) async fn set_of_organization(
    call: Call,
    Named(named): Named<String>,
    input: Input,
) -> Result<Json<Limits>, Problem> {
    let org = call.enter(Deed::ManageLimits, Some(&named)).await?;
    let limit: LimitView = input.read()?;
    let (actor, now) = (call.actor(), call.now());
    let org = call.admin().set_organization_limit(org.id.as_str(), Some(limit.into()), &actor, now).await?;
    let in_use = call.native.gate.counters.used(&org.id, KeyId(uuid::Uuid::nil()), now).await;
    Ok(Json(Limits::new(org.limit, &in_use.organization)))
}

/// Remove an organization's limits.
#[utoipa::path(delete, path = "/v1/organizations/{organization}/limits", tag = "limits",
    params(("organization" = String, Path, description = "Id or name")),
    extensions(("x-tollgate-deed" = json!("manage-limits"))),
    responses((status = 204, description = "Removed")))]
pub(super) async fn clear_of_organization(
    call: Call,
    Named(named): Named<String>,
) -> Result<StatusCode, Problem> {
    let org = call.enter(Deed::ManageLimits, Some(&named)).await?;
    call.admin().set_organization_limit(org.id.as_str(), None, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Limits {
    fn new(limit: Option<SpendLimit>, spent: &[InPeriod; 3]) -> Self {
        let used = limit.map(|limit| {
            let spent = spent[limit.period.index()];
            Used {
                starts_at: spent.starts_at.to_string(),
                ends_at: spent.ends_at.to_string(),
                requests: spent.requests,
                microcents: spent.microcents,
            }
        });
        Self { limits: limit.map(Into::into), used }
    }
}
