//! What other nodes are to be told, until somebody takes it: one entry per address, so many at most.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::stores::counters::blocks::Told;

/// Addresses that wait at most.
const ADDRESSES_MAX: usize = 8_192;
/// Addresses that are told at once.
pub(super) const TOLD_AT_ONCE: usize = 256;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Whether anybody comes for it.
    is_wanted: AtomicBool,
    waiting: Mutex<AHashMap<IpAddr, Told>>,
    dropped: AtomicU64,
}

impl Outbox {
    /// Others are to be told; what is said later of an address counts for more than what was said before, and failures
    /// add up.
    pub fn tell(&self, address: IpAddr, told: Told) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock();
        let has_room = waiting.len() < ADDRESSES_MAX;
        match (waiting.get_mut(&address), told) {
            (Some(Told::Failed(times)), Told::Failed(more)) => *times += more,
            // They are part of a block that is told already, or follow it.
            (Some(Told::Blocked(_)), Told::Failed(_)) => {}
            (Some(known), _) => *known = told,
            (None, _) if has_room => drop(waiting.insert(address, told)),
            (None, _) => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// What was taken and not heard waits again, but where something was said since.
    pub fn put_back(&self, address: IpAddr, told: Told) {
        let is_news = match (self.waiting.lock().get(&address), told) {
            (None, _) | (Some(Told::Failed(_)), Told::Failed(_)) => true,
            (Some(_), _) => false,
        };
        if is_news {
            self.tell(address, told);
        }
    }

    /// Some of what waits; from now on there is somebody who comes for it.
    pub fn take(&self) -> Vec<(IpAddr, Told)> {
        self.is_wanted.store(true, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        let some: Vec<IpAddr> = waiting.keys().take(TOLD_AT_ONCE).copied().collect();
        some.into_iter().filter_map(|address| waiting.remove_entry(&address)).collect()
    }

    /// What was not kept for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
