//! What one plan, and what one key, has used: the parts of an account.
//!
//! Both read their gauges once per claim; a refusal is then a look at the gauges, and an admission brings them
//! up to date.

use super::claim::{Claim, Gauge, Standing};
use super::cost::Cost;
use super::limit::{Caps, Limit, Quotas};
use super::ring::{Ring, Window};
use super::spend::{Calendar, Spend};
use super::time::Timestamp;
use super::used::{KeyUsed, Used};

/// A limit that refuses, and when it will have room.
type Refused = Option<(Limit, Option<Timestamp>)>;

/// What all keys of an organization together have used of its plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PlanUsage {
    in_flight: u64,
    second: Ring,
    minute: Ring,
}

impl PlanUsage {
    pub(super) fn standing(&mut self, caps: Caps, now: Timestamp) -> Standing {
        Standing {
            in_flight: self.in_flight,
            concurrency: caps.concurrency,
            second: Gauge::read(&mut self.second, Window::SECOND, caps.per_second, now),
            minute: Gauge::read(&mut self.minute, Window::MINUTE, caps.per_minute, now),
            ..Standing::default()
        }
    }

    pub(super) fn used(&mut self, now: Timestamp) -> (u64, Used, Used) {
        (
            self.in_flight,
            Used::read(&mut self.second, Window::SECOND, now),
            Used::read(&mut self.minute, Window::MINUTE, now),
        )
    }

    /// Checks 9 and 10 of the contract.
    pub(super) fn refusal(&self, standing: &Standing) -> Refused {
        if standing.concurrency.is_some_and(|cap| standing.in_flight >= cap) {
            return Some((Limit::Concurrency, None));
        }
        Gauge::refusal(standing.second, &self.second, Window::SECOND, Limit::Second)
            .or_else(|| Gauge::refusal(standing.minute, &self.minute, Window::MINUTE, Limit::Minute))
    }

    pub(super) fn take(&mut self, standing: &mut Standing, now: Timestamp) {
        self.in_flight += 1;
        standing.in_flight = self.in_flight;
        Gauge::take(&mut standing.second, &mut self.second, Window::SECOND, now);
        Gauge::take(&mut standing.minute, &mut self.minute, Window::MINUTE, now);
    }

    pub(super) fn settle(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn release(&mut self, at: Timestamp) {
        self.settle();
        self.second.take_back(Window::SECOND, at);
        self.minute.take_back(Window::MINUTE, at);
    }

    pub(super) fn replay(&mut self, at: Timestamp, n: u64) {
        self.second.add(Window::SECOND, at, n);
        self.minute.add(Window::MINUTE, at, n);
    }

    pub(super) fn is_idle(&mut self, now: Timestamp) -> bool {
        self.in_flight == 0
            && self.second.count(Window::SECOND, now) == 0
            && self.minute.count(Window::MINUTE, now) == 0
    }
}

/// What one key has used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyUsage {
    /// Admissions ever.
    pub(super) total: u64,
    daily: Ring,
    weekly: Ring,
    monthly: Ring,
    spend: Spend,
}

impl KeyUsage {
    pub(super) fn new(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    /// Puts where the key's limits stand into `standing`.
    pub(super) fn read(
        &mut self,
        standing: &mut Standing,
        claim: &Claim<'_>,
        calendar: &Calendar,
        now: Timestamp,
    ) {
        standing.quotas = self.quotas(claim.quotas, now);
        standing.key_spend = self.spend.gauges(claim.key_limit, calendar);
    }

    fn quotas(&mut self, quotas: Quotas, now: Timestamp) -> [Option<Gauge>; 4] {
        let total = |cap: u64| Gauge { cap, remaining: cap.saturating_sub(self.total), resets_at: None };
        [
            quotas.total.map(total),
            Gauge::read(&mut self.daily, Window::DAY, quotas.daily, now),
            Gauge::read(&mut self.weekly, Window::WEEK, quotas.weekly, now),
            Gauge::read(&mut self.monthly, Window::MONTH, quotas.monthly, now),
        ]
    }

    pub(super) fn used(&mut self, calendar: &Calendar, now: Timestamp) -> KeyUsed {
        KeyUsed {
            total: self.total,
            daily: Used::read(&mut self.daily, Window::DAY, now),
            weekly: Used::read(&mut self.weekly, Window::WEEK, now),
            monthly: Used::read(&mut self.monthly, Window::MONTH, now),
            spent: self.spend.spent(calendar),
        }
    }

    /// Check 11 of the contract, and the key's part of check 12.
    pub(super) fn refusal(&self, standing: &Standing, claim: &Claim<'_>) -> Refused {
        let [total, daily, weekly, monthly] = standing.quotas;
        if total.is_some_and(|gauge| gauge.remaining == 0) {
            return Some((Limit::Total, None));
        }
        Gauge::refusal(daily, &self.daily, Window::DAY, Limit::Daily)
            .or_else(|| Gauge::refusal(weekly, &self.weekly, Window::WEEK, Limit::Weekly))
            .or_else(|| Gauge::refusal(monthly, &self.monthly, Window::MONTH, Limit::Monthly))
            .or_else(|| {
                let names: [fn(_) -> _; 2] = [Limit::KeyRequests, Limit::KeyBudget];
                Spend::refusal(&standing.key_spend, claim.key_limit, claim.estimate, names)
            })
    }

    pub(super) fn take(
        &mut self,
        standing: &mut Standing,
        estimate: Cost,
        calendar: &Calendar,
        now: Timestamp,
    ) {
        let [total, daily, weekly, monthly] = &mut standing.quotas;
        self.total = self.total.saturating_add(1);
        if let Some(gauge) = total {
            gauge.remaining = gauge.remaining.saturating_sub(1);
        }
        Gauge::take(daily, &mut self.daily, Window::DAY, now);
        Gauge::take(weekly, &mut self.weekly, Window::WEEK, now);
        Gauge::take(monthly, &mut self.monthly, Window::MONTH, now);
        self.spend.take(&mut standing.key_spend, estimate, calendar);
    }

    pub(super) fn settle(&mut self, at: Timestamp, estimate: Cost, actual: Cost) {
        self.spend.settle(at, estimate, actual);
    }

    pub(super) fn release(&mut self, at: Timestamp, estimate: Cost) {
        self.total = self.total.saturating_sub(1);
        for (window, ring) in self.rings() {
            ring.take_back(window, at);
        }
        self.spend.release(at, estimate);
    }

    pub(super) fn replay(&mut self, at: Timestamp, n: u64, cost: Cost, calendar: &Calendar) {
        for (window, ring) in self.rings() {
            ring.add(window, at, n);
        }
        self.spend.replay(at, n, cost, calendar);
    }

    /// Whether the total is all there is to know.
    pub(super) fn is_idle(&mut self, calendar: &Calendar, now: Timestamp) -> bool {
        self.rings().into_iter().all(|(window, ring)| ring.count(window, now) == 0)
            && self.spend.is_idle(calendar)
    }

    pub(super) fn shrink(&mut self, now: Timestamp) {
        self.rings().into_iter().for_each(|(window, ring)| ring.shrink(window, now));
    }

    fn rings(&mut self) -> [(Window, &mut Ring); 3] {
        [(Window::DAY, &mut self.daily), (Window::WEEK, &mut self.weekly), (Window::MONTH, &mut self.monthly)]
    }
}
