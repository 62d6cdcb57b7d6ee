//! Live limits: one question, `claim`, and its two ends, `settle` and `release`.
//!
//! A closed set of engines on the hot path, so an enum and not a trait.

pub mod memory;

use crate::domain::account::{Claim, Claimed, Denial, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;

use memory::MemoryCounters;

/// The engine that counts.
#[derive(Debug)]
pub enum Counters {
    /// In this process.
    Memory(MemoryCounters),
}

/// Why a claim was not admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "the common variant is the large one, and a flood of it must not allocate"
)]
pub enum Unclaimed {
    /// A limit has no room.
    Denied(Denial),
    /// The counters are at their own bound of keys.
    Full,
}

impl Counters {
    /// Admits a request and counts it against every limit it names, or refuses it and counts nothing.
    ///
    /// # Errors
    /// [`Unclaimed`].
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
        match self {
            Self::Memory(memory) => memory.claim(org, claim, now),
        }
    }

    /// Ends an admitted request with what it actually cost.
    pub fn settle(&self, org: &OrgId, claimed: &Claimed, actual: Cost) {
        match self {
            Self::Memory(memory) => memory.settle(org, claimed, actual),
        }
    }

    /// Undoes a claim of which nothing came.
    pub fn release(&self, org: &OrgId, claimed: &Claimed) {
        match self {
            Self::Memory(memory) => memory.release(org, claimed),
        }
    }

    /// What is used of every limit of a key and its organization, capped or not: for showing it to people.
    pub fn used(&self, org: &OrgId, key: KeyId, now: Timestamp) -> InUse {
        match self {
            Self::Memory(memory) => memory.used(org, key, now),
        }
    }

    /// Where the limits of `claim` stand, nothing being claimed: for showing usage.
    pub fn standing(&self, org: &OrgId, claim: &Claim<'_>, now: Timestamp) -> Standing {
        match self {
            Self::Memory(memory) => memory.standing(org, claim, now),
        }
    }
}
