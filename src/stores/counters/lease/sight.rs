//! What a node saw counted when the store last answered, or in the log where it never did, and for how long that says
//! something.

use super::{Count, Done, Entry};
use crate::domain::limit::SpendLimit;
use crate::domain::ring::Window;
use crate::domain::time::{Period, Timestamp};
use crate::domain::used::{InPeriod, InUse, KeyUsed, Used};

/// Requests and microcents of one calendar period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::stores::counters) struct Spent {
    pub requests: u64,
    pub microcents: u64,
}

/// What calls for a key, or an organization, saw last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<const RINGS: usize> {
    at: Timestamp,
    /// Of an organization the trailing second and minute; of a key its quotas: total, daily, weekly, monthly. `None` where
    /// the log had nothing, as where all has rolled out of the window: a node is then bound by its part of the cap.
    pub rings: [Option<Count>; RINGS],
    /// By [`Period::index`].
    spent: [Spent; 3],
}

/// What a node has admitted and the store does not count yet, less what it counts and will get back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    pub requests: i64,
    pub microcents: i64,
}

impl Untold {
    pub fn add(&mut self, requests: i64, microcents: i64) {
        self.requests = self.requests.saturating_add(requests);
        self.microcents = self.microcents.saturating_add(microcents);
    }

    /// What `entries` come to.
    pub fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut untold = Self::default();
        entries.for_each(|entry| untold.add(entry.requests, entry.microcents));
        untold
    }
}

impl<const RINGS: usize> Default for Sight<RINGS> {
    fn default() -> Self {
        Self { at: Timestamp::default(), rings: [None; RINGS], spent: Default::default() }
    }
}

impl Sight<2> {
    /// Of an organization.
    pub fn of_organization(done: &Done) -> Self {
        Self { at: done.now, rings: [done.counts[0], done.counts[1]].map(Some), spent: done.spent[1] }
    }

    /// Of an organization, as the log had it counted at `at`.
    pub fn of_logged(logged: &InUse, at: Timestamp) -> Self {
        Self { at, rings: [logged.second, logged.minute].map(count), spent: logged.organization.map(spent) }
    }
}

impl Sight<4> {
    /// Of a key.
    pub fn of_key(done: &Done) -> Self {
        let [_, _, total, daily, weekly, monthly] = done.counts;
        Self { at: done.now, rings: [total, daily, weekly, monthly].map(Some), spent: done.spent[0] }
    }

    /// Of a key, as the log had it counted at `at`.
    pub fn of_logged(logged: &KeyUsed, at: Timestamp) -> Self {
        let total = count(Used { count: logged.total, resets_at: None });
        let [daily, weekly, monthly] = [logged.daily, logged.weekly, logged.monthly].map(count);
        Self { at, rings: [total, daily, weekly, monthly], spent: logged.spent.map(spent) }
    }
}

fn count(used: Used) -> Option<Count> {
    (used.count > 0).then_some(Count { sum: used.count, next_expiry: used.resets_at })
}

const fn spent(period: InPeriod) -> Spent {
    Spent { requests: period.requests, microcents: period.microcents }
}

impl<const RINGS: usize> Sight<RINGS> {
    /// What counted in a rolling window, until all of that has rolled out of it; `None` is all time.
    pub fn ring(&self, place: usize, window: Option<Window>, now: Timestamp) -> Option<u64> {
        let counts = self.ends(window).is_none_or(|ends| now < ends);
        self.rings[place].filter(|_| counts).map(|count| count.sum)
    }

    /// When all that was seen in a rolling window has rolled out of it; never of all time.
    pub fn ends(&self, window: Option<Window>) -> Option<Timestamp> {
        let window = window?;
        let cell = window.cell().as_micros() as u64;
        let first = Timestamp::from_micros(self.at.micros() / cell * cell);
        Some(first.plus(window.cell()).plus(window.span()))
    }

    /// What counted in the period that `limit` is for, until that ends.
    pub fn spent(&self, limit: &SpendLimit, now: Timestamp) -> Option<Spent> {
        (now < limit.period.bounds(self.at).1).then(|| self.spent[limit.period.index()])
    }

    /// The store counts all that was untold.
    pub fn is_told(&mut self, untold: Untold) {
        for count in &mut self.rings {
            let count = count.get_or_insert_default();
            count.sum = count.sum.saturating_add_signed(untold.requests);
        }
        for spent in &mut self.spent {
            spent.requests = spent.requests.saturating_add_signed(untold.requests);
            spent.microcents = spent.microcents.saturating_add_signed(untold.microcents);
        }
    }

    /// What is used of a rolling window, as far as this node knows.
    pub fn used(&self, place: usize, window: Option<Window>, untold: Untold, now: Timestamp) -> Used {
        let seen = self.ring(place, window, now);
        let resets_at =
            seen.and(self.rings[place]).and_then(|count| count.next_expiry).filter(|at| *at > now);
        Used { count: seen.unwrap_or(0).saturating_add_signed(untold.requests), resets_at }
    }

    /// What is used of the present periods, as far as this node knows.
    pub fn periods(&self, untold: Untold, now: Timestamp) -> [InPeriod; 3] {
        Period::ALL.map(|period| {
            let (starts_at, ends_at) = period.bounds(now);
            let seen = if self.at >= starts_at { self.spent[period.index()] } else { Spent::default() };
            InPeriod {
                starts_at,
                ends_at,
                requests: seen.requests.saturating_add_signed(untold.requests),
                microcents: seen.microcents.saturating_add_signed(untold.microcents),
            }
        })
    }
}
