//! The question to the limits, and its answers.

use super::cost::Cost;
use super::id::KeyId;
use super::limit::{Caps, Limit, Quotas, SpendLimit};
use super::ring::{Ring, Window};
use super::time::Timestamp;

/// One request's question to the limits.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The key that asks; `None` for a session, which counts for the organization only.
    pub key: Option<KeyId>,
    /// The organization's caps: its plan's, overridden by its own.
    pub caps: Caps,
    /// The key's quotas.
    pub quotas: Quotas,
    /// The key's calendar cap.
    pub key_limit: Option<&'a SpendLimit>,
    /// The organization's calendar cap.
    pub org_limit: Option<&'a SpendLimit>,
    /// What is reserved until the actual cost is known.
    pub estimate: Cost,
}

/// What was claimed: the receipt that [`settle`](super::account::Account::settle) or [`release`](super::account::Account::release) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The key that claimed.
    pub key: Option<KeyId>,
    /// When it was admitted, on the account's clock: what the log must say, so that a restart counts the same.
    pub at: Timestamp,
    /// What was reserved.
    pub estimate: Cost,
}

/// Where one limit stands after a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The cap.
    pub cap: u64,
    /// What may still be claimed.
    pub remaining: u64,
    /// When the next of what is used becomes free again; `None` where that is never or not known.
    pub resets_at: Option<Timestamp>,
}

/// Where every capped limit stands after a claim: what the rate-limit headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// In flight, this request included.
    pub in_flight: u64,
    /// The cap on requests in flight.
    pub concurrency: Option<u64>,
    /// The plan's trailing second.
    pub second: Option<Gauge>,
    /// The plan's trailing minute.
    pub minute: Option<Gauge>,
    /// The key's quotas: total, daily, weekly, monthly.
    pub quotas: [Option<Gauge>; 4],
    /// The key's spend limit in its present period: requests, microcents. What is reserved is used.
    pub key_spend: [Option<Gauge>; 2],
    /// The organization's spend limit, in the same way.
    pub org_spend: [Option<Gauge>; 2],
}

impl Standing {
    /// Every gauge, in the order in which limits are asked.
    pub const fn gauges(&self) -> [Option<&Gauge>; Self::GAUGES] {
        let [total, daily, weekly, monthly] = &self.quotas;
        let [key_requests, key_budget] = &self.key_spend;
        let [org_requests, org_budget] = &self.org_spend;
        [
            self.second.as_ref(),
            self.minute.as_ref(),
            total.as_ref(),
            daily.as_ref(),
            weekly.as_ref(),
            monthly.as_ref(),
            key_requests.as_ref(),
            key_budget.as_ref(),
            org_requests.as_ref(),
            org_budget.as_ref(),
        ]
    }

    /// How many gauges there are.
    pub const GAUGES: usize = 10;
}

/// A claim that was refused: by which limit, when that can change, and where the limits stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The first limit that refused.
    pub limit: Limit,
    /// The first instant at which it could admit; `None` where no passing of time helps (a total, a cap of
    /// zero) or nobody knows (requests in flight).
    pub retry_at: Option<Timestamp>,
    /// Where the limits stand, nothing having been claimed.
    pub standing: Standing,
}

impl Gauge {
    /// Where the cap on one window stands; `None` where there is none.
    pub(super) fn read(ring: &mut Ring, window: Window, cap: Option<u64>, now: Timestamp) -> Option<Self> {
        let cap = cap?;
        let remaining = cap.saturating_sub(ring.count(window, now));
        Some(Self { cap, remaining, resets_at: ring.next_expiry(window) })
    }

    /// Where the two caps of a spend limit stand, of which so much is used in the period that ends at `ends_at`: requests,
    /// microcents. `None` where there is none, or it is switched off.
    pub fn of_spend(
        limit: &SpendLimit,
        requests: u64,
        microcents: u64,
        ends_at: Timestamp,
    ) -> [Option<Self>; 2] {
        let gauge = |cap: Option<u64>, used| {
            let cap = cap.filter(|_| limit.enabled)?;
            Some(Self { cap, remaining: cap.saturating_sub(used), resets_at: Some(ends_at) })
        };
        [gauge(limit.requests, requests), gauge(limit.microcents, microcents)]
    }

    /// Refuses where nothing remains, and says when that changes.
    pub(super) fn refusal(
        gauge: Option<Self>,
        ring: &Ring,
        window: Window,
        limit: Limit,
    ) -> Option<(Limit, Option<Timestamp>)> {
        let gauge = gauge.filter(|gauge| gauge.remaining == 0)?;
        Some((limit, ring.below_at(window, gauge.cap)))
    }

    /// Counts one admission, in the ring and in its gauge.
    pub(super) fn take(gauge: &mut Option<Self>, ring: &mut Ring, window: Window, now: Timestamp) {
        ring.add(window, now, 1);
        if let Some(gauge) = gauge {
            gauge.remaining = gauge.remaining.saturating_sub(1);
            gauge.resets_at = ring.next_expiry(window);
        }
    }
}
