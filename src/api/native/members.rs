//! `/v1/organizations/{organization}/members`: who belongs to it, and as what.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Problem;
use super::body::{Asked, Input};
use super::call::{Call, Named};
use super::page::{Part, Turn};
use super::views::{MemberView, RoleName};
use crate::admin::access::Deed;
use crate::domain::id::UserId;

/// A member to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    /// The user's email.
    #[schema(format = Email, max_length = 254)]
    email: String,
    role: RoleName,
}

/// A role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolePatch {
    role: RoleName,
}

/// List the members, in an order that stays.
#[utoipa::path(get, path = "/v1/organizations/{organization}/members", tag = "members",
    params(("organization" = String, Path, description = "Id or name"), Turn),
    extensions(("x-tollgate-deed" = json!("read-members"))),
    responses((status = 200, description = "A part of the list", body = Part<MemberView>)))]
pub(super) async fn list(
    call: Call,
    Named(named): Named<String>,
    Asked(turn): Asked<Turn>,
) -> Result<Json<Part<MemberView>>, Problem> {
    let org = call.enter_id(Deed::ReadMembers, &named).await?;
    let page = turn.page(|id| Uuid::try_parse(id).ok().map(UserId))?;
    let members = call.record().members(&org, &page).await?;
    Ok(Json(Part::of(&page, members, |last| last.user.to_string(), |member| member.into())))
}

/// Make a user there is a member, unasked. Owners invite instead.
#[utoipa::path(post, path = "/v1/organizations/{organization}/members", tag = "members",
    params(("organization" = String, Path, description = "Id or name")), request_body = NewMember,
    extensions(("x-tollgate-deed" = json!("add-member"))),
    responses((status = 201, description = "Added", body = MemberView)))]
pub(super) async fn add(call: Call, Named(named): Named<String>, input: Input) -> Result<Response, Problem> {
    let org = call.enter_id(Deed::AddMember, &named).await?;
    let NewMember { email, role } = input.read()?;
    let member = call.admin().add_member(&org, &email, role.into(), &call.actor(), call.now()).await?;
    Ok((StatusCode::CREATED, Json(MemberView::from(&member))).into_response())
}

/// Give a member another role. The last owner stays owner.
#[utoipa::path(patch, path = "/v1/organizations/{organization}/members/{user}", tag = "members",
    params(("organization" = String, Path, description = "Id or name"),
        ("user" = String, Path, description = "The user's id")),
    request_body = RolePatch,
    extensions(("x-tollgate-deed" = json!("manage-members"))),
    responses((status = 200, description = "Changed", body = MemberView)))]
pub(super) async fn set_role(
    call: Call,
    Named((named, user)): Named<(String, String)>,
    input: Input,
) -> Result<Json<MemberView>, Problem> {
    let org = call.enter_id(Deed::ManageMembers, &named).await?;
    let RolePatch { role } = input.read()?;
    let member = call.admin().set_role(&org, member(&user)?, role.into(), &call.actor(), call.now()).await?;
    Ok(Json((&member).into()))
}

/// End a membership: an owner anyone's, everyone their own. The last owner stays.
#[utoipa::path(delete, path = "/v1/organizations/{organization}/members/{user}", tag = "members",
    params(("organization" = String, Path, description = "Id or name"),
        ("user" = String, Path, description = "The user's id")),
    extensions(("x-tollgate-deed" = json!("manage-members"))),
    responses((status = 204, description = "Ended")))]
pub(super) async fn remove(
    call: Call,
    Named((named, user)): Named<(String, String)>,
) -> Result<StatusCode, Problem> {
    let own = call.caller.person().is_some_and(|caller| caller.id.to_string() == user);
    let deed = if own { Deed::ReadMembers } else { Deed::ManageMembers };
    let org = call.enter_id(deed, &named).await?;
    call.admin().remove_member(&org, member(&user)?, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn member(id: &str) -> Result<UserId, Problem> {
    let missing = || Problem::missing("there is no such member");
    Uuid::try_parse(id).map(UserId).map_err(|_| missing())
}
