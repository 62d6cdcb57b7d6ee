//! Where clients of the published key systems arrive: what the systems share, and nothing of how any of them spells
//! it.
//!
//! A [`Visit`] is one request to the [`Desk`]. What may not or cannot be done is a [`No`], which each
//! system respells.
//!
//! **Invariant:** what a caller may do is asked of [`access`](crate::admin::access) and of nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use crate::admin::access::{Caller, Deed};
use crate::admin::{Admin, Credential};
use crate::domain::id::OrgId;
use crate::domain::key::{Key, Organization};
use crate::domain::limit::Caps;
use crate::domain::refusal::Refusal;
use crate::domain::time::{Period, Timestamp};
use crate::domain::used::{InPeriod, InUse};
use crate::pipeline::admit::Gate;
use crate::pipeline::facts::Facts;
use crate::stores::record::reports::{Scope, Span, Totals};
use crate::stores::record::{Actor, SharedRecord};

use super::arrival::Arrival;
use super::control::Status;
use super::no::{No, What};

/// What the systems are made of.
#[derive(Clone)]
pub struct Desk {
    /// Deeds, and who may do them.
    pub admin: Admin,
    /// Keys, and what is used of their limits.
    pub gate: Arc<Gate>,
    /// What the log says.
    pub record: SharedRecord,
    /// Whether the gateway can serve.
    pub status: Arc<dyn Status>,
}

/// One request.
#[derive(Debug)]
pub struct Visit {
    /// How it came.
    pub arrival: Arrival,
    /// Method, target and headers.
    pub head: Parts,
    body: Option<Bytes>,
}

impl<S: Send + Sync> FromRequest<S> for Visit {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &S) -> Result<Self, StatusCode> {
        let (head, body) = request.into_parts();
        // Both listeners put it there.
        let arrival = head.extensions.get::<Arrival>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        let body = whole(body, arrival.config.data.own_body_max).await;
        Ok(Self { arrival, head, body })
    }
}

/// A body of at most `most` bytes.
async fn whole(body: Body, most: usize) -> Option<Bytes> {
    to_bytes(body, most).await.ok()
}

impl Visit {
    /// When it came.
    pub const fn now(&self) -> Timestamp {
        self.arrival.at
    }

    /// Where from.
    pub const fn client(&self) -> IpAddr {
        self.arrival.client
    }

    /// The text behind the `?`.
    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The whole body.
    ///
    /// # Errors
    /// Where it is over `data.own_body_max`, or broke off.
    pub fn body(&self) -> Result<&[u8], No> {
        self.body.as_deref().ok_or(No::Refused(Refusal::BodyTooLarge))
    }

    /// For the audit trail.
    pub fn actor(&self, caller: &Caller) -> Actor {
        caller.actor(self.client())
    }

    /// A header that says which organization is meant; `None` where it is not there or empty.
    pub fn organization_named(&self) -> Option<&str> {
        let value = self.head.headers.get("x-organization-id")?;
        // What is no text names no organization there is.
        Some(value.to_str().unwrap_or("?").trim()).filter(|text| !text.is_empty())
    }
}

impl Desk {
    /// Who is calling. A session's token decides where one is sent; else a key, wherever keys may stand.
    ///
    /// # Errors
    /// [`No::Nobody`], and what a key that may not be used is told.
    pub async fn caller(&self, visit: &Visit) -> Result<Caller, No> {
        let bearer = bearer(&visit.head.headers);
        if let Some(token) = bearer.filter(|text| text.split('.').count() == 3) {
            let shown = Credential::Either(token);
            let known = self.admin.identify(shown, visit.client(), visit.now()).await;
            return known.map_err(|error| No::of(error, What::Key));
        }
        match self.key(visit).await {
            Ok(key) => Ok(Caller::Key(Box::new(key))),
            // Something stands there that is neither a token nor a key of ours.
            Err(No::Refused(Refusal::MissingApiKey)) if visit.head.headers.contains_key(AUTHORIZATION) => {
                Err(No::Nobody(Some(Refusal::InvalidApiKey)))
            }
            Err(No::Refused(Refusal::MissingApiKey)) => Err(No::Nobody(None)),
            Err(no) => Err(no),
        }
    }

