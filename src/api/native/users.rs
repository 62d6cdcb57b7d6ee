//! `/v1/users`: people, as the operator sees and makes them.

use axum::Json;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Problem;
use super::body::{Asked, Input};
use super::call::Call;
use super::once::{Made, once};
use super::page::{Part, Turn};
use super::views::{RoleName, UserView};
use crate::admin::UserOrder;
use crate::admin::access::Deed;

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// At least 8 characters.
    password: String,
    /// Whether it runs the gateway.
    #[serde(default)]
    operator: bool,
    /// An organization (id or name) to join at once.
    organization: Option<String>,
    /// As what; `member` where nothing is said.
    role: Option<RoleName>,
}

/// List users, by email.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Turn),
    extensions(("x-tollgate-deed" = json!("manage-users"))),
    responses((status = 200, description = "A part of the list", body = Part<UserView>)))]
pub(super) async fn list(call: Call, Asked(turn): Asked<Turn>) -> Result<Json<Part<UserView>>, Problem> {
    call.may(Deed::ManageUsers)?;
    let page = turn.page(|email| Some(email.to_owned()))?;
    let users = call.record().users_page(&page).await?;
    Ok(Json(Part::of(&page, users, |last| last.email.clone(), |user| user.into())))
}

/// Make a user, with a personal organization.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = NewUser,
    extensions(("x-tollgate-deed" = json!("manage-users")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "Made", body = UserView)))]
pub(super) async fn create(call: Call, input: Input) -> Result<Response, Problem> {
    call.may(Deed::ManageUsers)?;
    once(&call, "/v1/users", &input, async || {
        let new: NewUser = input.read()?;
        let role = new.role.unwrap_or(RoleName::Member);
        let order = UserOrder {
            email: new.email,
            password: new.password,
            operator: new.operator,
            membership: new.organization.map(|org| (org, role.into())),
        };
        let user = call.admin().create_user(&order, &call.actor(), call.now()).await?;
        Ok(Made::new(format!("/v1/users/{}", user.id), None, &UserView::from(&user)))
    })
    .await
}
