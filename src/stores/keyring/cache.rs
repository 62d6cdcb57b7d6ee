//! One shard's known keys, and whom to let go when there is no more room.
//!
//! Eviction is CLOCK: a hand walks over the table's buckets, passes over whoever was asked for since its last
//! visit, and lets the next one go. A hit therefore costs one relaxed store and moves nothing, and a scan over
//! many keys that are used once does not push out those in steady use.
//!
//! **Deliberately absent:** locks, the bound itself (it is one number over all shards), and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashTable;

use super::Entry;
use crate::domain::secret::Digest;

/// Digest to entry. Every call takes the keyring's hash of the digest along.
#[derive(Default)]
pub(super) struct Cache {
    table: HashTable<Slot>,
    /// The bucket that eviction looks at next.
    hand: usize,
}

struct Slot {
    digest: Digest,
    entry: Arc<Entry>,
    /// Asked for since the hand last came by.
    used: AtomicBool,
}

impl Cache {
    /// The entry, which thereby counts as used.
    pub fn get(&self, hash: u64, digest: &Digest) -> Option<&Arc<Entry>> {
        let slot = self.table.find(hash, |slot| slot.digest == *digest)?;
        // Written only where it changes something, so that readers on several cores share the line.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(&slot.entry)
    }

    /// Adds an entry that is not there yet. It counts as unused until it is asked for.
    pub fn insert(&mut self, hash: u64, digest: Digest, entry: Arc<Entry>, rehash: impl Fn(&Digest) -> u64) {
        let slot = Slot { digest, entry, used: AtomicBool::new(false) };
        self.table.insert_unique(hash, slot, |slot| rehash(&slot.digest));
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, hash: u64, digest: &Digest) -> bool {
        self.table.find_entry(hash, |slot| slot.digest == *digest).map(|found| found.remove()).is_ok()
    }

    /// Lets one entry go; `false` where there is none.
    pub fn evict(&mut self) -> bool {
        if self.table.is_empty() {
            return false;
        }
        // The first round at most clears every mark, so the second finds someone.
        for _ in 0..2 * self.table.num_buckets() {
            self.hand = (self.hand + 1) % self.table.num_buckets();
            let Ok(mut found) = self.table.get_bucket_entry(self.hand) else { continue };
            if !std::mem::take(found.get_mut().used.get_mut()) {
                found.remove();
                return true;
            }
        }
        false
    }

    /// Removes everything and gives the memory back; how many there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(self).table.len()
    }

    /// Bytes that one entry takes in a table that has just grown, when it is least full: a slot and a control
    /// byte in each of 16 buckets for every 7 entries.
    #[cfg(test)]
    pub const SLOT_BYTES_MAX: usize = (size_of::<Slot>() + 1) * 16 / 7;
}