    /// The key that is calling: checks 5 to 7 of the contract, and of 8 the address.
    ///
    /// # Errors
    /// What a key that may not be used is told.
    pub async fn key(&self, visit: &Visit) -> Result<Key, No> {
        let facts = Facts {
            method: &visit.head.method,
            path: visit.head.uri.path(),
            query: visit.head.uri.query(),
            headers: &visit.head.headers,
            peer: visit.client(),
        };
        let known =
            self.gate.caller(&visit.arrival.config, &facts, visit.now()).await.map_err(No::Refused)?;
        known.key.grant.standing(visit.now()).map_err(No::Refused)?;
        known.key.grant.allows_from(visit.client()).map_err(No::Refused)?;
        self.record.key(known.key.grant.id).await.map_err(|error| No::of(error.into(), What::Key))
    }

    /// The caller and the organization it means, where it may do `deed` there.
    ///
    /// # Errors
    /// [`No`]; another organization is not there.
    pub async fn enter(&self, visit: &Visit, deed: Deed) -> Result<(Caller, Organization), No> {
        let caller = self.caller(visit).await?;
        let entered = self.admin.enter(&caller, deed, visit.organization_named()).await;
        let organization = entered.map_err(|error| No::of(error, What::Organization))?;
        Ok((caller, organization))
    }

    /// The caller and the key `id`, where it may do `deed` to it. Revoked keys are not there, nor are those of
    /// another organization than the one that is named.
    ///
    /// # Errors
    /// [`No`]
    pub async fn reach_key(&self, visit: &Visit, deed: Deed, id: &str) -> Result<(Caller, Key), No> {
        let caller = self.caller(visit).await?;
        let reached = self.admin.reach_key(&caller, deed, id).await;
        let key = reached.map_err(|error| No::of(error, What::Key))?;
        if let Some(named) = visit.organization_named() {
            let named = self.admin.enter(&caller, deed, Some(named)).await;
            let named = named.map_err(|error| No::of(error, What::Organization))?;
            if named.id != key.organization {
                return Err(No::Missing(What::Key));
            }
        }
        if key.revoked_at.is_some() {
            return Err(No::Missing(What::Key));
        }
        Ok((caller, key))
    }

    /// What is used of the limits of `key`, and of its organization's, at this moment.
    pub async fn in_use(&self, key: &Key, now: Timestamp) -> InUse {
        self.gate.counters.used(&key.organization, key.id, now).await
    }

    /// Sums over the requests of a key or organization.
    ///
    /// # Errors
    /// [`No`]
    pub async fn totals(&self, scope: &Scope, span: Span) -> Result<Totals, No> {
        self.record.totals(scope, span).await.map_err(|error| No::of(error.into(), What::Key))
    }

    /// The account's credits in its billing period.
    ///
    /// # Errors
    /// [`No`]
    pub async fn account(&self, visit: &Visit, organization: &Organization) -> Result<Account, No> {
        let limit = organization.limit.filter(|limit| limit.enabled);
        let period = limit.map_or(Period::Monthly, |limit| limit.period);
        let (since, until) = period.bounds(visit.now());
        let scope = Scope::Organization(organization.id.clone());
        let totals = self.totals(&scope, Span { since, until }).await?;
        let rate = visit.arrival.config.billing.microcents_per_credit.max(1);
        let total = limit.and_then(|limit| limit.microcents).map(|microcents| microcents / rate);
        Ok(Account { since, until, totals, total, used: totals.cost.credits })
    }
}

/// An organization's credits in its billing period: the period of its limit, a month where it has none.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// The period's first instant.
    pub since: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// What the log says of it.
    pub totals: Totals,
    /// Credits that may be spent in it: the limit's microcents; `None` is unlimited.
    pub total: Option<u64>,
    /// Credits spent.
    pub used: u64,
}

impl Account {
    /// Credits left; `None` is unlimited.
    pub fn remaining(&self) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(self.used))
    }
}

/// The caps of an organization's plan, and its own.
pub fn caps(visit: &Visit, organization: &Organization) -> Caps {
    visit.arrival.config.caps(&organization.plan).overridden(organization.negotiated)
}

/// What an organization has used of its calendar periods. Any key of it knows.
pub async fn spent_by(desk: &Desk, organization: &OrgId, now: Timestamp) -> [InPeriod; 3] {
    let any = crate::domain::id::KeyId(uuid::Uuid::nil());
    desk.gate.counters.used(organization, any, now).await.organization
}

/// The text of `Authorization: Bearer`; the scheme in any case (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}
