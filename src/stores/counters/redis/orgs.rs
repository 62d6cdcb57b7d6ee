//! What is known here of each organization, and where that is kept: behind one of many locks, which is held for no wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shard::Shard;
use super::{Inner, Unclaimed};
use crate::domain::account::Claim;
use crate::domain::id::{KeyId, OrgId};
use crate::stores::counters::lease::{Answer, Ledger, Local};

/// Locks; a power of two, well above the number of I/O threads.
pub(super) const LOCKS: usize = 128;

/// A lock with a cache line to itself.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Orgs(pub Mutex<AHashMap<OrgId, Org>>);

/// What is known here of an organization.
#[derive(Default)]
pub(super) struct Org {
    pub ledger: Ledger,
    /// Who waits for the call under way.
    pub flights: AHashMap<Option<KeyId>, Arc<Notify>>,
    /// Since when it is seen to that this node is counted by what Redis holds.
    pub joining: Option<Local>,
    /// Whether this process has ever been told what is counted: one that has not cannot tell what of its share is left.
    pub met: bool,
    /// Keys that are on their way to another master, and since when.
    pub moving: AHashMap<Option<KeyId>, Local>,
    /// Held while the record is asked what was counted.
    pub hearing: Arc<tokio::sync::Mutex<()>>,
}

impl Inner {
    pub(super) fn with<T>(&self, org: &OrgId, work: impl FnOnce(&mut Org) -> T) -> T {
        let mut orgs = self.orgs_with(org).lock();
        match orgs.get_mut(org) {
            Some(org) => work(org),
            None => work(orgs.entry(org.clone()).or_default()),
        }
    }

    /// Organizations that are known here, of those that `of` names.
    pub(super) fn known(&self, of: impl Fn(&OrgId) -> bool) -> Vec<OrgId> {
        let mut known = Vec::new();
        for orgs in &self.orgs {
            known.extend(orgs.0.lock().keys().filter(|id| of(id)).cloned());
        }
        known
    }

    pub(super) fn orgs_with(&self, org: &OrgId) -> &Mutex<AHashMap<OrgId, Org>> {
        // Neither the lowest nor the highest bits: the map within needs those to differ.
        let hash = self.hasher.hash_one(org) >> 32;
        &self.orgs[hash as usize % LOCKS].0
    }

    /// Puts a claim to the ledger of its organization, as long as there is room for its key.
    #[allow(clippy::result_large_err, reason = "as the claim itself")]
    pub(super) fn claim_of(
        &self,
        org: &mut Org,
        shard: &Shard,
        claim: &Claim<'_>,
        first: bool,
        now: Local,
    ) -> Result<Answer, Unclaimed> {
        let known = org.ledger.keys();
        let answer = if shard.known.is_careful(now) || org.ledger.is_sharing() && !org.is_settled() {
            let (nodes, at) = (shard.known.nodes(), shard.known.now(now));
            org.ledger.claim_within_share(claim, first, nodes, at, now)
        } else {
            org.ledger.end_share();
            org.ledger.claim(claim, first, now)
        };
        // What is new has no allowances, so nothing was admitted.
        if org.ledger.keys() > known && !self.has_room() {
            org.ledger.forget(claim.key);
            return Err(Unclaimed::Full);
        }
        Ok(answer)
    }

    /// Takes one place of the bound, if there is one.
    pub(super) fn has_room(&self) -> bool {
        let more = |keys| (keys < self.keys_max).then(|| keys + 1);
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Org {
    /// Whether this node is counted by what Redis holds, and its keys are where they belong.
    pub(super) fn is_settled(&self) -> bool {
        self.joining.is_none() && self.moving.is_empty()
    }
}
