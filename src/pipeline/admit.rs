//! Whether a request may pass: every check of the contract's section 4 that needs no socket, in its order, on
//! one page.
//!
//! Cheapest first, spending last, and a refused request spends nothing. Checks 1 and 2 of the head's framing
//! are made where bytes are read; what a path may hold is decided here, as a route may allow more.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;

use crate::config::{Auth, Config, Route};
use crate::domain::account::Claim;
use crate::domain::address::client_ip;
use crate::domain::cost::Cost;
use crate::domain::id::ProjectId;
use crate::domain::key::Scope;
use crate::domain::path::is_unambiguous;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::stores::counters::{Counters, Unclaimed};
use crate::stores::jobs::Jobs;
use crate::stores::keyring::{Entry, Keyring, Known as KnownKey};

use super::credentials;
use super::facts::Facts;
use super::guard::Guard;
use super::permit::{Caller, Hold, Known, Permit, Refused};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What admission asks.
#[derive(Debug)]
pub struct Gate {
    /// Digest to grant.
    pub keyring: Arc<Keyring>,
    /// Live limits.
    pub counters: Arc<Counters>,
    /// Addresses that guess keys.
    pub guard: Guard,
    /// Whose the jobs are that paths name.
    pub jobs: Jobs,
}

impl Gate {
    /// Admits the request, or says why not.
    ///
    /// # Errors
    /// [`Refused`], with the first check that failed and what had become known by then.
    pub async fn admit(&self, config: &Config, facts: &Facts<'_>, now: Timestamp) -> Result<Permit, Refused> {
        let mut known = at_first_sight(config, facts);
        match self.checked(config, facts, &mut known, now).await {
            Ok(claim) => Ok(Permit { known, claim }),
            Err(refusal) => {
                if refusal.is_failed_authentication() {
                    self.guard.failed(known.client, now);
                }
                Err(Refused { refusal, known })
            }
        }
    }

    async fn checked(
        &self,
        config: &Config,
        facts: &Facts<'_>,
        known: &mut Known,
        now: Timestamp,
    ) -> Result<Option<Hold>, Refusal> {
        let route = known.route.as_ref().map(|(_, route)| Arc::clone(route));
        if !is_unambiguous(facts.path, route.as_ref().is_some_and(|route| route.encoded_slashes)) {
            return Err(Refusal::BadRequest);
        }
        // An upstream that answers it sends back what it got: its own credential.
        if facts.method == Method::TRACE {
            return Err(Refusal::BadRequest);
        }
        self.guard.check(known.client, now)?;
        let route = route.ok_or(Refusal::NoRoute)?;
        if facts.body_bytes().is_some_and(|bytes| bytes > route.body_bytes_max) {
            return Err(Refusal::BodyTooLarge);
        }
        if route.auth == Auth::None {
            return Ok(None);
        }

        let caller = known.caller.insert(self.caller(config, facts, now).await?);
        let grant = &caller.key.grant;
        grant.standing(now)?;
        grant.allows(
            known.client,
            needed_scope(&route, facts.method),
            route.path.parameter(facts.path, "project").as_deref(),
        )?;

        if let Some(job) = route.path.parameter(facts.path, "job") {
            // Boxed: rare, and every request would carry the room for it.
            Box::pin(self.made_by(&grant.project, &job)).await?;
        }
        let organization = &caller.organization;
        let claim = Claim {
            key: Some(grant.id),
            caps: config.caps(&organization.plan).overridden(organization.negotiated),
            quotas: grant.quotas,
            key_limit: grant.limit.as_deref(),
            org_limit: organization.limit.as_ref(),
            estimate: estimate(config, &route),
        };
        let answer = match self.counters.at_once(&organization.id, &claim, now) {
            Some(answer) => answer,
            // Boxed: rare, and every request would carry the room for it.
            None => Box::pin(self.counters.ask(&organization.id, &claim, now)).await,
        };
        match answer {
            Ok((claimed, standing)) => {
                known.standing = Some(standing);
                Ok(Some(Hold::new(Arc::clone(&self.counters), organization.id.clone(), claimed)))
            }
            Err(Unclaimed::Denied(denial)) => {
                known.standing = Some(denial.standing);
                Err(Refusal::Limited(denial.limit, denial.retry_at))
            }
            Err(Unclaimed::Full) => Err(Refusal::Overloaded),
            Err(Unclaimed::Unavailable) => Err(Refusal::StoreUnavailable),
        }
    }

