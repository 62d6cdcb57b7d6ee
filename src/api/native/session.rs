//! `/v1/session`: logging in, who one is, logging out.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Input;
use super::call::{Call, arrival};
use super::views::{KeyView, UserView};
use super::{Native, Problem};
use crate::admin::access::{Caller, Deed};

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    #[schema(format = Email, max_length = 254)]
    email: String,
    password: String,
}

/// A session, and the token that names it.
#[derive(Serialize, ToSchema)]
pub(super) struct Begun {
    /// Send it as `Authorization: Bearer`.
    token: String,
    session: String,
    expires_at: String,
    user: UserView,
}

/// Who calls: a person or a key.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    user: Option<UserView>,
    key: Option<KeyView>,
    /// What is meant where no organization is named.
    organization: String,
    /// When the session ends.
    expires_at: Option<String>,
}

/// A password and the one to come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passwords {
    password: String,
    new_password: String,
}

/// Log in.
///
/// Whoever fails waits before the next try, longer each time, by account and by address; an account that does not
/// exist is answered like a wrong password.
#[utoipa::path(post, path = "/v1/session", tag = "session", request_body = Credentials,
    responses((status = 201, description = "Logged in", body = Begun)))]
pub(super) async fn login(
    State(native): State<Native>,
    parts: http::request::Parts,
    input: Input,
) -> Result<Response, Problem> {
    let mut parts = parts;
    let arrival = arrival(&mut parts).await?;
    let Credentials { email, password } = input.read()?;
    let (login, user) = native.admin.login(&email, &password, arrival.client, arrival.at).await?;
    let begun = Begun {
        token: login.token,
        session: login.session.id.to_string(),
        expires_at: login.session.expires_at.to_string(),
        user: (&user).into(),
    };
    Ok((StatusCode::CREATED, Json(begun)).into_response())
}

/// Who am I.
#[utoipa::path(get, path = "/v1/session", tag = "session",
    extensions(("x-tollgate-deed" = json!("read-self"))),
    responses((status = 200, description = "Who calls", body = Me)))]
pub(super) async fn me(call: Call) -> Result<Json<Me>, Problem> {
    call.may(Deed::ReadSelf)?;
    let organization = call.caller.home().to_string();
    Ok(Json(match &call.caller {
        Caller::Person { user, session } => Me {
            user: Some(user.into()),
            key: None,
            organization,
            expires_at: Some(session.expires_at.to_string()),
        },
        Caller::Key(key) => {
            Me { user: None, key: Some(KeyView::new(key, None)), organization, expires_at: None }
        }
    }))
}

/// Log out: the token is no longer valid.
#[utoipa::path(delete, path = "/v1/session", tag = "session",
    extensions(("x-tollgate-deed" = json!("change-self"))),
    responses((status = 204, description = "Logged out")))]
pub(super) async fn logout(call: Call) -> Result<StatusCode, Problem> {
    let (_, session) = call.person(Deed::ChangeSelf)?;
    call.admin().logout(session, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change one's password. Every other session of the account ends.
#[utoipa::path(put, path = "/v1/session/password", tag = "session", request_body = Passwords,
    extensions(("x-tollgate-deed" = json!("change-self"))),
    responses((status = 204, description = "Changed")))]
pub(super) async fn change_password(call: Call, input: Input) -> Result<StatusCode, Problem> {
    call.may(Deed::ChangeSelf)?;
    let Passwords { password, new_password } = input.read()?;
    let passwords = [password.as_str(), &new_password];
    call.admin().change_password(&call.caller, passwords, call.arrival.client, call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
