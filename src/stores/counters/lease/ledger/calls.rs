//! What the store is asked and told, and what becomes of its answers.

use super::super::key::{Refused, Sent};
use super::super::sight::Sight;
use super::super::{Call, Local, Reply};
use super::{Ledger, UNTOLD, standing};
use crate::domain::account::Denial;
use crate::domain::id::KeyId;
use crate::domain::limit::Limit;

impl Ledger {
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
        let renewal = if self.refused.is_none() { key.renewal(now) } else { None };
        if renewal.is_some_and(|(_, from)| from > now) {
            // Whoever waits does so for the allowances of the next cell, which a look will ask for.
            return None;
        }
        let rate = if asks { key.demand.per_cell(now) } else { renewal.map_or(0, |(rate, _)| rate) };
        let capped = key.terms.caps.concurrency.is_some();
        let tells = capped && self.slots.tell_within(now).is_some();
        if !asks && rate == 0 && !key.owes() && !tells {
            return None;
        }
        (key.owed_since, key.is_over, key.spent_at) = (None, None, None);
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
            Some(Sent { seq, at: now, waiting, left, terms: key.terms, slots: slots.map(|slots| slots.seq) });
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

    /// The answer to call `seq` for `key`, which has arrived at `now`. `next`: about when the cell ends that it was
    /// counted in.
    pub fn answered(&mut self, key: Option<KeyId>, seq: u64, reply: &Reply, next: Local, now: Local) {
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
        state.granted(&sent, &done, next, now);
        state.seen = Some(Sight::of_key(&done));
        (self.seen, self.elsewhere) = (Some(Sight::of_organization(&done)), done.in_flight);
        if let Some(slots) = sent.slots {
            self.slots.answered(slots, sent.at, done.slots);
        }
        let refused = done.refused.map(|(limit, retry_at)| {
            let in_flight = self.slots.in_flight + self.elsewhere;
            let standing =
                standing(self.keys.get(&key), self.seen.as_ref(), in_flight, &sent.terms, done.now);
            Box::new(Refused::new(Denial { limit, retry_at, standing }, sent.terms, &done, now))
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
        self.keys.get(&key)?.pool.as_ref().map(super::super::key::Pool::cell)
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
    /// counted, and what is owed is in the report. A call that was lost may have been granted something by these very
    /// counts, where they were there before this node knew any: that is still to be taken back. What to tell of slots.
    pub(in crate::stores::counters::lease) fn begin(&mut self, epoch: u64, now: Local) -> (u64, u64) {
        self.epoch = epoch;
        self.untold_since = None;
        for key in self.keys.values_mut() {
            (key.pool, key.refused, key.spent_at) = (None, None, None);
            let untold = key.is_told();
            if let Some(seen) = &mut self.seen {
                seen.is_told(untold);
            }
        }
        self.refused = None;
        self.slots.begin_anew(now)
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
