//! Admission as a value: only what holds a [`Permit`] is forwarded.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Dialect, Route};
use crate::domain::account::{Claimed, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::OrgId;
use crate::domain::key::Organization;
use crate::domain::refusal::Refusal;
use crate::stores::counters::Counters;
use crate::stores::keyring::Entry;

use super::credentials::Found;

/// Who is calling, once that is known.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key.
    pub key: Arc<Entry>,
    /// Who pays, as of this request.
    pub organization: Arc<Organization>,
    /// Where the key was found, so that it can be taken out before forwarding.
    pub credential: Found,
}

/// What is known of a request, whether or not it is admitted: as much as the checks came to know.
#[derive(Debug, Clone)]
pub struct Known {
    /// The client's address behind trusted proxies.
    pub client: IpAddr,
    /// The route, by its position in the configuration.
    pub route: Option<(usize, Arc<Route>)>,
    /// How its refusals are spelled.
    pub dialect: Dialect,
    /// The caller.
    pub caller: Option<Caller>,
    /// Where the limits stand, once they were asked.
    pub standing: Option<Standing>,
}

/// A request that was not admitted.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What is known of it.
    pub known: Known,
}

/// A request that was admitted. Dropping it unsettled releases what was claimed.
#[derive(Debug)]
pub struct Permit {
    /// What is known of it.
    pub known: Known,
    /// What was claimed; `None` on a public route.
    pub claim: Option<Hold>,
}

/// What was claimed from the counters, held until it is settled.
#[derive(Debug)]
pub struct Hold {
    counters: Arc<Counters>,
    organization: OrgId,
    claimed: Claimed,
    settled: bool,
}

impl Hold {
    /// Holds what `claimed` says.
    pub(super) const fn new(counters: Arc<Counters>, organization: OrgId, claimed: Claimed) -> Self {
        Self { counters, organization, claimed, settled: false }
    }

    /// What was claimed.
    pub const fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    /// Ends the claim with what the request actually cost.
    pub fn settle(mut self, actual: Cost) {
        self.settled = true;
        self.counters.settle(&self.organization, &self.claimed, actual);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.settled {
            self.counters.release(&self.organization, &self.claimed);
        }
    }
}
