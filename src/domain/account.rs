//! What an organization and its keys have used, and the one question asked of it: may this request be
//! admitted?
//!
//! A [`Claim`] names every limit it needs. It is checked against all of them, cheapest answer first, and then
//! committed to all of them, or to none: a refused request spends nothing, so a client that retries too early
//! never pushes its own recovery away.
//!
//! **Invariants.** Everything is counted whether or not it is capped, so that a cap that is added or edited
//! later finds the truth. Caps are arguments, never state.
//!
//! **Deliberately absent:** locks and clocks (the memory counters own both), and who the organization is.

use ahash::AHashMap;

use super::cost::Cost;
use super::id::KeyId;
use super::limit::{Caps, Limit, Quotas, SpendLimit};
use super::ring::{Ring, Window};
use super::time::{Period, Timestamp};

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

/// What was claimed: the receipt that [`Account::settle`] or [`Account::release`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The key that claimed.
    pub key: Option<KeyId>,
    /// When it was admitted, on the counters' clock.
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
}

/// A claim that was refused: by which limit, when that can change, and where the limits stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The first limit that refused.
    pub limit: Limit,
    /// The first instant at which it could admit; `None` where no passing of time helps or nobody knows.
    pub retry_at: Option<Timestamp>,
    /// Where the limits stand, nothing having been claimed.
    pub standing: Standing,
}

/// Counts of one organization.
#[derive(Debug, Default)]
pub struct Account {
    in_flight: u64,
    second: Ring,
    minute: Ring,
    spend: Spend,
    keys: AHashMap<KeyId, Usage>,
}

/// Counts of one key.
#[derive(Debug, Default)]
struct Usage {
    total: u64,
    /// Daily, weekly, monthly.
    rings: [Ring; 3],
    spend: Spend,
}

const QUOTA_WINDOWS: [(Window, Limit); 3] =
    [(Window::DAY, Limit::Daily), (Window::WEEK, Limit::Weekly), (Window::MONTH, Limit::Monthly)];

impl Account {
    /// Admits the claim and counts it everywhere, or refuses it and counts nothing.
    ///
    /// # Errors
    /// [`Denial`], naming the first limit in the order of the contract's checks 9 to 12 that has no room.
    pub fn claim(&mut self, claim: &Claim<'_>, now: Timestamp) -> Result<(Claimed, Standing), Denial> {
        let refused = self.first_refusal(claim, now);
        if let Some((limit, retry_at)) = refused {
            return Err(Denial { limit, retry_at, standing: self.standing(claim, now) });
        }
        self.in_flight += 1;
        self.second.add(Window::SECOND, now, 1);
        self.minute.add(Window::MINUTE, now, 1);
        self.spend.reserve(claim.estimate, now);
        if let Some(key) = claim.key {
            self.keys.entry(key).or_default().claim(claim.estimate, now);
        }
        let claimed = Claimed { key: claim.key, at: now, estimate: claim.estimate };
        Ok((claimed, self.standing(claim, now)))
    }

    fn first_refusal(&mut self, claim: &Claim<'_>, now: Timestamp) -> Option<(Limit, Option<Timestamp>)> {
        if claim.caps.concurrency.is_some_and(|cap| self.in_flight >= cap) {
            return Some((Limit::Concurrency, Some(now)));
        }
        for (ring, window, limit, cap) in [
            (&mut self.second, Window::SECOND, Limit::Second, claim.caps.per_second),
            (&mut self.minute, Window::MINUTE, Limit::Minute, claim.caps.per_minute),
        ] {
            if let Some(refusal) = ring_refusal(ring, window, limit, cap, now) {
                return Some(refusal);
            }
        }
        let mut unused = Usage::default();
        let usage = match claim.key {
            Some(key) => self.keys.get_mut(&key).unwrap_or(&mut unused),
            None => &mut unused,
        };
        if claim.quotas.total.is_some_and(|cap| usage.total >= cap) {
            return Some((Limit::Total, None));
        }
        let caps = [claim.quotas.daily, claim.quotas.weekly, claim.quotas.monthly];
        for ((ring, (window, limit)), cap) in usage.rings.iter_mut().zip(QUOTA_WINDOWS).zip(caps) {
            if let Some(refusal) = ring_refusal(ring, window, limit, cap, now) {
                return Some(refusal);
            }
        }
        usage
            .spend
            .refusal(claim.key_limit, claim.estimate, now, Limit::KeyRequests, Limit::KeyBudget)
            .or_else(|| {
                self.spend.refusal(claim.org_limit, claim.estimate, now, Limit::OrgRequests, Limit::OrgBudget)
            })
    }