    /// Check 5: whose key was sent. Whether it may be used now is for [`Grant::standing`] to say.
    ///
    /// [`Grant::standing`]: crate::domain::key::Grant::standing
    ///
    /// # Errors
    /// Those of [`credentials::find`], [`Refusal::InvalidApiKey`] and [`Refusal::StoreUnavailable`]. Whoever asks
    /// beside [`Gate::admit`] tells the guard of those that are failed authentications.
    pub async fn caller(
        &self,
        config: &Config,
        facts: &Facts<'_>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        let credential =
            credentials::find(facts.headers, facts.query, &config.keys, self.keyring.has_imported_keys())?;
        let key = self.key(&credential.digest, now).await?;
        let organization = key.organization.0.load_full();
        Ok(Caller { key, organization, credential })
    }

    /// Check 8, where the path names no project: a job is its project's, and what is nobody's is not for anybody.
    async fn made_by(&self, project: &ProjectId, job: &str) -> Result<(), Refusal> {
        match self.jobs.owner(job).await {
            Ok(Some(owner)) if owner == *project => Ok(()),
            Ok(_) => Err(Refusal::ProjectLocked),
            Err(_) => Err(Refusal::StoreUnavailable),
        }
    }

    /// Known and not revoked. A store that cannot be asked is 503, never 401.
    async fn key(
        &self,
        digest: &crate::domain::secret::Digest,
        now: Timestamp,
    ) -> Result<Arc<Entry>, Refusal> {
        let known = match self.keyring.cached(digest, now) {
            Some(known) => known,
            // Boxed: rare, and every request would carry the room for it.
            None => Box::pin(self.keyring.find(digest, now)).await.map_err(|_| Refusal::StoreUnavailable)?,
        };
        match known {
            KnownKey::Key(entry) => Ok(entry),
            KnownKey::Absent => Err(Refusal::InvalidApiKey),
        }
    }
}

/// What is known of a request before anything is asked: its client and its route, and so how a refusal of it is
/// spelled and logged.
pub fn at_first_sight(config: &Config, facts: &Facts<'_>) -> Known {
    let forwarded = facts.headers.get_all(FORWARDED_FOR).into_iter().filter_map(|value| value.to_str().ok());
    let client = client_ip(facts.peer, forwarded, &config.data.trusted_proxies);
    let route = route(config, facts);
    let dialect = route.as_ref().map_or_else(|| config.common_dialect(), |(_, route)| route.dialect);
    Known { client, route, dialect, caller: None, standing: None }
}

fn route(config: &Config, facts: &Facts<'_>) -> Option<(usize, Arc<Route>)> {
    let takes = |route: &Route| route.methods.is_empty() || route.methods.contains(facts.method);
    // Slashes are merged to see what a path is kept from, never to make it public: not every reader merges them.
    let reads = |route: &Route| {
        route.path.matches(facts.path) && (route.auth != Auth::None || !facts.path.contains("//"))
    };
    let (index, route) = config.routes.iter().enumerate().find(|(_, route)| takes(route) && reads(route))?;
    Some((index, Arc::clone(route)))
}

fn needed_scope(route: &Route, method: &Method) -> Scope {
    route.scope.unwrap_or(match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Scope::Read,
        _ => Scope::Write,
    })
}

/// What is reserved before the actual cost is known: the route's price.
pub fn estimate(config: &Config, route: &Route) -> Cost {
    Cost {
        credits: route.price,
        microcents: route.price.saturating_mul(config.billing.microcents_per_credit),
    }
}
