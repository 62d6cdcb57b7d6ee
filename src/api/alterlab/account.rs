//! The account: its credits, and who is calling.

use axum::Json;
use axum::extract::State;

use super::answer::{Refusals, Refused};
use super::wire::{AccountUsage, Me, TierInfo, seconds};
use crate::admin::access::{Caller, Deed};
use crate::api::desk::{Desk, Visit, caps};
use crate::api::no::{No, What};
use crate::domain::people::User;

/// The account's credits in its billing period: the period of its limit, a calendar month where it has none.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the caller's own")),
    responses((status = 200, body = AccountUsage), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn usage(State(desk): State<Desk>, visit: Visit) -> Result<Json<AccountUsage>, Refused> {
    let (_, organization) = desk.enter(&visit, Deed::ReadUsage).await?;
    let account = desk.account(&visit, &organization).await?;
    Ok(Json(AccountUsage {
        credits_available: account.remaining(),
        credits_used: account.used,
        credits_limit: account.total,
        requests_count: account.totals.requests(),
        subscription_tier: organization.plan,
        billing_period_start: seconds(account.since),
        billing_period_end: seconds(account.until),
    }))
}

/// Who is calling. For a key: who made it, or the organization where nobody is known to have.
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "AlterLab",
    params(("X-Organization-Id" = Option<String>, Header, description = "The organization; left out, the caller's own")),
    responses((status = 200, body = Me), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn me(State(desk): State<Desk>, visit: Visit) -> Result<Json<Me>, Refused> {
    let (caller, organization) = desk.enter(&visit, Deed::ReadUsage).await?;
    let account = desk.account(&visit, &organization).await?;
    let caps = caps(&visit, &organization);
    let user = user(&desk, &caller).await?;
    let (id, email, name, created_at) = match user {
        Some(user) => (user.id.to_string(), Some(user.email.clone()), name(&user), user.created_at),
        None => (organization.id.to_string(), None, organization.name.clone(), organization.created_at),
    };
    Ok(Json(Me {
        id,
        email,
        name,
        created_at: seconds(created_at),
        subscription_tier: organization.plan.clone(),
        credits_remaining: account.remaining(),
        credits_total: account.total,
        tier_info: TierInfo {
            name: organization.plan.clone(),
            slug: organization.plan,
            requests_per_minute: caps.per_minute,
            concurrent_requests: caps.concurrency,
        },
    }))
}

async fn user(desk: &Desk, caller: &Caller) -> Result<Option<User>, No> {
    match caller {
        Caller::Person { user, .. } => Ok(Some(user.clone())),
        Caller::Key(key) => match key.created_by {
            Some(id) => {
                let found = desk.record.user_by_id(id).await;
                found.map(Some).map_err(|error| No::of(error.into(), What::Key))
            }
            None => Ok(None),
        },
    }
}

/// What people are called here: by their email, as there are no other names.
fn name(user: &User) -> String {
    user.email.split_once('@').map_or(&*user.email, |(local, _)| local).to_owned()
}
