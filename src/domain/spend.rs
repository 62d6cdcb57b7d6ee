//! Calendar counts of a key or organization: requests and money per day, week and month (UTC).
//!
//! **Invariants.** What a request costs belongs to the periods in which it was admitted, whenever it ends. What
//! is reserved and what was spent are one number, so requests in flight can never together pass a budget by
//! their estimates. Every kind of period is counted, so that a limit that changes its period finds the truth.

use super::claim::Gauge;
use super::cost::Cost;
use super::limit::{Limit, SpendLimit};
use super::time::{Period, Timestamp};
use super::used::InPeriod;

/// The day, week and month of the present, kept so that the calendar is asked once a day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calendar {
    /// First instant, and first instant after, by [`Period::index`].
    bounds: [(Timestamp, Timestamp); 3],
}

impl Calendar {
    /// Moves on to the periods of `now`, which must not run backwards.
    pub(super) fn turn(&mut self, now: Timestamp) {
        for (bounds, period) in self.bounds.iter_mut().zip(Period::ALL) {
            if now >= bounds.1 {
                *bounds = period.bounds(now);
            }
        }
    }
}

/// Calendar counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spend {
    /// By [`Period::index`].
    periods: [Spent; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spent {
    /// The first instant of the period that is counted.
    first: Timestamp,
    requests: u64,
    /// Spent, and reserved by requests in flight.
    microcents: u64,
}

impl Spent {
    /// What is counted in the period from `first`: nothing where this is the count of another one.
    fn since(self, first: Timestamp) -> Self {
        if self.first == first { self } else { Self { first, ..Self::default() } }
    }
}

impl Spend {
    fn turn(&mut self, calendar: &Calendar) {
        for (spent, &(first, _)) in self.periods.iter_mut().zip(&calendar.bounds) {
            *spent = spent.since(first);
        }
    }

    /// Where `limit` stands: requests, microcents.
    pub(super) fn gauges(&self, limit: Option<&SpendLimit>, calendar: &Calendar) -> [Option<Gauge>; 2] {
        let Some(limit) = limit else { return [None; 2] };
        let (first, next) = calendar.bounds[limit.period.index()];
        let spent = self.periods[limit.period.index()].since(first);
        Gauge::of_spend(limit, spent.requests, spent.microcents, next)
    }

    /// Which of the `gauges` of `limit` has no room for one more request of `estimate`, and when its period ends.
    ///
    /// A budget that is used up refuses an estimate of nothing too: it does not promise a cost of nothing.
    pub(super) fn refusal(
        gauges: &[Option<Gauge>; 2],
        limit: Option<&SpendLimit>,
        estimate: Cost,
        [requests, budget]: [fn(Period) -> Limit; 2],
    ) -> Option<(Limit, Option<Timestamp>)> {
        let period = limit?.period;
        let lacks = |gauge: Option<Gauge>, least: u64| gauge.filter(|gauge| gauge.remaining < least.max(1));
        lacks(gauges[0], 1)
            .map(|gauge| (requests(period), gauge.resets_at))
            .or_else(|| Some((budget(period), lacks(gauges[1], estimate.microcents)?.resets_at)))
    }

    /// Counts a request, and its estimate as if it were spent, here and in the gauges.
    pub(super) fn take(&mut self, gauges: &mut [Option<Gauge>; 2], estimate: Cost, calendar: &Calendar) {
        for (gauge, used) in gauges.iter_mut().zip([1, estimate.microcents]) {
            if let Some(gauge) = gauge {
                gauge.remaining = gauge.remaining.saturating_sub(used);
            }
        }
        self.turn(calendar);
        for spent in &mut self.periods {
            spent.requests = spent.requests.saturating_add(1);
            spent.microcents = spent.microcents.saturating_add(estimate.microcents);
        }
    }

    /// Puts what a request admitted at `at` really cost in the place of what was reserved.
    pub(super) fn settle(&mut self, at: Timestamp, estimate: Cost, actual: Cost) {
        for spent in self.periods.iter_mut().filter(|spent| at >= spent.first) {
            let others = spent.microcents.saturating_sub(estimate.microcents);
            spent.microcents = others.saturating_add(actual.microcents);
        }
    }

    /// Takes back a request admitted at `at`.
    pub(super) fn release(&mut self, at: Timestamp, estimate: Cost) {
        for spent in self.periods.iter_mut().filter(|spent| at >= spent.first) {
            spent.requests = spent.requests.saturating_sub(1);
            spent.microcents = spent.microcents.saturating_sub(estimate.microcents);
        }
    }

    /// Counts `n` requests of `at` that cost `cost` together, in those of the present periods they lie in.
    pub(super) fn replay(&mut self, at: Timestamp, n: u64, cost: Cost, calendar: &Calendar) {
        self.turn(calendar);
        for spent in self.periods.iter_mut().filter(|spent| at >= spent.first) {
            spent.requests = spent.requests.saturating_add(n);
            spent.microcents = spent.microcents.saturating_add(cost.microcents);
        }
    }

    /// What is counted in the present periods, by [`Period::index`].
    pub(super) fn spent(&self, calendar: &Calendar) -> [InPeriod; 3] {
        Period::ALL.map(|period| {
            let (starts_at, ends_at) = calendar.bounds[period.index()];
            let Spent { requests, microcents, .. } = self.periods[period.index()].since(starts_at);
            InPeriod { starts_at, ends_at, requests, microcents }
        })
    }

    /// Whether nothing is counted in the present periods. A request in flight that was admitted in one of them
    /// is counted there; the cost of any other no longer matters.
    pub(super) fn is_idle(&self, calendar: &Calendar) -> bool {
        let empty = |spent: Spent| spent.requests == 0 && spent.microcents == 0;
        self.periods.iter().zip(&calendar.bounds).all(|(spent, &(first, _))| empty(spent.since(first)))
    }
}
