//! Which master has which slot, as far as is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::super::shard::Shard;
use super::slots::SLOTS;

/// Stands for a slot that no master serves.
const NOBODY: u16 = u16::MAX;

/// Masters by slot. Single slots are set right in place; whoever looks at the same time sees the one or the other.
pub(in crate::stores::counters::redis) struct Map {
    shards: Vec<Arc<Shard>>,
    /// Stands for slots that no master serves.
    nobody: Arc<Shard>,
    by_slot: Box<[AtomicU16]>,
    is_whole: bool,
}

impl Map {
    /// A map of masters and their slots.
    pub(super) fn new(masters: Vec<(Arc<Shard>, Vec<usize>)>, nobody: Arc<Shard>) -> Self {
        let by_slot: Box<[AtomicU16]> = (0..SLOTS).map(|_| AtomicU16::new(NOBODY)).collect();
        let mut shards = Vec::with_capacity(masters.len());
        for (place, (shard, slots)) in masters.into_iter().enumerate() {
            for slot in slots {
                by_slot[slot].store(place as u16, Ordering::Relaxed);
            }
            shards.push(shard);
        }
        let is_whole = by_slot.iter().all(|place| place.load(Ordering::Relaxed) != NOBODY);
        Self { shards, nobody, by_slot, is_whole }
    }

    /// The master of a slot, or [`Map::nobody`].
    pub fn shard(&self, slot: usize) -> &Arc<Shard> {
        let place = self.by_slot[slot].load(Ordering::Relaxed);
        self.shards.get(usize::from(place)).unwrap_or(&self.nobody)
    }

    /// All masters.
    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// What stands for slots that no master serves: its breaker is always open.
    pub(super) const fn nobody(&self) -> &Arc<Shard> {
        &self.nobody
    }

    /// Whether every slot had a master when it was drawn.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The master at an address.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.shards.iter().position(|shard| shard.name().as_deref() == Some(name))
    }

    /// Gives a slot to the master at `place`.
    pub(super) fn assign(&self, slot: usize, place: usize) {
        self.by_slot[slot].store(place as u16, Ordering::Relaxed);
    }
}
