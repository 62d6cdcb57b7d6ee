//! Counters in this process: accounts behind sharded locks.
//!
//! An organization and its keys lie behind one lock, so that a claim is checked against and committed to all of
//! them in one step. The lock is held for the arithmetic only, never across a wait.
//!
//! | when | then |
//! |---|---|
//! | the process ends | counts are rebuilt from the record and the log: [`MemoryCounters::restore`] |
//! | the record is away at the start | nobody is admitted until they are: [`Unclaimed::Unavailable`] |
//! | a new key comes when [`keys_max`](MemoryCounters::new) are counted | [`Unclaimed::Full`], counted; known keys go on |
//! | more keys are restored than `keys_max` | all are: a bound on memory must not loosen a limit |
//! | the clock steps back | time stands still for an account until the clock has caught up |
//!
//! **Invariant:** nothing that could still refuse a request is ever forgotten; a key's total least of all.
//!
//! **Deliberately absent:** tasks and clocks. Whoever owns the counters calls [`MemoryCounters::sweep`] now and
//! then, and passes the time: best a clock that does not run backwards, as every step back is held.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;

use crate::domain::account::{Account, Claim, Claimed, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;
use crate::stores::record::UsageCell;

use super::Unclaimed;

#[cfg(test)]
mod tests;

/// How far back [`MemoryCounters::restore`] needs usage: a calendar month, or a monthly quota and its cell.
pub const HISTORY: Duration = Duration::from_secs(32 * 86_400);
/// How far back [`MemoryCounters::restore`] needs single admissions: a minute and its cell.
pub const RECENT: Duration = Window::MINUTE.span().saturating_add(Window::MINUTE.cell());

/// Locks; a power of two, well above the number of I/O threads.
const SHARDS: usize = 128;

type Accounts = HashMap<OrgId, Box<Account>, RandomState>;

/// A lock with a cache line to itself.
#[repr(align(64))]
struct Shard(Mutex<Accounts>);

/// Counters in this process.
pub struct MemoryCounters {
    shards: Box<[Shard]>,
    hasher: RandomState,
    keys_max: usize,
    keys: AtomicUsize,
    organizations: AtomicUsize,
    full: AtomicU64,
    /// Whether counts are still to be restored.
    is_owed: AtomicBool,
}

impl MemoryCounters {
    /// Empty counters that count for at most `keys_max` keys, and as many organizations.
    pub fn new(keys_max: usize) -> Self {
        let hasher = RandomState::new();
        let shard = |_| Shard(Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher,
            keys_max,
            keys: AtomicUsize::new(0),
            organizations: AtomicUsize::new(0),
            full: AtomicU64::new(0),
            is_owed: AtomicBool::new(false),
        }
    }

    /// As [`MemoryCounters::new`], of counts that cannot be restored yet: until they are, every claim is
    /// [`Unclaimed::Unavailable`], as whoever has used up a limit would have all of it again.
    pub fn unrestored(keys_max: usize) -> Self {
        Self { is_owed: AtomicBool::new(true), ..Self::new(keys_max) }
    }

    /// Whether there is nothing left to restore.
    pub fn is_restored(&self) -> bool {
        !self.is_owed.load(Ordering::Acquire)
    }

    /// As [`Counters::at_once`](super::Counters::at_once), and never later.
    #[allow(
        clippy::result_large_err,
        reason = "a refusal tells the standing as an admission does, and is as large"
    )]
    pub fn claim(
        &self,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        if !self.is_restored() {
            return Err(Unclaimed::Unavailable);
        }
        let mut accounts = self.shard(org).lock();
        let account = match accounts.get_mut(org) {
            Some(account) => account,
            None if self.has_room(&self.organizations) => accounts.entry(org.clone()).or_default(),
            None => return Err(self.full()),
        };
        let known = account.keys();
        let (claimed, standing) = account.claim(claim, now).map_err(Unclaimed::Denied)?;
        if account.keys() > known && !self.has_room(&self.keys) {
            account.release(&claimed);
            claimed.key.map(|key| account.forget(key));
            return Err(self.full());
        }
        Ok((claimed, standing))
    }

    /// See [`super::Counters::settle`].
    pub fn settle(&self, org: &OrgId, claimed: &Claimed, actual: Cost) {
        if let Some(account) = self.shard(org).lock().get_mut(org) {
            account.settle(claimed, actual);
        }
    }

    /// See [`super::Counters::release`].
    pub fn release(&self, org: &OrgId, claimed: &Claimed) {
        if let Some(account) = self.shard(org).lock().get_mut(org) {
            account.release(claimed);
        }
    }

    /// What a claim would find, without making one.
    pub fn standing(&self, org: &OrgId, claim: &Claim<'_>, now: Timestamp) -> Standing {
        match self.shard(org).lock().get_mut(org) {
            Some(account) => account.standing(claim, now),
            None => Account::default().standing(claim, now),
        }
    }

    /// See [`super::Counters::used`].
    pub fn used(&self, org: &OrgId, key: KeyId, now: Timestamp) -> InUse {
        match self.shard(org).lock().get_mut(org) {
            Some(account) => account.used(key, now),
            None => Account::default().used(key, now),
        }
    }

    /// Rebuilds counts after a restart, before the first claim: from usage since [`HISTORY`] ago, oldest first,
    /// every key's total, and the single admissions since [`RECENT`] ago, oldest first.
    pub fn restore(
        &self,
        usage: &[UsageCell],
        totals: &[(OrgId, KeyId, u64)],
        recent: &[(OrgId, Option<KeyId>, Timestamp)],
        now: Timestamp,
    ) {
        for cell in usage {
            self.restoring(&cell.organization, |account| {
                account.replay(cell.key, cell.at, cell.admitted, cell.cost, now);
            });
        }
        for (org, key, total) in totals {
            self.restoring(org, |account| account.replay_total(*key, *total));
        }
        for (org, _, at) in recent {
            self.restoring(org, |account| account.replay_recent(*at, 1, now));
        }
        self.is_owed.store(false, Ordering::Release);
    }

    /// Gives back the memory of what has gone idle, without loss. Holds no lock for more than about a millisecond;
    /// takes up to 1 µs per key in all, so once an hour is plenty, and not on an I/O thread.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let organizations: Vec<OrgId> = shard.0.lock().keys().cloned().collect();
            for org in &organizations {
                let mut next = Some(0);
                while let Some(from) = next {
                    next = shard.0.lock().get_mut(org).and_then(|account| {
                        let known = account.keys();
                        let next = account.sweep(from, now);
                        self.keys.fetch_sub(known - account.keys(), Ordering::Relaxed);
                        next
                    });
                }
                let mut accounts = shard.0.lock();
                if accounts.get_mut(org).is_some_and(|account| account.is_idle(now)) {
                    accounts.remove(org);
                    self.organizations.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Keys with counts or a total.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Claims refused as [`Unclaimed::Full`].
    pub fn refused_full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    fn shard(&self, org: &OrgId) -> &Mutex<Accounts> {
        // Neither the lowest nor the highest bits: the map within the shard needs those to differ.
        let hash = self.hasher.hash_one(org) >> 32;
        &self.shards[hash as usize % SHARDS].0
    }

    /// Takes one place of the bound; gives it back and says no where there was none.
    fn has_room(&self, count: &AtomicUsize) -> bool {
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.keys_max).then(|| n + 1))
            .is_ok()
    }

    fn full(&self) -> Unclaimed {
        self.full.fetch_add(1, Ordering::Relaxed);
        Unclaimed::Full
    }

    /// Changes an account whatever the bound says, and counts what is new.
    fn restoring(&self, org: &OrgId, change: impl FnOnce(&mut Account)) {
        let mut accounts = self.shard(org).lock();
        let account = match accounts.get_mut(org) {
            Some(account) => account,
            None => {
                self.organizations.fetch_add(1, Ordering::Relaxed);
                accounts.entry(org.clone()).or_default()
            }
        };
        let known = account.keys();
        change(account);
        self.keys.fetch_add(account.keys() - known, Ordering::Relaxed);
    }
}

impl fmt::Debug for MemoryCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCounters")
            .field("keys_max", &self.keys_max)
            .field("keys", &self.keys)
            .field("organizations", &self.organizations)
            .field("refused_full", &self.full)
            .finish_non_exhaustive()
    }
}
