//! The keys of a project.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;

use super::answer::{ErrorBody, Refusals, Refused};
use super::input::{self, Named};
use super::wire::{KeyList, Made, Success};
use crate::admin::KeyOrder;
use crate::admin::access::{Caller, Deed};
use crate::api::desk::{Desk, Visit};
use crate::api::no::{No, What};
use crate::domain::key::Key;
use crate::domain::people::Project;
use crate::stores::record::KeyFilter;

const TAKEN: &str = "An API key with this name already exists";

/// The project's keys that are not revoked, the newest first.
#[utoipa::path(
    get, path = "/private/projects/{project_id}/api-keys", tag = "AzScraper",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, body = KeyList), Refusals), security(("session" = [])),
)]
pub(super) async fn list(
    State(desk): State<Desk>,
    Path(project): Path<String>,
    visit: Visit,
) -> Result<Json<KeyList>, Refused> {
    let (_, project) = enter(&desk, &visit, Deed::ReadKeys, &project).await?;
    let filter = KeyFilter { organization: Some(project.organization), revoked: false };
    let mut keys = desk.record.keys(&filter).await.map_err(|error| No::of(error.into(), What::Project))?;
    keys.retain(|key| key.project == project.id);
    keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id)));
    Ok(Json(KeyList { data: keys.iter().map(Into::into).collect() }))
}

/// Makes a key that is locked to the project. This answer alone holds it.
#[utoipa::path(
    post, path = "/private/projects/{project_id}/api-keys", tag = "AzScraper", request_body = Named,
    params(("project_id" = String, Path, description = "The project's id")),
    responses(
        (status = 201, body = Made), (status = 409, description = "The name is taken", body = ErrorBody), Refusals,
    ),
    security(("session" = [])),
)]
pub(super) async fn create(
    State(desk): State<Desk>,
    Path(project): Path<String>,
    visit: Visit,
) -> Result<(StatusCode, Json<Made>), Refused> {
    let (caller, project) = enter(&desk, &visit, Deed::ManageKeys, &project).await?;
    let [name] = input::texts(visit.body()?, ["name"])?;
    let order = KeyOrder {
        organization: project.organization.to_string(),
        project: Some(project.id.to_string()),
        name,
        created_by: caller.person().map(|user| user.id),
        ..KeyOrder::default()
    };
    let made = desk.admin.create_key(&order, &visit.actor(&caller), visit.now()).await;
    let (key, secret) = made.map_err(|error| No::of(error, What::Project).taken(TAKEN))?;
    Ok((StatusCode::CREATED, Json(Made::of(&key, &secret))))
}

/// Gives a key another name.
#[utoipa::path(
    patch, path = "/private/projects/{project_id}/api-keys/{id}", tag = "AzScraper", request_body = Named,
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("id" = String, Path, description = "The key's id, a UUID"),
    ),
    responses(
        (status = 200, body = Success), (status = 409, description = "The name is taken", body = ErrorBody), Refusals,
    ),
    security(("session" = [])),
)]
pub(super) async fn rename(
    State(desk): State<Desk>,
    Path((project, id)): Path<(String, String)>,
    visit: Visit,
) -> Result<Json<Success>, Refused> {
    let (caller, key) = reach(&desk, &visit, &project, &id).await?;
    let [name] = input::texts(visit.body()?, ["name"])?;
    let renamed = desk.admin.rename_key(key.id, &name, &visit.actor(&caller), visit.now()).await;
    renamed.map_err(|error| No::of(error, What::Key).taken(TAKEN))?;
    Ok(Json(Success::YES))
}

/// Revokes a key: it stops at once and never works again.
#[utoipa::path(
    delete, path = "/private/projects/{project_id}/api-keys/{id}", tag = "AzScraper",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("id" = String, Path, description = "The key's id, a UUID"),
    ),
    responses((status = 200, body = Success), Refusals), security(("session" = [])),
)]
pub(super) async fn revoke(
    State(desk): State<Desk>,
    Path((project, id)): Path<(String, String)>,
    visit: Visit,
) -> Result<Json<Success>, Refused> {
    let (caller, key) = reach(&desk, &visit, &project, &id).await?;
    let revoked = desk.admin.revoke_key(key.id, &visit.actor(&caller), visit.now()).await;
    revoked.map_err(|error| match No::of(error, What::Key) {
        // Somebody else was faster.
        No::Conflict(_) => No::Missing(What::Key),
        no => no,
    })?;
    Ok(Json(Success::YES))
}

/// The caller and the project, where it may do `deed` to its keys.
async fn enter(desk: &Desk, visit: &Visit, deed: Deed, project: &str) -> Result<(Caller, Project), No> {
    let caller = desk.caller(visit).await?;
    let reached = desk.admin.reach_project(&caller, deed, project).await;
    let project = reached.map_err(|error| No::of(error, What::Project))?;
    Ok((caller, project))
}

/// The caller and a key of the project, which it may manage.
async fn reach(desk: &Desk, visit: &Visit, project: &str, id: &str) -> Result<(Caller, Key), No> {
    let (_, project) = enter(desk, visit, Deed::ManageKeys, project).await?;
    let (caller, key) = desk.reach_key(visit, Deed::ManageKeys, id).await?;
    if key.project != project.id {
        return Err(No::Missing(What::Key));
    }
    Ok((caller, key))
}
