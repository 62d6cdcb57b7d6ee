//! What is known of a master besides counts: its clock, the nodes that speak to it, and whether it was lost lately.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::lease::Nodes;
use super::{Local, local};
use crate::clock;
use crate::domain::account::{Gauge, Standing};
use crate::domain::time::Timestamp;

/// How long after a master is back this node's share holds beside its leases.
const CAREFUL: Duration = Duration::from_secs(2);
/// For how long its clock is known by one quick answer: clocks part by some 0.2 ms meanwhile.
const BELIEVED: Duration = Duration::from_secs(1);
/// For how long after organizations were rebuilt more of them are expected to be.
const REBUILDING: Duration = Duration::from_secs(1);

/// What a master's last answers told.
#[derive(Debug)]
pub(super) struct Known {
    names: Mutex<Names>,
    /// Nodes that were there when it was last asked, and this one's place among them.
    nodes: AtomicU64,
    place: AtomicU64,
    /// Its clock less the local one, in microseconds; by the quickest of its last answers, how long that took, and until
    /// when that is held to be the best.
    offset: AtomicI64,
    took: AtomicU64,
    believed_until: AtomicU64,
    /// How far the local clock was ahead of it at most, by the answer that says the least, and until when that is held to
    /// be the best.
    behind: AtomicI64,
    behind_until: AtomicU64,
    /// The local instant until which this node's share holds beside leases, in microseconds.
    careful_until: AtomicU64,
    /// Whether something may have been counted without it that it was not told yet.
    is_owed: AtomicBool,
    /// The local instant at which it was found empty.
    emptied_at: AtomicU64,
    /// The last instant of its clock of which organizations are known that were rebuilt then.
    rebuilt_until: AtomicU64,
    /// The instants of its clock at which this node said so itself, since then.
    announced: Mutex<Vec<u64>>,
    /// When this node last said to it that it is there.
    greeted: AtomicU64,
    /// The local instant until which organizations are expected to be rebuilt.
    rebuilding_until: AtomicU64,
}

/// Who speaks to a master.
#[derive(Debug, Default)]
struct Names {
    /// All who have.
    spoken: Vec<String>,
    /// Who had before it was found empty, and has not since.
    missing: Vec<String>,
    /// When that was, on its clock; 0 where it was not.
    emptied: u64,
}

impl Known {
    /// Nothing but how many nodes there were when this one was last there.
    pub fn from_before(nodes: Nodes) -> Self {
        Self {
            names: Mutex::default(),
            nodes: nodes.count.into(),
            place: nodes.place.into(),
            // Until it is asked, its clock is taken to be this machine's.
            offset: (clock::now().micros() as i64 - local().0 as i64).into(),
            took: 0.into(),
            believed_until: 0.into(),
            behind: 0.into(),
            behind_until: 0.into(),
            careful_until: 0.into(),
            is_owed: false.into(),
            emptied_at: 0.into(),
            rebuilt_until: 0.into(),
            announced: Mutex::default(),
            greeted: 0.into(),
            rebuilding_until: 0.into(),
        }
    }

    /// Nodes, and the place of this one among them.
    pub fn nodes(&self) -> Nodes {
        Nodes { count: self.nodes.load(Ordering::Relaxed).max(1), place: self.place.load(Ordering::Relaxed) }
    }

