//! What a node holds and owes of one organization: plan, slots, keys.

use std::time::Duration;

use std::collections::VecDeque;

use ahash::AHashMap;

use super::demand::Demand;
use super::join::Report;
use super::key::{KeyState, Refused, Sent};
use super::slots::Slots;
use super::unshipped::{Recent, Tally};
use super::{Call, Count, Entry, Local, Reply, Terms};
use crate::domain::account::{Claim, Claimed, Denial, Gauge, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::limit::Limit;
use crate::domain::time::Timestamp;

/// How long a cost may stay unknown to the store where a budget depends on it, and where none does.
const SETTLE_SOON: Duration = Duration::from_millis(5);
const SETTLE_LATER: Duration = Duration::from_secs(1);
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
    refused: Option<Refused>,
    /// The plan's second and minute, and in flight elsewhere.
    plan: Plan,
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

/// The trailing second and minute, and how many requests are in flight at other nodes.
type Plan = ([Count; 2], u64);

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
            None => self.keys.entry(claim.key).or_default(),
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
            let standing = standing(Some(key), &self.slots, &self.plan, &terms);
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
                refused.seats -= 1;
                return Answer::Later(refused.until);
            }
            return Answer::Denied(refused.denial);
        }
        Answer::Ask
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

    /// The next call for `key`; `None` while one is under way, or where there is nothing to say.
    pub fn call(&mut self, key: Option<KeyId>, now: Local) -> Option<Call> {
        let id = key;
        let key = self.keys.get_mut(&key)?;
        if key.call.is_some() || self.report.is_some() {
            return None;
        }
        key.roll(now);
        let left = key.pool.map_or(0, |pool| pool.left);
        let waiting = key.waiting.saturating_sub(left);
        let asks = key.waiting > 0 || key.pool.is_some();
        let renewal = if self.refused.is_none() { key.renewal(now) } else { 0 };
        let rate = if asks { key.demand.per_cell(now) } else { renewal };
        let capped = key.terms.caps.concurrency.is_some();
        let tells = capped && self.slots.tell_within(now).is_some();
        if !asks && rate == 0 && !key.owes() && !tells {
            return None;
        }
        (key.owed_since, key.is_over) = (None, false);
        if key.seq == 0 {
            // The store may remember this node's calls from before the key was forgotten here, all of them answered.
            key.acked = now.0;
        }
        key.seq = key.seq.max(now.0) + 1;
        let seq = key.seq;
        // What is owed is told only to counts that are known: others may have it from the log.
        if self.epoch != 0 {
            key.unacked.extend(key.entries.drain(..).map(|entry| (seq, entry)));
        }
        let slots = capped.then(|| self.slots.call(asks, now));
        key.call =
            Some(Sent { seq, at: now, waiting, terms: key.terms, slots: slots.map(|slots| slots.seq) });
        Some(Call {
            key: id,
            epoch: if self.epoch == 0 && self.untold_since.is_some() { UNTOLD } else { self.epoch },
            seq,
            acked: key.acked,
            waiting,
            rate,
            left,
            terms: key.terms,
            slots,
            entries: key.unacked.clone(),
        })
    }

    /// The answer to call `seq` for `key`, which has arrived at `now`.
    pub fn answered(&mut self, key: Option<KeyId>, seq: u64, reply: &Reply, now: Local) {
        // Granted by counts that have been lost since: it is counted nowhere, and so it must not be spent.
        let done = match reply {
            Reply::Done(done) if self.epoch == 0 || self.epoch == done.epoch => **done,
            _ => return self.lost(key, seq),
        };
        let Some(state) = self.keys.get_mut(&key) else { return };
        let Some(sent) = state.call.take_if(|sent| sent.seq == seq) else { return };
        state.acked = seq;
        state.unacked.clear();
        self.epoch = done.epoch;
        self.untold_since = None;
        state.granted(&sent, &done, now);
        state.seen = Some(done);
        self.plan = ([done.counts[0], done.counts[1]], done.in_flight);
        if let Some(slots) = sent.slots {
            self.slots.answered(slots, sent.at, done.slots);
        }
        let refused = done.refused.map(|(limit, retry_at)| {
            let standing = standing(self.keys.get(&key), &self.slots, &self.plan, &sent.terms);
            Refused::new(Denial { limit, retry_at, standing }, sent.terms, &done, now)
        });
        let Some(state) = self.keys.get_mut(&key) else { return };
        match refused {
            Some(refused) if of_the_key(refused.denial.limit) => state.refused = Some(refused),
            Some(refused) => self.refused = Some(refused),
            None => (state.refused, self.refused) = (None, None),
        }
    }

    /// The counts that this node is counted by.
    #[cfg(test)]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether call `seq` for `key` is under way.
    #[cfg(test)]
    pub fn is_waiting_for(&self, key: Option<KeyId>, seq: u64) -> bool {
        self.keys.get(&key).and_then(|key| key.call).is_some_and(|call| call.seq == seq)
    }

    /// The cell in which the allowances at hand for `key` are counted.
    #[cfg(test)]
    pub fn counted_in(&self, key: Option<KeyId>) -> Option<u64> {
        self.keys.get(&key)?.pool.as_ref().map(super::key::Pool::cell)
    }

    /// Nobody will answer call `seq` for `key`, carried out or not.
    pub fn lost(&mut self, key: Option<KeyId>, seq: u64) {
        let Some(key) = self.keys.get_mut(&key) else { return };
        let Some(sent) = key.call.take_if(|sent| sent.seq == seq) else { return };
        if let Some(slots) = sent.slots {
            self.slots.lost(slots);
        }
    }

    /// From now on this node is counted by other counts, to which it reports: what was granted before is no longer
    /// counted, and what is owed is in the report. What to tell of slots.
    pub(super) fn begin(&mut self, epoch: u64, now: Local) -> (u64, u64) {
        self.epoch = epoch;
        self.untold_since = None;
        for key in self.keys.values_mut() {
            (key.pool, key.refused) = (None, None);
            key.unacked.clear();
            key.entries.clear();
            key.acked = key.seq;
        }
        self.refused = None;
        self.slots.begin_anew(now)
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
        let key = self.keys.entry(claimed.key).or_default();
        key.unshipped.add(claimed.at, claimed.estimate.microcents);
        self.recent.add(claimed.at);
        key.owe(Entry { at: claimed.at, requests: 1, microcents: claimed.estimate.microcents as i64 });
    }

    /// Ends an admitted request. When to look what the store should hear of, where no look is planned as early.
    pub fn settle(&mut self, claimed: &Claimed, actual: Cost, now: Local) -> Option<Local> {
        self.slots.give_back();
        let key = self.keys.entry(claimed.key).or_default();
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
        let key = self.keys.entry(claimed.key).or_default();
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
        if let Some(pool) = &state.pool {
            return Some(pool.ends.since(now));
        }
        if self.refused.is_none() && state.renewal(now) > 0 {
            return Some(Duration::ZERO);
        }
        let owes = state.owes();
        let slots = state.terms.caps.concurrency.and_then(|_| self.slots.tell_within(now));
        let soon = if state.entries.iter().any(|entry| entry.requests != 0) || state.terms.has_budget() {
            Duration::ZERO
        } else {
            SETTLE_LATER
        };
        let owes = owes.then(|| state.owed_since.get_or_insert(now).plus(soon).since(now));
        owes.into_iter().chain(slots).min()
    }

    /// Keys that owe the store something.
    pub fn owing(&self) -> Vec<Option<KeyId>> {
        self.keys.iter().filter(|(_, key)| key.owes() || key.pool.is_some()).map(|(id, _)| *id).collect()
    }

    /// Gives up every allowance, so that the next calls give them back: for the end of the process.
    pub fn close(&mut self, now: Local) {
        for key in self.keys.values_mut() {
            if let Some(pool) = &mut key.pool {
                pool.ends = now;
            }
            key.roll(now);
            key.demand = Demand::default();
        }
    }

    /// Forgets keys that have been idle, and owe nothing. Whether nothing at all is left. Numbers of calls are never
    /// below the clock, so that they go on rising when a key comes back.
    pub fn sweep(&mut self, now: Local) -> bool {
        self.forget_shipped(now);
        if now.since(self.used) < IDLE {
            return false;
        }
        self.keys.retain(|_, key| {
            key.roll(now);
            key.call.is_some() || key.owes() || !key.unshipped.is_empty()
        });
        let is_told = self.report.is_none() && self.shipped.is_empty();
        self.keys.is_empty() && self.slots.in_flight == 0 && is_told
    }
}