    /// Where every capped limit of `claim` stands at `now`.
    pub fn standing(&mut self, claim: &Claim<'_>, now: Timestamp) -> Standing {
        let mut standing = Standing {
            in_flight: self.in_flight,
            concurrency: claim.caps.concurrency,
            second: gauge(&mut self.second, Window::SECOND, claim.caps.per_second, now),
            minute: gauge(&mut self.minute, Window::MINUTE, claim.caps.per_minute, now),
            quotas: [None; 4],
        };
        let Some(key) = claim.key else { return standing };
        let mut unused = Usage::default();
        let usage = self.keys.get_mut(&key).unwrap_or(&mut unused);
        standing.quotas = [
            claim.quotas.total.map(|cap| Gauge {
                cap,
                remaining: cap.saturating_sub(usage.total),
                resets_at: None,
            }),
            gauge(&mut usage.rings[0], Window::DAY, claim.quotas.daily, now),
            gauge(&mut usage.rings[1], Window::WEEK, claim.quotas.weekly, now),
            gauge(&mut usage.rings[2], Window::MONTH, claim.quotas.monthly, now),
        ];
        standing
    }

    /// Ends an admitted request: its slot is free, and `actual` takes the place of what was reserved.
    pub fn settle(&mut self, claimed: &Claimed, actual: Cost) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.spend.settle(claimed, actual);
        if let Some(usage) = claimed.key.and_then(|key| self.keys.get_mut(&key)) {
            usage.spend.settle(claimed, actual);
        }
    }

    /// Undoes a claim of which nothing came: every count is as if it had not been made.
    pub fn release(&mut self, claimed: &Claimed) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.second.take_back(Window::SECOND, claimed.at, 1);
        self.minute.take_back(Window::MINUTE, claimed.at, 1);
        self.spend.release(claimed);
        if let Some(usage) = claimed.key.and_then(|key| self.keys.get_mut(&key)) {
            usage.total = usage.total.saturating_sub(1);
            for (ring, (window, _)) in usage.rings.iter_mut().zip(QUOTA_WINDOWS) {
                ring.take_back(window, claimed.at, 1);
            }
            usage.spend.release(claimed);
        }
    }

    /// Counts `n` admissions of `key` at `at` that were settled at `cost` together: how an account is rebuilt
    /// from the log. Must be called in the order of time, oldest first.
    pub fn replay(&mut self, key: Option<KeyId>, at: Timestamp, n: u64, cost: Cost) {
        self.second.add(Window::SECOND, at, n);
        self.minute.add(Window::MINUTE, at, n);
        self.spend.replay(at, n, cost);
        if let Some(key) = key {
            let usage = self.keys.entry(key).or_default();
            for (ring, (window, _)) in usage.rings.iter_mut().zip(QUOTA_WINDOWS) {
                ring.add(window, at, n);
            }
            usage.spend.replay(at, n, cost);
        }
    }

    /// Sets what `key` has used in all time: kept apart from [`Account::replay`], as the log forgets and a
    /// total must not.
    pub fn replay_total(&mut self, key: KeyId, total: u64) {
        self.keys.entry(key).or_default().total = total;
    }

    /// Keys with counts.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }
}

