//! What a node holds and owes of one organization: plan, slots, keys.

mod calls;
mod sharing;

use std::collections::VecDeque;
use std::time::Duration;

use ahash::AHashMap;

use super::demand::Demand;
use super::join::Report;
use super::key::{KeyState, Refused};
use super::share::{PLAN, QUOTAS, Share};
use super::sight::{Sight, Spent, Untold};
use super::slots::Slots;
use super::unshipped::{Recent, Tally};
use super::{Count, Entry, Local, Terms};
use crate::domain::account::{Account, Claim, Claimed, Denial, Gauge, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::limit::{Limit, SpendLimit};
use crate::domain::time::Timestamp;
use crate::domain::used::{InUse, KeyUsed};

/// How long a cost may stay unknown to the store where a budget depends on it, and where none does.
const SETTLE_SOON: Duration = Duration::from_millis(5);
const SETTLE_LATER: Duration = Duration::from_secs(1);
/// How long after a call that was not answered the next one is made where nobody waits for it: what the lost one was
/// granted and gave back others may be waiting for.
const AFTER_LOSS: Duration = Duration::from_millis(20);
/// How long it is remembered what went to the record: longer than from an instant of the record that counts are
/// rebuilt from to this node's report.
const SHIPPED_FOR: Duration = Duration::from_secs(10);
/// The epoch of no counts: whoever has something to tell that no counts know must not be granted anything before.
const UNTOLD: u64 = 1;
/// How long after its last use a key is remembered.
const IDLE: Duration = Duration::from_secs(30);

/// What a claim comes to without asking.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the common variant is the large one, on the hot path")]
pub(in crate::stores::counters) enum Answer {
    /// Admitted, on the store's clock. `more`: it is time to ask for more allowances.
    Granted { claimed: Claimed, standing: Standing, more: bool },
    /// Refused, and nothing can have changed since.
    Denied(Denial),
    /// Refused, but others may give back by then: wait, and claim again.
    Later(Local),
    /// The store has to be asked.
    Ask,
}

/// One organization.
#[derive(Clone, Debug, Default)]
pub(in crate::stores::counters) struct Ledger {
    /// When the store's counts were built that this node is counted by; 0 where it is by none.
    pub(super) epoch: u64,
    pub(super) keys: AHashMap<Option<KeyId>, KeyState>,
    slots: Slots,
    refused: Option<Box<Refused>>,
    /// What the store said last of the plan's second and minute.
    seen: Option<Sight<2>>,
    /// Requests in flight at other nodes, as it said last.
    elsewhere: u64,
    /// What it said of keys that have been idle since.
    idle: AHashMap<Option<KeyId>, Sight<4>>,
    /// What this node may admit by itself, where the store is away.
    share: Option<Box<Share>>,
    /// What an earlier process admitted of an organization that the store has said nothing of to this one.
    before: Option<Box<Account>>,
    /// The last use of any key.
    used: Local,
    /// What was admitted of late and the record may not have.
    pub(super) recent: Recent,
    /// What went to the record of late, oldest first.
    pub(super) shipped: VecDeque<Shipped>,
    /// The last batch of which that is forgotten.
    pub(super) forgotten: u64,
    /// The first admission, as long as no counts are known.
    pub(super) untold_since: Option<Timestamp>,
    /// What is being told to counts that were rebuilt.
    pub(super) report: Option<Report>,
}

/// What one batch brought to the record.
#[derive(Clone, Debug)]
pub(super) struct Shipped {
    pub number: u64,
    at: Local,
    pub tally: Tally,
}

impl Ledger {
    /// Admits a request, refuses it, or says that the store has to be asked. `first`: not the same request again.
    pub fn claim(&mut self, claim: &Claim<'_>, first: bool, now: Local) -> Answer {
        let terms = Terms::of(claim);
        self.used = now;
        let key = match self.keys.get_mut(&claim.key) {
            Some(key) => key,
            None => Self::meet(&mut self.keys, &mut self.idle, claim.key),
        };
        if first {
            key.demand.note(now);
        }
        key.terms = terms;
        key.roll(now);
        let slot = terms.caps.concurrency.is_none_or(|cap| self.slots.has_room(cap, now));
        if let Some((at, more)) = slot.then(|| key.spend(&terms, now)).flatten() {
            self.slots.take(now);
            key.unshipped.add(at, terms.estimate);
            self.recent.add(at);
            let claimed = Claimed { key: claim.key, at, estimate: claim.estimate };
            let in_flight = self.slots.in_flight + self.elsewhere;
            let standing = standing(Some(key), self.seen.as_ref(), in_flight, &terms, at);
            return Answer::Granted { claimed, standing, more };
        }
        for refused in [&mut self.refused, &mut key.refused].into_iter().flatten() {
            if !refused.holds(&terms, now) {
                continue;
            }
            // A slot that fell free here may be taken whatever others do.
            if refused.denial.limit == Limit::Concurrency && slot {
                continue;
            }
            if refused.seats > 0 {
                // Whoever is told so claims once more, and takes the seat then.
                refused.seats -= u64::from(!first);
                return Answer::Later(refused.until);
            }
            return Answer::Denied(refused.denial);
        }
        Answer::Ask
    }

    fn meet<'a>(
        keys: &'a mut AHashMap<Option<KeyId>, KeyState>,
        idle: &mut AHashMap<Option<KeyId>, Sight<4>>,
        key: Option<KeyId>,
    ) -> &'a mut KeyState {
        let seen = idle.remove(&key);
        keys.entry(key).or_insert_with(|| KeyState::seen(seen))
    }

    /// What is used of all limits, as far as this node knows.
    pub fn in_use(&self, key: KeyId, at: Timestamp) -> InUse {
        let known = self.keys.get(&Some(key));
        let of_key = known.map_or_else(Untold::default, |key| Untold::of(key.untold()));
        let of_all = Untold::of(self.keys.values().flat_map(KeyState::untold));
        let seen = known.and_then(|key| key.seen).or_else(|| self.idle.get(&Some(key)).copied());
        let (seen, plan) = (seen.unwrap_or_default(), self.seen.unwrap_or_default());
        let [second, minute] = [0, 1].map(|place| plan.used(place, PLAN[place], of_all, at));
        let [total, daily, weekly, monthly] =
            [0, 1, 2, 3].map(|place| seen.used(place, QUOTAS[place], of_key, at));
        let spent = seen.periods(of_key, at);
        InUse {
            in_flight: self.slots.in_flight,
            second,
            minute,
            key: KeyUsed { total: total.count, daily, weekly, monthly, spent },
            organization: plan.periods(of_all, at),
        }
    }

    /// Whether anything is known of `key`.
    pub fn knows(&self, key: Option<KeyId>) -> bool {
        self.keys.contains_key(&key) || self.idle.contains_key(&key)
    }

    /// Keys of which something is known.
    pub fn keys(&self) -> usize {
        self.keys.len() + self.idle.len()
    }

    /// Forgets a key of which nothing is known but a claim that was not admitted.
    pub fn forget(&mut self, key: Option<KeyId>) {
        self.keys.remove(&key);
    }

    /// One more request waits for an allowance of `key`.
    pub fn wait(&mut self, key: Option<KeyId>) {
        self.keys.entry(key).or_default().waiting += 1;
        self.slots.waiting += 1;
    }

    /// One less.
    pub fn leave(&mut self, key: Option<KeyId>) {
        if let Some(key) = self.keys.get_mut(&key) {
            key.waiting = key.waiting.saturating_sub(1);
        }
        self.slots.waiting = self.slots.waiting.saturating_sub(1);
    }

    /// The record has a batch, which held `tally` of this organization.
    pub fn shipped(&mut self, number: u64, tally: Tally, now: Local) {
        let keys = &mut self.keys;
        let of = |key, take: &dyn Fn(&mut super::unshipped::Unshipped)| {
            if let Some(key) = keys.get_mut(&key) {
                take(&mut key.unshipped);
            }
        };
        tally.take_from(of, &mut self.recent);
        self.shipped.push_back(Shipped { number, at: now, tally });
        self.forget_shipped(now);
    }

    fn forget_shipped(&mut self, now: Local) {
        let is_old = |batch: &mut Shipped| now.since(batch.at) >= SHIPPED_FOR;
        while let Some(batch) = self.shipped.pop_front_if(is_old) {
            self.forgotten = batch.number;
        }
    }

    /// Counts a request that was admitted without asking, at `at` on the store's clock as far as it is known.
    pub fn counted(&mut self, claimed: &Claimed, now: Local) {
        self.used = now;
        self.slots.take(now);
        if self.epoch == 0 {
            self.untold_since.get_or_insert(claimed.at);
        }
        let key = Self::meet(&mut self.keys, &mut self.idle, claimed.key);
        key.unshipped.add(claimed.at, claimed.estimate.microcents);
        self.recent.add(claimed.at);
        key.owe(Entry { at: claimed.at, requests: 1, microcents: claimed.estimate.microcents as i64 });
    }

    /// Ends an admitted request. When to look what the store should hear of, where no look is planned as early.
    pub fn settle(&mut self, claimed: &Claimed, actual: Cost, now: Local) -> Option<Local> {
        self.slots.give_back();
        if let Some(share) = &mut self.share {
            share.settle(claimed, actual);
        }
        let key = match self.keys.get_mut(&claimed.key) {
            Some(key) => key,
            None => Self::meet(&mut self.keys, &mut self.idle, claimed.key),
        };
        let microcents = actual.microcents as i64 - claimed.estimate.microcents as i64;
        key.unshipped.cost(claimed.at, microcents);
        key.owe(Entry { at: claimed.at, requests: 0, microcents });
        let soon = if key.terms.has_budget() { SETTLE_SOON } else { SETTLE_LATER };
        let owes = (microcents != 0).then(|| key.owed_since.get_or_insert(now).plus(soon).since(now));
        let slots = key.terms.caps.concurrency.and_then(|_| self.slots.tell_within(now));
        let soon = owes.into_iter().chain(slots).min()?;
        key.plan(now.plus(soon))
    }

    /// Undoes an admission of which nothing came; as [`Ledger::settle`].
    pub fn release(&mut self, claimed: &Claimed, now: Local) -> Option<Local> {
        self.slots.give_back();
        self.refused = None;
        self.recent.take(claimed.at);
        if let Some(share) = &mut self.share {
            share.release(claimed);
        }
        let key = Self::meet(&mut self.keys, &mut self.idle, claimed.key);
        key.unshipped.take(claimed.at, claimed.estimate.microcents);
        key.put_back(claimed.at, claimed.estimate, now);
        key.plan(now.plus(SETTLE_SOON))
    }

    /// Plans a look at `key` by `at`; `None` where one is planned as early.
    pub fn plan(&mut self, key: Option<KeyId>, at: Local) -> Option<Local> {
        self.keys.get_mut(&key)?.plan(at)
    }

    /// Whether a look at `key` that was planned for `planned` is to be taken: no sooner one has taken its place.
    pub fn take_look(&mut self, key: Option<KeyId>, planned: Local) -> bool {
        self.keys.get_mut(&key).is_some_and(|key| key.take_look(planned))
    }

    /// How long until `key` has something to tell by itself: allowances that are over, a cost, slots.
    pub fn due(&mut self, key: Option<KeyId>, now: Local) -> Option<Duration> {
        let state = self.keys.get_mut(&key)?;
        if state.call.is_some() || self.report.is_some() {
            return None;
        }
        state.roll(now);
        if let Some(ends) = state.ends(now) {
            return Some(ends.since(now));
        }
        if let Some((_, from)) = state.renewal(now).filter(|_| self.refused.is_none()) {
            return Some(from.since(now));
        }
        let is_lost = state.acked != state.seq;
        let owes = !state.entries.is_empty() || !state.unacked.is_empty() || is_lost;
        let slots = state.terms.caps.concurrency.and_then(|_| self.slots.tell_within(now));
        let soon = if state.entries.iter().any(|entry| entry.requests != 0) || state.terms.has_budget() {
            Duration::ZERO
        } else if is_lost {
            AFTER_LOSS
        } else {
            SETTLE_LATER
        };
        let owes = owes.then(|| state.owed_since.get_or_insert(now).plus(soon).since(now));
        let spent = state.spent_at.map(|at| at.since(now));
        owes.into_iter().chain(slots).chain(spent).min()
    }

    /// Keys that owe the store something.
    pub fn owing(&self) -> Vec<Option<KeyId>> {
        self.keys.iter().filter(|(_, key)| key.owes() || key.pool.is_some()).map(|(id, _)| *id).collect()
    }

    /// Whether the record has all that was admitted here.
    pub fn is_all_shipped(&self) -> bool {
        self.keys.values().all(|key| key.unshipped.is_empty())
    }

    /// Gives up every allowance, so that the next calls give them back: for the end of the process.
    pub fn close(&mut self, now: Local) {
        for key in self.keys.values_mut() {
            key.give_up(now);
            key.demand = Demand::default();
        }
    }

    /// Forgets keys that have been idle, and owe nothing, but for what was seen of them. Whether nothing else is left.
    /// Numbers of calls are never
    /// below the clock, so that they go on rising when a key comes back.
    pub fn sweep(&mut self, now: Local) -> bool {
        self.forget_shipped(now);
        if now.since(self.used) < IDLE {
            return false;
        }
        self.keys.retain(|id, key| {
            key.roll(now);
            let is_kept = key.call.is_some() || key.owes() || !key.unshipped.is_empty();
            if let (false, Some(seen)) = (is_kept, key.seen) {
                self.idle.insert(*id, seen);
            }
            is_kept
        });
        let is_told = self.report.is_none() && self.shipped.is_empty();
        self.keys.is_empty() && self.slots.in_flight == 0 && is_told
    }
}

