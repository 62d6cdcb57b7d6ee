//! What a node does when it is asked for something: what `ask` does, without waiting.

use std::time::Duration;

use super::events::Event;
use super::{AT_ONCE, Answer, Claim, Claimed, Cost, ESTIMATE, KeyId, Local, Simulation, Timestamp, name};

impl Simulation {
    pub(super) fn claim(&mut self, node: usize, key: KeyId, tries: u32) {
        let now = self.local(node);
        let claim = Claim {
            key: Some(key),
            caps: self.world.caps,
            quotas: self.world.quotas,
            key_limit: None,
            org_limit: None,
            estimate: Cost { credits: 1, microcents: ESTIMATE },
        };
        let life = self.nodes[node].life;
        if self.nodes[node].joining.is_some() && !self.world.has_caps() && self.random.chance(30) {
            // Nobody minds how much a share is.
            let at = Timestamp::from_micros(self.redis_began + self.now);
            let claimed = Claimed { key: Some(key), at, estimate: claim.estimate };
            self.nodes[node].ledger.counted(&claimed, now);
            return self.admit(node, life, key, claimed);
        }
        let ledger = &mut self.nodes[node].ledger;
        let mut answer = ledger.claim(&claim, tries == 0, now);
        if tries == 0 && matches!(answer, Answer::Later(_) | Answer::Ask) {
            // What is not answered at once is claimed again by whoever waits.
            answer = ledger.claim(&claim, false, now);
        }
        match answer {
            Answer::Granted { claimed, more, .. } => {
                // The cell in which it is counted must not have ended, by Redis's clock.
                let counted = self.nodes[node].ledger.counted_in(Some(key)).unwrap();
                let cell = (self.redis_began + self.now) / 50_000;
                assert!(counted >= cell, "seed {}: spent in cell {cell}, counted in {counted}", self.seed);
                self.admit(node, life, key, claimed);
                if more {
                    self.send(node, Some(key));
                }
            }
            Answer::Denied(_) => {}
            Answer::Later(until) => {
                // A node sleeps by the clock that it looks at then.
                let wait = until.since(now).as_micros() as u64;
                let wait = wait + wait / 4_000 + 1;
                self.after(wait, Event::Again { node, life, key, tries: tries + 1 });
            }
            Answer::Ask if tries < 40 => {
                self.nodes[node].ledger.wait(Some(key));
                *self.nodes[node].waiting.entry(key).or_default() += 1;
                self.send(node, Some(key));
            }
            Answer::Ask => assert!(!self.world.is_calm(), "a request waits for ever"),
        }
    }

    pub(super) fn admit(&mut self, node: usize, life: u64, key: KeyId, claimed: Claimed) {
        let released = self.random.chance(self.world.released);
        // Most are short.
        let flight = self.random.below(self.world.in_flight);
        let flight = if self.random.chance(80) { flight.min(self.random.below(200_000)) } else { flight };
        let request = self.number;
        self.after(flight, Event::End { node, life, claimed, released, request });
        let log = self.logs.entry(name(node, life)).or_default();
        log.open.insert(request, (key, claimed.at));
        self.nodes[node].in_flight += 1;
        let in_flight: u64 = self.nodes.iter().map(|node| node.in_flight).sum();
        let cap = self.world.caps.concurrency.unwrap_or(u64::MAX);
        assert!(in_flight <= cap, "seed {}: {in_flight} of {cap} in flight; {:?}", self.seed, self.world);
        if released {
            // Nothing comes of it: it must not count, nor does the list hold it.
            return;
        }
        self.admitted.entry(key).or_default().push(self.now);
    }

    /// Whether there was something to ask or tell.
    pub(super) fn send(&mut self, node: usize, key: Option<KeyId>) -> bool {
        let now = self.local(node);
        let life = self.nodes[node].life;
        if self.nodes[node].joining.is_some() {
            return false;
        }
        let Some(call) = self.nodes[node].ledger.call(key, now) else { return false };
        self.calls += 1;
        self.after(self.world.patience, Event::GivesUp { node, life, key, seq: call.seq });
        if !self.random.chance(self.world.loss) {
            let delay = self.random.below(self.world.delay);
            self.after(delay, Event::Arrives { node, life, call });
        }
        true
    }

    /// The call under way has ended: who waited claims again, and what is due is looked after.
    pub(super) fn wake(&mut self, node: usize, key: Option<KeyId>) {
        let now = self.local(node);
        if self.nodes[node].joining.is_some() {
            // Until that is over.
            return;
        }
        let life = self.nodes[node].life;
        if let Some(key) = key {
            for tries in 0..self.nodes[node].waiting.remove(&key).unwrap_or(0) {
                self.nodes[node].ledger.leave(Some(key));
                let tries = 1 + tries.min(1);
                self.after(0, Event::Again { node, life, key, tries });
            }
        }
        if let Some(due) = self.nodes[node].ledger.due(key, now) {
            self.look_after(node, key, now.plus(due));
        }
    }

    pub(super) fn look_after(&mut self, node: usize, key: Option<KeyId>, at: Local) {
        if let Some(planned) = self.nodes[node].ledger.plan(key, at) {
            self.look_at(node, key, planned);
        }
    }

    pub(super) fn look_at(&mut self, node: usize, key: Option<KeyId>, planned: Local) {
        let wait = planned.since(self.local(node)).as_micros() as u64 + 1;
        let life = self.nodes[node].life;
        self.after(wait, Event::Look { node, life, key, planned });
    }

    pub(super) fn look(&mut self, node: usize, life: u64, key: Option<KeyId>, planned: Local) {
        let is_due = self.lives(node, life) && self.nodes[node].ledger.take_look(key, planned);
        if !is_due || self.nodes[node].joining.is_some() {
            return;
        }
        let now = self.local(node);
        let due = self.nodes[node].ledger.due(key, now);
        let waits = key.is_some_and(|key| self.nodes[node].waiting.contains_key(&key));
        if (waits || due.is_some_and(|due| due <= AT_ONCE)) && self.send(node, key) {
            return;
        }
        // When all is over, only what is owed is of interest, and no sign of life.
        if let Some(due) = due.filter(|due| !self.is_over() || *due < Duration::from_secs(2)) {
            self.look_after(node, key, now.plus(due.max(AT_ONCE)));
        }
    }
}
