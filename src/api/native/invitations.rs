//! `/v1/organizations/{organization}/invitations` and `/v1/invitations/accept`: joining by an owner's offer.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{Asked, Input};
use super::call::{Call, Named, arrival};
use super::once::{Made, once};
use super::page::{Part, Turn};
use super::views::{InvitationView, RoleName, UserView, span};
use super::{Native, Problem};
use crate::admin::access::Deed;

/// How long an invitation lasts where nothing is said.
const TTL: &str = "7d";

/// An invitation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvitation {
    /// For whom.
    #[schema(format = Email, max_length = 254)]
    email: String,
    role: RoleName,
    /// How long it lasts, such as `7d`, which is what it is where nothing is said; from 1m to 30d.
    ttl: Option<String>,
}

/// An invitation accepted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acceptance {
    /// What the one who invited was given.
    token: String,
    /// Of a new user, who sends no session token: at least 8 characters.
    password: Option<String>,
}

/// List the invitations that are neither accepted nor withdrawn.
#[utoipa::path(get, path = "/v1/organizations/{organization}/invitations", tag = "members",
    params(("organization" = String, Path, description = "Id or name"), Turn),
    extensions(("x-tollgate-deed" = json!("manage-members"))),
    responses((status = 200, description = "A part of the list", body = Part<InvitationView>)))]
pub(super) async fn list(
    call: Call,
    Named(named): Named<String>,
    Asked(turn): Asked<Turn>,
) -> Result<Json<Part<InvitationView>>, Problem> {
    let org = call.enter_id(Deed::ManageMembers, &named).await?;
    let page = turn.page(|id| Uuid::try_parse(id).ok())?;
    let invitations = call.record().invitations(&org, &page).await?;
    let view = |invitation: &_| InvitationView::new(invitation, None);
    Ok(Json(Part::of(&page, invitations, |last| last.id.to_string(), view)))
}

/// Invite somebody by email. No mail is sent: pass the token on.
#[utoipa::path(post, path = "/v1/organizations/{organization}/invitations", tag = "members",
    params(("organization" = String, Path, description = "Id or name")), request_body = NewInvitation,
    extensions(("x-tollgate-deed" = json!("manage-members")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "Made", body = InvitationView)))]
pub(super) async fn create(
    call: Call,
    Named(named): Named<String>,
    input: Input,
) -> Result<Response, Problem> {
    let org = call.enter_id(Deed::ManageMembers, &named).await?;
    let path = format!("/v1/organizations/{org}/invitations");
    once(&call, &path, &input, async || {
        let new: NewInvitation = input.read()?;
        let ttl = span("ttl", new.ttl.as_deref().unwrap_or(TTL))?;
        let by = call.caller.person().map(|user| user.id);
        let (actor, now) = (call.actor(), call.now());
        let made = call.admin().invite(&org, &new.email, new.role.into(), (ttl, by), &actor, now).await?;
        let location = format!("{path}/{}", made.invitation.id);
        Ok(Made::new(location, None, &InvitationView::new(&made.invitation, Some(&made.token))))
    })
    .await
}

/// Withdraw an invitation.
#[utoipa::path(delete, path = "/v1/organizations/{organization}/invitations/{invitation}", tag = "members",
    params(("organization" = String, Path, description = "Id or name"),
        ("invitation" = String, Path, description = "The invitation's id")),
    extensions(("x-tollgate-deed" = json!("manage-members"))),
    responses((status = 204, description = "Withdrawn")))]
pub(super) async fn withdraw(
    call: Call,
    Named((named, id)): Named<(String, String)>,
) -> Result<StatusCode, Problem> {
    let org = call.enter_id(Deed::ManageMembers, &named).await?;
    let missing = || Problem::missing("there is no such invitation");
    let id = Uuid::try_parse(&id).map_err(|_| missing())?;
    call.record().withdraw_invitation(&org, id, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accept an invitation: with a session as its user, whose email must be the one invited; without one as a new
/// user, with a password.
#[utoipa::path(post, path = "/v1/invitations/accept", tag = "members", request_body = Acceptance,
    responses((status = 200, description = "Joined", body = UserView)))]
pub(super) async fn accept(
    State(native): State<Native>,
    mut parts: http::request::Parts,
    input: Input,
) -> Result<Response, Problem> {
    let arrival = arrival(&mut parts).await?;
    let user = if parts.headers.contains_key(AUTHORIZATION) {
        let call = <Call as axum::extract::FromRequestParts<Native>>::from_request_parts(&mut parts, &native);
        let call = call.await?;
        call.may(Deed::ChangeSelf)?;
        let Acceptance { token, .. } = input.read()?;
        call.admin().accept(&token, &call.caller, &call.actor(), call.now()).await?
    } else {
        let Acceptance { token, password } = input.read()?;
        let missing = || Problem::invalid("password", "choose a password, or send the session of a user");
        let from = arrival.client.to_string();
        let password = password.ok_or_else(missing)?;
        native.admin.accept_as_new(&token, &password, &from, arrival.at).await?
    };
    Ok(Json(UserView::from(&user)).into_response())
}
