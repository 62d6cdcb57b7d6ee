//! What an organization and its keys have used, and the one question asked of it: may this request be
//! admitted?
//!
//! A [`Claim`] names every limit it needs. It is checked against all of them, cheapest answer first, and then
//! committed to all of them, or to none: a refused request spends nothing, so a client that retries too early
//! never pushes its own recovery away.
//!
//! **Invariants.** Everything is counted whether or not it is capped, so that a cap that is added or edited
//! later finds the truth. Caps are arguments, never state. An account's time never runs backwards: a clock that
//! steps back is held at the latest instant seen, and [`Claimed::at`] is the instant that was counted.
//!
//! **Memory** (measured by `benches/limits.rs`). A key that was used in one cell of each window takes 250 bytes,
//! in eight cells 430, around the clock for a month 8 KB; an idle one whose total is all there is to know about
//! 50 (see [`Account::sweep`]). An organization takes about 550 on top.
//!
//! **Deliberately absent:** locks and clocks (the memory counters own both), and who the organization is.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use ahash::AHasher;

use super::cost::Cost;
use super::id::KeyId;
use super::limit::Limit;
use super::spend::{Calendar, Spend};
use super::time::Timestamp;
use super::usage::{KeyUsage, PlanUsage};
use super::used::InUse;

pub use super::claim::{Claim, Claimed, Denial, Gauge, Standing};

#[cfg(test)]
mod tests;

/// Counts of one organization.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The latest instant seen.
    clock: Timestamp,
    calendar: Calendar,
    plan: PlanUsage,
    spend: Spend,
    /// The hasher needs no random seed: this gateway makes the ids, no client chooses them.
    keys: HashMap<KeyId, Counted, BuildHasherDefault<AHasher>>,
}

/// What is counted of a key.
#[derive(Clone, Debug, PartialEq)]
enum Counted {
    /// Its total is all there is to know: it has been idle for a month.
    Total(u64),
    /// Everything. Boxed, so that a growing map of a million keys moves pointers, not counts.
    Usage(Box<KeyUsage>),
}

impl Counted {
    const fn total(&self) -> u64 {
        match self {
            Self::Total(total) => *total,
            Self::Usage(usage) => usage.total,
        }
    }
}

/// Keys that [`Account::sweep`] looks at in one call: about a millisecond among a million keys, most of it spent on
/// walking past those of earlier calls, and a fraction of that among few.
const SWEEP_KEYS: usize = 1_024;

