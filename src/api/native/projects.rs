//! `/v1/projects`: parts of an organization.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::body::{Asked, Input};
use super::call::{Call, Named, Where};
use super::once::{Made, once};
use super::page::{self, Part};
use super::tag::{seen, tag};
use super::views::ProjectView;
use crate::admin::access::Deed;
use crate::domain::id::ProjectId;
use crate::domain::people::Project;
use crate::stores::record::seen_project;

/// A part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The organization, by id or name; without it, the caller's own.
    organization: Option<String>,
    /// The `next` of the part before.
    after: Option<String>,
    /// Most entries of the part; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// A project to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProject {
    /// Unique in the organization.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// An id of one's own, such as the upstream's; an operator may. Without it, a random one.
    id: Option<String>,
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectPatch {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// List projects, by id.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", params(Query),
    extensions(("x-tollgate-deed" = json!("read-projects"))),
    responses((status = 200, description = "A part of the list", body = Part<ProjectView>)))]
pub(super) async fn list(call: Call, Asked(query): Asked<Query>) -> Result<Json<Part<ProjectView>>, Problem> {
    let org = call.enter(Deed::ReadProjects, query.organization.as_deref()).await?.id;
    let page = page::asked(query.after.as_deref(), query.limit, |id| ProjectId::parse(id).ok())?;
    let projects = call.record().projects_page(&org, &page).await?;
    Ok(Json(Part::of(&page, projects, |last| last.id.to_string(), |project| project.into())))
}

/// Make a project.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", params(Where), request_body = NewProject,
    extensions(("x-tollgate-deed" = json!("manage-projects")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "Made", body = ProjectView)))]
pub(super) async fn create(
    call: Call,
    Asked(place): Asked<Where>,
    input: Input,
) -> Result<Response, Problem> {
    let org = place.enter(&call, Deed::ManageProjects).await?;
    once(&call, &format!("/v1/projects?organization={org}"), &input, async || {
        let new: NewProject = input.read()?;
        if new.id.is_some() {
            // Ids are unique over all organizations: who brings one could find out others'.
            call.enter(Deed::SetPlan, Some(org.as_str())).await?;
        }
        let (actor, now) = (call.actor(), call.now());
        let project =
            call.admin().create_project(org.as_str(), &new.name, new.id.as_deref(), &actor, now).await?;
        let location = format!("/v1/projects/{}", project.id);
        Ok(Made::new(location, Some(seen_project(&project)), &ProjectView::from(&project)))
    })
    .await
}

/// Read a project.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects",
    params(("project" = String, Path, description = "The project's id")),
    extensions(("x-tollgate-deed" = json!("read-projects"))),
    responses((status = 200, description = "The project", body = ProjectView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn read(call: Call, Named(id): Named<String>) -> Result<Response, Problem> {
    Ok(shown(&call.project(Deed::ReadProjects, &id).await?))
}

/// Rename a project.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "projects",
    params(("project" = String, Path, description = "The project's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of what is changed")),
    request_body = ProjectPatch,
    extensions(("x-tollgate-deed" = json!("manage-projects"))),
    responses((status = 200, description = "Changed", body = ProjectView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn rename(call: Call, Named(id): Named<String>, input: Input) -> Result<Response, Problem> {
    let project = call.project(Deed::ManageProjects, &id).await?;
    let ProjectPatch { name } = input.read()?;
    let seen = seen(&call.headers, seen_project(&project))?;
    let (actor, now) = (call.actor(), call.now());
    let renamed = call.admin().rename_project(&project.id, &name, seen.as_ref(), &actor, now).await?;
    Ok(shown(&renamed))
}

fn shown(project: &Project) -> Response {
    (tag(&seen_project(project)), Json(ProjectView::from(project))).into_response()
}
