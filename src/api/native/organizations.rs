//! `/v1/organizations`: the accounts that pay.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Problem;
use super::body::{Asked, Input};
use super::call::{Call, Named};
use super::once::{Made, once};
use super::page::{Part, Turn};
use super::tag::{seen, tag};
use super::views::{CapsView, OrganizationView};
use crate::admin::OrganizationChange;
use crate::admin::access::Deed;
use crate::domain::id::OrgId;
use crate::domain::key::Organization;
use crate::stores::record::seen_organization;

/// An organization to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrganization {
    /// Its id is made of it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    plan: String,
}

/// A change to an organization. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrganizationPatch {
    /// A new name; the id stays. An owner may.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Another plan. An operator may.
    plan: Option<String>,
    /// Caps of its own, all three together. An operator may.
    negotiated: Option<CapsView>,
}

/// List one's organizations, by id; an operator's are all.
#[utoipa::path(get, path = "/v1/organizations", tag = "organizations", params(Turn),
    extensions(("x-tollgate-deed" = json!("read-organization"))),
    responses((status = 200, description = "A part of the list", body = Part<OrganizationView>)))]
pub(super) async fn list(
    call: Call,
    Asked(turn): Asked<Turn>,
) -> Result<Json<Part<OrganizationView>>, Problem> {
    // A person sees what it belongs to, so that the question is only whether it is one.
    let (user, _) = call.person(Deed::ReadSelf)?;
    let page = turn.page(|id| OrgId::parse(id).ok())?;
    let of = (!user.operator).then_some(user.id);
    let organizations = call.record().organizations_page(of, &page).await?;
    Ok(Json(Part::of(&page, organizations, |last| last.id.to_string(), |org| call.organization(org))))
}

/// Make an organization, with a default project.
#[utoipa::path(post, path = "/v1/organizations", tag = "organizations", request_body = NewOrganization,
    extensions(("x-tollgate-deed" = json!("create-organization")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "Made", body = OrganizationView)))]
pub(super) async fn create(call: Call, input: Input) -> Result<Response, Problem> {
    call.may(Deed::CreateOrganization)?;
    once(&call, "/v1/organizations", &input, async || {
        let new: NewOrganization = input.read()?;
        let (actor, now) = (call.actor(), call.now());
        let org = call.admin().create_organization(&new.name, &new.plan, &actor, now).await?;
        let location = format!("/v1/organizations/{}", org.id);
        Ok(Made::new(location, Some(seen_organization(&org)), &call.organization(&org)))
    })
    .await
}

/// Read an organization.
#[utoipa::path(get, path = "/v1/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path, description = "Id or name")),
    extensions(("x-tollgate-deed" = json!("read-organization"))),
    responses((status = 200, description = "The organization", body = OrganizationView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn read(call: Call, Named(named): Named<String>) -> Result<Response, Problem> {
    let org = call.enter(Deed::ReadOrganization, Some(&named)).await?;
    Ok(shown(&call, &org))
}

/// Change an organization: its name, its plan, its negotiated caps.
#[utoipa::path(patch, path = "/v1/organizations/{organization}", tag = "organizations",
    params(("organization" = String, Path, description = "Id or name"),
        ("If-Match" = Option<String>, Header, description = "The ETag of what is changed")),
    request_body = OrganizationPatch,
    extensions(("x-tollgate-deed" = json!("rename-organization"))),
    responses((status = 200, description = "Changed", body = OrganizationView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn edit(call: Call, Named(named): Named<String>, input: Input) -> Result<Response, Problem> {
    let org = call.enter(Deed::RenameOrganization, Some(&named)).await?;
    let patch: OrganizationPatch = input.read()?;
    if patch.plan.is_some() || patch.negotiated.is_some() {
        call.enter(Deed::SetPlan, Some(&named)).await?;
    }
    let change = OrganizationChange {
        name: patch.name,
        plan: patch.plan,
        negotiated: patch.negotiated.map(Into::into),
        limit: None,
        seen: seen(&call.headers, seen_organization(&org))?,
    };
    let id = org.id.as_str();
    let org = call.admin().edit_organization(id, &change, &call.actor(), call.now()).await?;
    Ok(shown(&call, &org))
}

fn shown(call: &Call, org: &Organization) -> Response {
    (tag(&seen_organization(org)), Json(call.organization(org))).into_response()
}

impl Call {
    /// An organization with the caps that are in force.
    pub fn organization(&self, org: &Organization) -> OrganizationView {
        OrganizationView::new(org, self.arrival.config.caps(&org.plan))
    }
}
