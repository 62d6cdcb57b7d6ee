//! `GET /_tollgate/usage`: a client asks what its own key has used, and what is left.
//!
//! Authenticated by the key itself, found where requests carry theirs. Nothing is spent or counted by asking, and
//! it works while a limit is used up: that is when it is asked. A key that is disabled, expired or used from an
//! address that is not in its list is told nothing. Scopes are about the upstream and do not matter here.
//!
//! Every limit is `{limit, used, remaining, resets_at}`; a `limit` of `null` is unlimited, and so is its
//! `remaining`. `resets_at` is when the oldest of a rolling window stops counting, or when a calendar period
//! ends. What is used is this node's knowledge of it, of all nodes where counters are shared.
//!
//! Name and hint are in the record only: while that cannot be asked they are `null`, and the rest is told.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::request::Parts;
use serde::Serialize;
use tokio::time::timeout;

use crate::config::Dialect;
use crate::domain::limit::SpendLimit;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::used::{InPeriod, InUse, Used};
use crate::pipeline::admit::Gate;
use crate::pipeline::facts::Facts;
use crate::pipeline::permit::Caller;
use crate::stores::record::KeyRecord;

use super::arrival::Arrival;
use super::system::System;

/// How long name and hint are waited for.
const NAME_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct OwnUsage {
    gate: Arc<Gate>,
    record: Arc<dyn KeyRecord>,
}

/// Everything below `/_tollgate`, which no upstream ever sees.
pub fn system(gate: Arc<Gate>, record: Arc<dyn KeyRecord>) -> System {
    let router = Router::new()
        .route("/_tollgate/usage", get(usage))
        .fallback(async |Extension(arrival): Extension<Arrival>| {
            arrival.refuse(Refusal::NoRoute, Dialect::Native)
        })
        .with_state(OwnUsage { gate, record });
    System::new(&["/_tollgate/*"], router)
}

async fn usage(State(own): State<OwnUsage>, Extension(arrival): Extension<Arrival>, head: Parts) -> Response {
    let caller = match own.caller(&arrival, &head).await {
        Ok(caller) => caller,
        Err(refusal) => return arrival.refuse(refusal, Dialect::Native),
    };
    let grant = &caller.key.grant;
    let named = timeout(NAME_WITHIN, own.record.key(grant.id)).await;
    let (name, hint) = named.ok().and_then(Result::ok).map(|key| (key.name, key.hint)).unzip();
    let in_use = own.gate.counters.used(&caller.organization.id, grant.id, arrival.at).await;
    let answer = Usage {
        at: text(arrival.at),
        key: OwnKey {
            id: grant.id.to_string(),
            name,
            hint,
            organization: caller.organization.id.to_string(),
            project: grant.project.to_string(),
            expires_at: grant.expires_at.map(text),
        },
        plan: Plan::of(&arrival, &caller, &in_use),
        quotas: Quotas::of(&caller, &in_use),
        spend: Spend {
            key: grant.limit.as_deref().map(|limit| Spending::of(limit, &in_use.key.spent)),
            organization: caller
                .organization
                .limit
                .as_ref()
                .map(|limit| Spending::of(limit, &in_use.organization)),
        },
    };
    Json(answer).into_response()
}

impl OwnUsage {
    /// Checks 5 to 7 of the contract, and of 8 the address.
    async fn caller(&self, arrival: &Arrival, head: &Parts) -> Result<Caller, Refusal> {
        let facts = Facts {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            peer: arrival.client,
        };
        let caller = self.gate.caller(&arrival.config, &facts, arrival.at).await?;
        caller.key.grant.standing(arrival.at)?;
        caller.key.grant.allows_from(arrival.client)?;
        Ok(caller)
    }
}

#[derive(Serialize)]
struct Usage {
    at: String,
    key: OwnKey,
    plan: Plan,
    quotas: Quotas,
    spend: Spend,
}

#[derive(Serialize)]
struct OwnKey {
    id: String,
    name: Option<String>,
    hint: Option<String>,
    organization: String,
    project: String,
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Plan {
    name: String,
    per_second: Gauge,
    per_minute: Gauge,
    concurrency: Gauge,
}

#[derive(Serialize)]
struct Quotas {
    total: Gauge,
    daily: Gauge,
    weekly: Gauge,
    monthly: Gauge,
}

#[derive(Serialize)]
struct Spend {
    key: Option<Spending>,
    organization: Option<Spending>,
}

#[derive(Serialize)]
struct Spending {
    period: &'static str,
    starts_at: String,
    enabled: bool,
    requests: Gauge,
    microcents: Gauge,
}

#[derive(Serialize)]
struct Gauge {
    limit: Option<u64>,
    used: u64,
    remaining: Option<u64>,
    resets_at: Option<String>,
}

impl Gauge {
    fn new(limit: Option<u64>, used: u64, resets_at: Option<Timestamp>) -> Self {
        let remaining = limit.map(|limit| limit.saturating_sub(used));
        Self { limit, used, remaining, resets_at: resets_at.map(text) }
    }

    fn rolling(limit: Option<u64>, used: Used) -> Self {
        Self::new(limit, used.count, used.resets_at)
    }
}

impl Plan {
    fn of(arrival: &Arrival, caller: &Caller, in_use: &InUse) -> Self {
        let organization = &caller.organization;
        let caps = arrival.config.caps(&organization.plan).overridden(organization.negotiated);
        Self {
            name: organization.plan.clone(),
            per_second: Gauge::rolling(caps.per_second, in_use.second),
            per_minute: Gauge::rolling(caps.per_minute, in_use.minute),
            concurrency: Gauge::new(caps.concurrency, in_use.in_flight, None),
        }
    }
}

impl Quotas {
    fn of(caller: &Caller, in_use: &InUse) -> Self {
        let quotas = caller.key.grant.quotas;
        let used = &in_use.key;
        Self {
            total: Gauge::new(quotas.total, used.total, None),
            daily: Gauge::rolling(quotas.daily, used.daily),
            weekly: Gauge::rolling(quotas.weekly, used.weekly),
            monthly: Gauge::rolling(quotas.monthly, used.monthly),
        }
    }
}

impl Spending {
    fn of(limit: &SpendLimit, spent: &[InPeriod; 3]) -> Self {
        let spent = spent[limit.period.index()];
        let ends = Some(spent.ends_at);
        Self {
            period: limit.period.name(),
            starts_at: text(spent.starts_at),
            enabled: limit.enabled,
            requests: Gauge::new(limit.requests, spent.requests, ends),
            microcents: Gauge::new(limit.microcents, spent.microcents, ends),
        }
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}
