//! Live limits: one question, a claim, and its two ends, `settle` and `release`.
//!
//! A claim is first put to what is known here ([`Counters::at_once`]), which needs no wait and is all there is in
//! memory; only where that cannot answer is another process asked ([`Counters::ask`]).
//!
//! A closed set of engines on the hot path, so an enum and not a trait.

pub mod blocks;
mod lease;
pub mod memory;
pub mod redis;

use std::net::IpAddr;

use crate::domain::account::{Claim, Claimed, Denial, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;
use crate::stores::record::Rows;

use self::blocks::{BlockRules, Heard, Told};
use self::redis::RedisCounters;
use memory::MemoryCounters;

/// The engine that counts.
#[derive(Debug)]
pub enum Counters {
    /// In this process.
    Memory(MemoryCounters),
    /// In Redis, shared with other nodes.
    Redis(RedisCounters),
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
    /// The counters are at a bound of their own: of keys, or of how long a request waits for them.
    Full,
    /// The counters are out of reach, and the configuration wants nobody admitted then.
    Unavailable,
}

impl Counters {
    /// Admits a request and counts it against every limit it names, or refuses it and counts nothing. `None` where
    /// that cannot be said without a wait: [`Counters::ask`] then.
    #[allow(
        clippy::result_large_err,
        reason = "a refusal tells the standing as an admission does, and is as large"
    )]
    pub fn at_once(
        &self,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Option<Result<(Claimed, Standing), Unclaimed>> {
        match self {
            Self::Memory(memory) => Some(memory.claim(org, claim, now)),
            Self::Redis(redis) => redis.at_once(org, claim, now),
        }
    }

    /// As [`Counters::at_once`], waiting for as long as it takes to know: a few tens of milliseconds at worst.
    ///
    /// # Errors
    /// [`Unclaimed`].
    pub async fn ask(
        &self,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        match self {
            Self::Memory(memory) => memory.claim(org, claim, now),
            Self::Redis(redis) => redis.ask(org, claim, now).await,
        }
    }

    /// Ends an admitted request with what it actually cost.
    pub fn settle(&self, org: &OrgId, claimed: &Claimed, actual: Cost) {
        match self {
            Self::Memory(memory) => memory.settle(org, claimed, actual),
            Self::Redis(redis) => redis.settle(org, claimed, actual),
        }
    }

    /// Undoes a claim of which nothing came.
    pub fn release(&self, org: &OrgId, claimed: &Claimed) {
        match self {
            Self::Memory(memory) => memory.release(org, claimed),
            Self::Redis(redis) => redis.release(org, claimed),
        }
    }

    /// A batch of the log is about to go to the record, as the one of this number, and may arrive whatever is heard of it.
    pub fn shipping(&self, number: u64, rows: &Rows) {
        if let Self::Redis(redis) = self {
            redis.shipping(number, rows);
        }
    }

    /// All batches so far have arrived.
    pub fn shipped(&self) {
        if let Self::Redis(redis) = self {
            redis.shipped();
        }
    }

    /// What address guards have to tell each other, where there are other nodes: `None` where there are none, or they
    /// cannot be reached.
    pub async fn share_blocks(&self, told: &[(IpAddr, Told)], rules: BlockRules) -> Option<Heard> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => redis.share_blocks(told, rules).await.ok(),
        }
    }

    /// What is used of every limit of a key and its organization, capped or not: for showing it to people.
    pub async fn used(&self, org: &OrgId, key: KeyId, now: Timestamp) -> InUse {
        match self {
            Self::Memory(memory) => memory.used(org, key, now),
            Self::Redis(redis) => redis.used(org, key).await,
        }
    }

    /// Gives back the memory of what has gone idle; takes a while, so not on an I/O thread.
    pub fn sweep(&self, now: Timestamp) {
        match self {
            Self::Memory(memory) => memory.sweep(now),
            // It sees to that itself.
            Self::Redis(_) => {}
        }
    }

    /// Whether counts are such as claims can be answered by: not where what an earlier process counted is to be restored.
    pub fn is_restored(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.is_restored(),
            Self::Redis(_) => true,
        }
    }

    /// Whether nobody is admitted, as the other process is out of reach and `counters.on_outage` is `closed`.
    pub fn refuses_all(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.refuses_all(),
        }
    }

    /// Calls made to another process so far.
    pub fn round_trips(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Redis(redis) => redis.round_trips(),
        }
    }

    /// Whether the other process answers, by its name; `None` where there is none.
    pub fn dependency(&self) -> Option<(&'static str, bool)> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(("redis", redis.is_up())),
        }
    }

    /// Tells the other process what it does not know yet: for the end of this one.
    pub async fn close(&self) {
        if let Self::Redis(redis) = self {
            redis.close().await;
        }
    }

    /// Tells the other process that nobody has to wait for this one any more: when its log has been shipped.
    pub async fn leave(&self) {
        if let Self::Redis(redis) = self {
            redis.leave().await;
        }
    }
}