    /// Takes over what is known of the master that had its part before.
    pub fn as_of(&self, before: &Self) {
        let Nodes { count, place } = before.nodes();
        self.nodes.store(count, Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
        self.offset.store(before.offset.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// So many nodes have spoken of late. Just after an outage, or where it knew of none, the others may not have yet:
    /// there are as many as there were.
    pub fn heard_of(&self, nodes: u64, place: u64, at: Local) {
        let is_complete = !self.is_careful(at) && !self.was_emptied_within(CAREFUL);
        if nodes >= self.nodes.load(Ordering::Relaxed) || is_complete {
            self.nodes.store(nodes, Ordering::Relaxed);
            self.place.store(place, Ordering::Relaxed);
        }
    }

    /// Its clock showed `clock` at some instant between `sent` and now.
    pub fn showed(&self, clock: Timestamp, sent: Local) {
        let now = local();
        let took = now.since(sent).as_micros() as u64;
        let is_better = took <= self.took.load(Ordering::Relaxed);
        if is_better || now.0 >= self.believed_until.load(Ordering::Relaxed) {
            let between = sent.0 + took / 2;
            self.offset.store(clock.micros() as i64 - between as i64, Ordering::Relaxed);
            self.took.store(took, Ordering::Relaxed);
            self.believed_until.store(now.plus(BELIEVED).0, Ordering::Relaxed);
        }
        let behind = now.0 as i64 - clock.micros() as i64;
        let is_least = behind <= self.behind.load(Ordering::Relaxed);
        if is_least || now.0 >= self.behind_until.load(Ordering::Relaxed) {
            self.behind.store(behind, Ordering::Relaxed);
            self.behind_until.store(now.plus(BELIEVED).0, Ordering::Relaxed);
        }
    }

    /// A local instant, as early as is known here, at which it shows `clock` or more. After an answer.
    pub fn local_after(&self, clock: Timestamp) -> Local {
        Local(clock.micros().saturating_add_signed(self.behind.load(Ordering::Relaxed)))
    }

    /// Its clock, as far as it is known here.
    pub fn now(&self, at: Local) -> Timestamp {
        Timestamp::from_micros(at.0.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    /// An instant of its clock on the clock that showed `now` a moment ago, as clients and headers know it.
    pub fn here(&self, at: Timestamp, now: Timestamp) -> Timestamp {
        back(at, self.ahead(now))
    }

    /// How far its clock is ahead of the one that showed `now` a moment ago, in microseconds.
    fn ahead(&self, now: Timestamp) -> i64 {
        self.now(local()).micros() as i64 - now.micros() as i64
    }

    /// As [`Known::here`], for every instant of a standing.
    pub fn as_seen_here(&self, standing: &mut Standing, now: Timestamp) {
        let ahead = self.ahead(now);
        let move_over = |gauge: &mut Option<Gauge>| {
            if let Some(at) = gauge.as_mut().and_then(|gauge| gauge.resets_at.as_mut()) {
                *at = back(*at, ahead);
            }
        };
        let Standing { second, minute, quotas, key_spend, org_spend, .. } = standing;
        let gauges = [second, minute].into_iter().chain(quotas).chain(key_spend).chain(org_spend);
        gauges.for_each(move_over);
    }

    /// From now on, for a while, this node's share holds beside its leases.
    pub fn be_careful(&self) {
        self.is_owed.store(true, Ordering::Relaxed);
        self.careful_until.store(local().plus(CAREFUL).0, Ordering::Relaxed);
    }

    /// Whether this node's share holds beside its leases.
    pub fn is_careful(&self, at: Local) -> bool {
        at.0 < self.careful_until.load(Ordering::Relaxed)
    }

    /// Whether it has to be told what was counted without it; says so once.
    pub fn take_owed(&self) -> bool {
        self.is_owed.swap(false, Ordering::Relaxed)
    }

    /// Whether this node has to say that it is there; says so once in `every`.
    pub fn take_greeting(&self, every: Duration) -> bool {
        let now = local();
        // A beat comes a little late, never early.
        let is_due = now.plus(every / 10).since(Local(self.greeted.load(Ordering::Relaxed))) >= every;
        if is_due {
            self.greeted.store(now.0, Ordering::Relaxed);
        }
        is_due
    }

    /// These nodes speak to it at `now`, on its clock. At `emptied`, where that is not 0, it knew of none: then those
    /// that it knew before may only not have spoken yet.
    pub fn names_are(&self, spoken: Vec<String>, emptied: u64, now: Timestamp) {
        let mut known = self.names.lock();
        if emptied != known.emptied {
            known.emptied = emptied;
            let before = std::mem::take(&mut known.spoken);
            known.missing.extend(before);
        }
        if emptied == 0 {
            known.missing.clear();
        } else {
            known.missing.retain(|name| !spoken.contains(name));
            let ago = now.since(Timestamp::from_micros(emptied)).as_micros() as u64;
            self.emptied_at.store(local().0.saturating_sub(ago).max(1), Ordering::Relaxed);
        }
        known.spoken = spoken;
    }

    /// The names of all nodes.
    pub fn names(&self) -> Vec<String> {
        let known = self.names.lock();
        known.spoken.iter().chain(&known.missing).cloned().collect()
    }

    /// How long ago it was found empty, where it was.
    pub fn emptied_ago(&self) -> Option<Duration> {
        let at = self.emptied_at.load(Ordering::Relaxed);
        (at > 0).then(|| local().since(Local(at)))
    }

    /// The instant of its clock since when organizations may have been rebuilt that nobody has said so of.
    pub fn rebuilt_until(&self) -> u64 {
        self.rebuilt_until.load(Ordering::Relaxed)
    }

    /// Organizations are known that were rebuilt until then.
    pub fn knows_rebuilt_until(&self, at: u64) {
        self.rebuilt_until.store(at, Ordering::Relaxed);
        self.announced.lock().retain(|own| *own >= at);
    }

    /// Organizations have just been announced to be rebuilt, by this node or another.
    pub fn are_rebuilding(&self) {
        self.rebuilding_until.store(local().plus(REBUILDING).0, Ordering::Relaxed);
    }

    /// Whether that was a moment ago.
    pub fn is_rebuilding(&self) -> bool {
        local().0 < self.rebuilding_until.load(Ordering::Relaxed)
    }

    /// This node has just said of organizations that they are rebuilt.
    pub fn announced_at(&self, at: u64) {
        self.announced.lock().push(at);
    }

    /// Whether it was this node that said so then: no two of them do at one instant.
    pub fn has_announced_at(&self, at: u64) -> bool {
        self.announced.lock().contains(&at)
    }

    /// Whether it was found empty at most `ago` ago.
    pub fn was_emptied_within(&self, ago: Duration) -> bool {
        self.emptied_ago().is_some_and(|since| since < ago)
    }
}

const fn back(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add_signed(-micros))
}
