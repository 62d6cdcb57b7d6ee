//! What is known of a master besides counts: its clock, the nodes that speak to it, and whether it was lost lately.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Local, local};
use crate::clock;
use crate::domain::account::{Gauge, Standing};
use crate::domain::time::Timestamp;

/// How long after a master is back this node's share holds beside its leases.
const CAREFUL: Duration = Duration::from_secs(2);

/// What a master's last answers told.
#[derive(Debug)]
pub(super) struct Known {
    /// The names of all nodes that speak to it, and when it was found empty of late.
    names: Mutex<(Vec<String>, Option<Local>)>,
    /// Nodes that were there when it was last asked, and this one's place among them.
    nodes: AtomicU64,
    place: AtomicU64,
    /// Its clock less the local one, in microseconds.
    offset: AtomicI64,
    /// The local instant until which this node's share holds beside leases, in microseconds.
    careful_until: AtomicU64,
    /// The last instant of its clock of which organizations are known that were rebuilt then.
    rebuilt_until: AtomicU64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            names: Mutex::default(),
            nodes: 1.into(),
            place: 0.into(),
            // Until it is asked, its clock is taken to be this machine's.
            offset: (clock::now().micros() as i64 - local().0 as i64).into(),
            careful_until: 0.into(),
            rebuilt_until: 0.into(),
        }
    }
}

impl Known {
    /// Nodes, and the place of this one among them.
    pub fn nodes(&self) -> (u64, u64) {
        (self.nodes.load(Ordering::Relaxed).max(1), self.place.load(Ordering::Relaxed))
    }

    /// So many nodes have spoken of late. Just after an outage the others may not have yet: there are as many as there
    /// were.
    pub fn heard_of(&self, nodes: u64, place: u64, at: Local) {
        if nodes >= self.nodes.load(Ordering::Relaxed) || !self.is_careful(at) {
            self.nodes.store(nodes, Ordering::Relaxed);
            self.place.store(place, Ordering::Relaxed);
        }
    }

    /// Its clock showed `clock` at some instant between `sent` and now.
    pub fn showed(&self, clock: Timestamp, sent: Local) {
        let between = (sent.0 + local().0) / 2;
        self.offset.store(clock.micros() as i64 - between as i64, Ordering::Relaxed);
    }

    /// Its clock, as far as it is known here.
    pub fn now(&self, at: Local) -> Timestamp {
        Timestamp::from_micros(at.0.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    /// An instant of its clock on the clock that showed `now` a moment ago, as clients and headers know it.
    pub fn here(&self, at: Timestamp, now: Timestamp) -> Timestamp {
        let ahead = self.now(local()).micros() as i64 - now.micros() as i64;
        Timestamp::from_micros(at.micros().saturating_add_signed(-ahead))
    }

    /// As [`Known::here`], for every instant of a standing.
    pub fn as_seen_here(&self, standing: &mut Standing, now: Timestamp) {
        let move_over = |gauge: &mut Option<Gauge>| {
            if let Some(at) = gauge.as_mut().and_then(|gauge| gauge.resets_at.as_mut()) {
                *at = self.here(*at, now);
            }
        };
        let Standing { second, minute, quotas, .. } = standing;
        [second, minute].into_iter().chain(quotas).for_each(move_over);
    }

    /// From now on, for a while, this node's share holds beside its leases.
    pub fn be_careful(&self) {
        self.careful_until.store(local().plus(CAREFUL).0, Ordering::Relaxed);
    }

    /// Whether this node's share holds beside its leases.
    pub fn is_careful(&self, at: Local) -> bool {
        at.0 < self.careful_until.load(Ordering::Relaxed)
    }

    /// These nodes speak to it. `emptied` ago it knew of none: then those that it knew before may only not have spoken
    /// yet.
    pub fn names_are(&self, names: Vec<String>, emptied: Option<Duration>) {
        let at = emptied.map(|ago| Local(local().0.saturating_sub(ago.as_micros() as u64)));
        let mut known = self.names.lock();
        let before = std::mem::replace(&mut *known, (names, at)).0;
        if at.is_some() {
            let missing: Vec<_> = before.into_iter().filter(|name| !known.0.contains(name)).collect();
            known.0.extend(missing);
        }
    }

    /// The names of all nodes, and how long ago it was found empty where that was of late.
    pub fn names(&self) -> (Vec<String>, Option<Duration>) {
        let known = self.names.lock();
        (known.0.clone(), known.1.map(|at| local().since(at)))
    }

    /// The instant of its clock since when organizations may have been rebuilt that nobody has said so of.
    pub fn rebuilt_until(&self) -> u64 {
        self.rebuilt_until.load(Ordering::Relaxed)
    }

    /// Organizations are known that were rebuilt until then.
    pub fn knows_rebuilt_until(&self, at: u64) {
        self.rebuilt_until.store(at, Ordering::Relaxed);
    }
}