impl Usage {
    fn claim(&mut self, estimate: Cost, now: Timestamp) {
        self.total += 1;
        for (ring, (window, _)) in self.rings.iter_mut().zip(QUOTA_WINDOWS) {
            ring.add(window, now, 1);
        }
        self.spend.reserve(estimate, now);
    }
}

fn ring_refusal(
    ring: &mut Ring,
    window: Window,
    limit: Limit,
    cap: Option<u64>,
    now: Timestamp,
) -> Option<(Limit, Option<Timestamp>)> {
    // Expiring is asked of uncapped windows too: it is what bounds their memory.
    let count = ring.count(window, now);
    let cap = cap?;
    (count >= cap).then(|| (limit, ring.below_at(window, cap)))
}

fn gauge(ring: &mut Ring, window: Window, cap: Option<u64>, now: Timestamp) -> Option<Gauge> {
    let cap = cap?;
    let remaining = cap.saturating_sub(ring.count(window, now));
    Some(Gauge { cap, remaining, resets_at: ring.next_expiry(window) })
}

/// Calendar counts of a key or organization: one per kind of period, so that a changed period finds its count.
#[derive(Debug, Default)]
struct Spend {
    /// Microcents reserved by requests in flight, in whatever period they began.
    reserved: u64,
    periods: [PeriodCount; 3],
}

#[derive(Debug, Default, Clone, Copy)]
struct PeriodCount {
    first: Timestamp,
    next: Timestamp,
    requests: u64,
    microcents: u64,
}

impl PeriodCount {
    /// Moves on to the period of `now`. A clock that steps back stays in the later period.
    fn roll(&mut self, period: Period, now: Timestamp) {
        if now >= self.next {
            let (first, next) = period.bounds(now);
            *self = Self { first, next, ..Self::default() };
        }
    }
}

impl Spend {
    fn roll(&mut self, now: Timestamp) {
        for (count, period) in self.periods.iter_mut().zip(Period::ALL) {
            count.roll(period, now);
        }
    }

    fn refusal(
        &mut self,
        limit: Option<&SpendLimit>,
        estimate: Cost,
        now: Timestamp,
        requests: fn(Period) -> Limit,
        budget: fn(Period) -> Limit,
    ) -> Option<(Limit, Option<Timestamp>)> {
        let limit = limit.filter(|limit| limit.enabled)?;
        self.roll(now);
        let count = &self.periods[limit.period.index()];
        if limit.requests.is_some_and(|cap| count.requests >= cap) {
            return Some((requests(limit.period), Some(count.next)));
        }
        let would_be = count.microcents.saturating_add(self.reserved).saturating_add(estimate.microcents);
        let over = limit.microcents.is_some_and(|cap| would_be > cap || count.microcents >= cap);
        over.then(|| (budget(limit.period), Some(count.next)))
    }

    fn reserve(&mut self, estimate: Cost, now: Timestamp) {
        self.roll(now);
        self.reserved = self.reserved.saturating_add(estimate.microcents);
        for count in &mut self.periods {
            count.requests += 1;
        }
    }

    fn settle(&mut self, claimed: &Claimed, actual: Cost) {
        self.reserved = self.reserved.saturating_sub(claimed.estimate.microcents);
        for count in self.periods.iter_mut().filter(|count| claimed.at >= count.first) {
            count.microcents = count.microcents.saturating_add(actual.microcents);
        }
    }

    fn release(&mut self, claimed: &Claimed) {
        self.reserved = self.reserved.saturating_sub(claimed.estimate.microcents);
        for count in self.periods.iter_mut().filter(|count| claimed.at >= count.first) {
            count.requests = count.requests.saturating_sub(1);
        }
    }

    fn replay(&mut self, at: Timestamp, n: u64, cost: Cost) {
        self.roll(at);
        for count in self.periods.iter_mut().filter(|count| at >= count.first) {
            count.requests += n;
            count.microcents = count.microcents.saturating_add(cost.microcents);
        }
    }
}
