//! Slots for requests in flight: held by a node until it lets go of them, or is silent for too long.
//!
//! **Invariant:** a node believes to hold at most what the store has down for it. Every call states how many slots
//! the node wants; from the moment it is sent the node acts as if it had no more than that, as the store may already
//! have lowered them. Numbers of calls rise over all keys of the organization, and an older one changes nothing.

use std::time::Duration;

use super::{Local, SlotsCall, SlotsReply};

/// How long after the last call the node still believes in its slots: well below the 10 s after which the store gives
/// them to others.
pub(super) const LEASE: Duration = Duration::from_secs(8);
/// How often a node with requests in flight says so.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long slots that fell free stay for the next requests while there is plenty.
const LINGER: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait, over all keys.
    pub waiting: u64,
    held: u64,
    until: Local,
    seq: u64,
    answered: u64,
    /// Calls under way: number and slots wanted.
    calls: Vec<(u64, u64)>,
    /// Slots that were nobody's when the store was last asked.
    free: u64,
    /// Since when there have been more than are used.
    spare_since: Option<Local>,
    /// The most in flight since `since`, and in the time before.
    peak: (u64, u64),
    since: Local,
}

impl Slots {
    /// Whether one more request may be in flight.
    pub fn has_room(&self, cap: u64, now: Local) -> bool {
        self.in_flight < self.held.min(cap) && now < self.until
    }

    /// One more in flight.
    pub fn take(&mut self, now: Local) {
        self.in_flight += 1;
        self.turn(now);
        self.peak.0 = self.peak.0.max(self.in_flight);
    }

    /// One less.
    pub fn give_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether slots are held that others could use by now, or the store must hear of this node again; and how soon.
    pub fn tell_within(&mut self, now: Local) -> Option<Duration> {
        if self.until == Local::default() || self.held == 0 {
            return None;
        }
        let spare = self.held.saturating_sub(self.in_flight + self.waiting);
        if spare == 0 {
            self.spare_since = None;
            return (self.in_flight > 0).then(|| self.until.plus(HEARTBEAT).since(now).saturating_sub(LEASE));
        }
        let wait = if self.is_scarce() { Duration::ZERO } else { LINGER };
        Some(self.spare_since.get_or_insert(now).plus(wait).since(now))
    }

    /// What to tell the store; `busy` where a request asks, and not only time has passed.
    pub fn call(&mut self, busy: bool, now: Local) -> SlotsCall {
        self.turn(now);
        self.spare_since = None;
        self.seq = self.seq.max(now.0) + 1;
        let asking = self.in_flight + self.waiting;
        let expected = if busy && !self.is_scarce() { self.peak.0.max(self.peak.1) } else { 0 };
        let wanted = asking.max(expected);
        self.held = self.held.min(wanted);
        self.calls.push((self.seq, wanted));
        SlotsCall { seq: self.seq, wanted, used: self.in_flight, waiting: self.waiting }
    }

    /// The call `seq`, sent at `sent`, was answered.
    pub fn answered(&mut self, seq: u64, sent: Local, reply: Option<SlotsReply>) {
        self.calls.retain(|(number, _)| *number != seq);
        let Some(reply) = reply.filter(|_| seq > self.answered) else { return };
        self.answered = seq;
        let later = self.calls.iter().filter(|(number, _)| *number > seq);
        self.held = later.map(|(_, wanted)| *wanted).fold(reply.held, u64::min);
        self.free = reply.free;
        self.until = self.until.max(sent.plus(LEASE));
    }

    /// The call `seq` will not be answered.
    pub fn lost(&mut self, seq: u64) {
        self.calls.retain(|(number, _)| *number != seq);
    }

    /// The store knows nothing of this node any more, and hears at `now` of what is in flight: the number of that, and
    /// how many slots these take.
    pub fn begin_anew(&mut self, now: Local) -> (u64, u64) {
        self.seq = self.seq.max(now.0) + 1;
        self.answered = self.seq;
        self.held = self.in_flight;
        // In force when the store has heard; until then nothing is claimed by slots.
        self.until = now.plus(LEASE);
        self.spare_since = None;
        (self.seq, self.in_flight)
    }

    fn is_scarce(&self) -> bool {
        self.free < self.held.max(8)
    }

    fn turn(&mut self, now: Local) {
        if now.since(self.since) >= LINGER {
            self.peak = (self.in_flight, self.peak.0);
            self.since = now;
        }
    }
}