/// Where the limits stand at `at`, as the store said last, what is at hand being free.
fn standing(
    key: Option<&KeyState>,
    plan: Option<&Sight<2>>,
    in_flight: u64,
    terms: &Terms,
    at: Timestamp,
) -> Standing {
    let (left, reserved) = key.and_then(|key| key.pool).map_or((0, 0), |pool| (pool.left, pool.reserved()));
    let gauge = |cap: Option<u64>, count: Option<Count>| {
        let (cap, count) = (cap?, count.unwrap_or_default());
        let remaining = cap.saturating_sub(count.sum.saturating_sub(left));
        Some(Gauge { cap, remaining, resets_at: count.next_expiry })
    };
    let [second, minute] = plan.map_or_else(Default::default, |seen| seen.rings);
    let seen = key.and_then(|key| key.seen.as_ref());
    let [total, daily, weekly, monthly] = seen.map_or_else(Default::default, |seen| seen.rings);
    let quotas = terms.quotas;
    let spend = |limit: &Option<SpendLimit>, spent: &dyn Fn(&SpendLimit) -> Option<Spent>| {
        let Some(limit) = limit else { return [None; 2] };
        let spent = spent(limit).unwrap_or_default();
        let (requests, microcents) =
            (spent.requests.saturating_sub(left), spent.microcents.saturating_sub(reserved));
        Gauge::of_spend(limit, requests, microcents, limit.period.bounds(at).1)
    };
    Standing {
        in_flight,
        concurrency: terms.caps.concurrency,
        second: gauge(terms.caps.per_second, second),
        minute: gauge(terms.caps.per_minute, minute),
        quotas: [
            gauge(quotas.total, total),
            gauge(quotas.daily, daily),
            gauge(quotas.weekly, weekly),
            gauge(quotas.monthly, monthly),
        ],
        key_spend: spend(&terms.key_limit, &|limit| seen?.spent(limit, at)),
        org_spend: spend(&terms.org_limit, &|limit| plan?.spent(limit, at)),
    }
}