/// Where the limits stand, as the store said last, what is at hand being free.
fn standing(key: Option<&KeyState>, slots: &Slots, plan: &Plan, terms: &Terms) -> Standing {
    let left = key.and_then(|key| key.pool).map_or(0, |pool| pool.left);
    let gauge = |cap: Option<u64>, count: Count| {
        let cap = cap?;
        let remaining = cap.saturating_sub(count.sum.saturating_sub(left));
        Some(Gauge { cap, remaining, resets_at: count.next_expiry })
    };
    let ([second, minute], elsewhere) = *plan;
    let counts = key.and_then(|key| key.seen).map_or_else(Default::default, |seen| seen.counts);
    let quotas = terms.quotas;
    Standing {
        in_flight: slots.in_flight + elsewhere,
        concurrency: terms.caps.concurrency,
        second: gauge(terms.caps.per_second, second),
        minute: gauge(terms.caps.per_minute, minute),
        quotas: [
            gauge(quotas.total, counts[2]),
            gauge(quotas.daily, counts[3]),
            gauge(quotas.weekly, counts[4]),
            gauge(quotas.monthly, counts[5]),
        ],
    }
}

/// Whether a limit is that of a key, and says nothing of others.
const fn of_the_key(limit: Limit) -> bool {
    matches!(
        limit,
        Limit::Total
            | Limit::Daily
            | Limit::Weekly
            | Limit::Monthly
            | Limit::KeyRequests(_)
            | Limit::KeyBudget(_)
    )
}