impl Account {
    /// Admits the claim and counts it everywhere, or refuses it and counts nothing.
    ///
    /// # Errors
    /// [`Denial`], naming the first limit in the order of the contract's checks 9 to 12 that has no room.
    #[allow(
        clippy::result_large_err,
        reason = "a refusal tells the standing as an admission does, and is as large"
    )]
    pub fn claim(&mut self, claim: &Claim<'_>, now: Timestamp) -> Result<(Claimed, Standing), Denial> {
        let now = self.advance(now);
        let mut fresh = None;
        let mut usage = claim.key.map(|key| match self.keys.get_mut(&key) {
            Some(Counted::Usage(usage)) => &mut **usage,
            idle => fresh.insert(KeyUsage::new(idle.map_or(0, |idle| idle.total()))),
        });
        let mut standing = self.plan.standing(claim.caps, now);
        if let Some(usage) = &mut usage {
            usage.read(&mut standing, claim, &self.calendar, now);
        }
        standing.org_spend = self.spend.gauges(claim.org_limit, &self.calendar);
        let refused =
            self.plan.refusal(&standing).or_else(|| usage.as_ref()?.refusal(&standing, claim)).or_else(
                || {
                    let names: [fn(_) -> _; 2] = [Limit::OrgRequests, Limit::OrgBudget];
                    Spend::refusal(&standing.org_spend, claim.org_limit, claim.estimate, names)
                },
            );
        if let Some((limit, retry_at)) = refused {
            return Err(Denial { limit, retry_at, standing });
        }

        self.plan.take(&mut standing, now);
        self.spend.take(&mut standing.org_spend, claim.estimate, &self.calendar);
        if let Some(usage) = usage {
            usage.take(&mut standing, claim.estimate, &self.calendar, now);
        }
        if let (Some(key), Some(fresh)) = (claim.key, fresh) {
            self.keys.insert(key, Counted::Usage(Box::new(fresh)));
        }
        Ok((Claimed { key: claim.key, at: now, estimate: claim.estimate }, standing))
    }

    /// Where every capped limit of `claim` stands at `now`, nothing being claimed.
    pub fn standing(&mut self, claim: &Claim<'_>, now: Timestamp) -> Standing {
        let now = self.advance(now);
        let mut standing = self.plan.standing(claim.caps, now);
        if let Some(key) = claim.key {
            let mut idle = KeyUsage::default();
            let usage = match self.keys.get_mut(&key) {
                Some(Counted::Usage(usage)) => usage,
                counted => {
                    idle.total = counted.map_or(0, |counted| counted.total());
                    &mut idle
                }
            };
            usage.read(&mut standing, claim, &self.calendar, now);
        }
        standing.org_spend = self.spend.gauges(claim.org_limit, &self.calendar);
        standing
    }

    /// What is used of every limit at `now`, whether or not anything caps it, nothing being claimed.
    pub fn used(&mut self, key: KeyId, now: Timestamp) -> InUse {
        let now = self.advance(now);
        let (in_flight, second, minute) = self.plan.used(now);
        let key = match self.keys.get_mut(&key) {
            Some(Counted::Usage(usage)) => usage.used(&self.calendar, now),
            idle => KeyUsage::new(idle.map_or(0, |idle| idle.total())).used(&self.calendar, now),
        };
        InUse { in_flight, second, minute, key, organization: self.spend.spent(&self.calendar) }
    }

    /// Ends an admitted request: its slot is free, and `actual` takes the place of what was reserved.
    pub fn settle(&mut self, claimed: &Claimed, actual: Cost) {
        self.plan.settle();
        self.spend.settle(claimed.at, claimed.estimate, actual);
        // Of a key that is down to its total, the periods that this cost belongs to are over.
        if let Some(Counted::Usage(usage)) = claimed.key.and_then(|key| self.keys.get_mut(&key)) {
            usage.settle(claimed.at, claimed.estimate, actual);
        }
    }

    /// Undoes a claim of which nothing came: every count is as if it had not been made.
    pub fn release(&mut self, claimed: &Claimed) {
        self.plan.release(claimed.at);
        self.spend.release(claimed.at, claimed.estimate);
        match claimed.key.and_then(|key| self.keys.get_mut(&key)) {
            Some(Counted::Usage(usage)) => usage.release(claimed.at, claimed.estimate),
            Some(Counted::Total(total)) => *total = total.saturating_sub(1),
            None => {}
        }
    }

    /// Counts `n` requests that were admitted in the five minutes from `at` and cost `cost` together, in the
    /// key's quotas and in all calendar counts: how an account is rebuilt after a restart at `now`. Cells of
    /// quotas are whole multiples of five minutes, so they come out as they were.
    ///
    /// Must be called in the order of time. What the log dates after `now` is counted as of `now`. The plan's
    /// windows are finer and come from [`Account::replay_recent`], the total from [`Account::replay_total`].
    pub fn replay(&mut self, key: Option<KeyId>, at: Timestamp, n: u64, cost: Cost, now: Timestamp) {
        let at = at.min(self.advance(now));
        self.spend.replay(at, n, cost, &self.calendar);
        if let Some(key) = key {
            let mut usage = match self.keys.remove(&key) {
                Some(Counted::Usage(usage)) => usage,
                idle => Box::new(KeyUsage::new(idle.map_or(0, |idle| idle.total()))),
            };
            usage.replay(at, n, cost, &self.calendar);
            self.keys.insert(key, Counted::Usage(usage));
        }
    }

    /// Counts `n` requests admitted at `at` in the plan's windows, as [`Account::replay`] does elsewhere.
    pub fn replay_recent(&mut self, at: Timestamp, n: u64, now: Timestamp) {
        let at = at.min(self.advance(now));
        self.plan.replay(at, n);
    }

    /// Sets what `key` has used in all time: kept apart from [`Account::replay`], as the log forgets and a total
    /// must not.
    pub fn replay_total(&mut self, key: KeyId, total: u64) {
        match self.keys.get_mut(&key) {
            Some(Counted::Usage(usage)) => usage.total = total,
            _ => drop(self.keys.insert(key, Counted::Total(total))),
        }
    }

    /// Forgets what `key` has used: for one that will never be asked about again.
    pub fn forget(&mut self, key: KeyId) -> bool {
        self.keys.remove(&key).is_some()
    }

    /// Gives back the memory of keys that have gone idle: of one whose windows and present periods are empty
    /// only the total is kept. Looks at a bounded number of keys, from place `from` of the map, so that no lock
    /// is held for long; returns the place to go on from, or `None` at the end.
    pub fn sweep(&mut self, from: usize, now: Timestamp) -> Option<usize> {
        let now = self.advance(now);
        let mut unused = Vec::new();
        let mut seen = 0;
        for (key, counted) in self.keys.iter_mut().skip(from).take(SWEEP_KEYS) {
            seen += 1;
            if let Counted::Usage(usage) = counted {
                usage.shrink(now);
                if usage.is_idle(&self.calendar, now) {
                    *counted = Counted::Total(counted.total());
                }
            }
            if *counted == Counted::Total(0) {
                unused.push(*key);
            }
        }
        unused.iter().for_each(|key| drop(self.keys.remove(key)));
        if seen == SWEEP_KEYS {
            return Some(from + seen - unused.len());
        }
        if self.keys.capacity() > 4 * self.keys.len() {
            self.keys.shrink_to_fit();
        }
        None
    }

    /// Whether there is nothing to remember at `now`.
    pub fn is_idle(&mut self, now: Timestamp) -> bool {
        let now = self.advance(now);
        self.keys.is_empty() && self.plan.is_idle(now) && self.spend.is_idle(&self.calendar)
    }

    /// Keys with counts or a total.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.clock = self.clock.max(now);
        self.calendar.turn(self.clock);
        self.clock
    }
}
