//! Logging in, and making an account where the operator allows it.

use axum::Json;
use axum::extract::State;
use http::StatusCode;

use super::answer::{ErrorBody, Refusals, Refused};
use super::input::{self, Credentials, Registration};
use super::wire::LoggedIn;
use crate::admin::UserOrder;
use crate::api::desk::{Desk, Visit};
use crate::api::no::{No, What};
use crate::stores::record::Actor;

/// Begins a session.
#[utoipa::path(
    post, path = "/auth/login", tag = "AzScraper", request_body = Credentials,
    responses(
        (status = 200, body = LoggedIn),
        (status = 429, description = "Too many failed logins: wait for `Retry-After`", body = ErrorBody),
        Refusals,
    ),
)]
pub(super) async fn login(State(desk): State<Desk>, visit: Visit) -> Result<Json<LoggedIn>, Refused> {
    let [email, password] = input::texts(visit.body()?, ["email", "password"])?;
    Ok(Json(log_in(&desk, &visit, &email, &password).await?))
}

/// Makes an account with an organization of its own, and begins a session. Off unless `systems.register` is on.
#[utoipa::path(
    post, path = "/auth/register", tag = "AzScraper", request_body = Registration,
    responses(
        (status = 201, body = LoggedIn),
        (status = 409, description = "Somebody has an account with this email", body = ErrorBody),
        (status = 429, description = "Too many failed logins: wait for `Retry-After`", body = ErrorBody),
        Refusals,
    ),
)]
pub(super) async fn register(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<(StatusCode, Json<LoggedIn>), Refused> {
    if !visit.arrival.config.systems.register {
        return Err(No::Forbidden("Registration is switched off".to_owned()).into());
    }
    let [email, password] = input::texts(visit.body()?, ["email", "password"])?;
    let order =
        UserOrder { email: email.clone(), password: password.clone(), operator: false, membership: None };
    let actor = Actor { who: "register".to_owned(), from: visit.client().to_string() };
    match desk.admin.create_user(&order, &actor, visit.now()).await.map_err(|error| No::of(error, What::Key))
    {
        Ok(_) => {}
        Err(No::Conflict(_)) => return Err(Refused::EmailTaken),
        Err(no) => return Err(no.into()),
    }
    Ok((StatusCode::CREATED, Json(log_in(&desk, &visit, &email, &password).await?)))
}

async fn log_in(desk: &Desk, visit: &Visit, email: &str, password: &str) -> Result<LoggedIn, No> {
    let logged_in = desk.admin.login(email, password, visit.client(), visit.now()).await;
    let (login, user) = logged_in.map_err(|error| No::of(error, What::Key))?;
    Ok(LoggedIn::of(login, &user))
}
