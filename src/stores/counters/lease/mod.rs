//! Leases: how a node spends allowances that a store shared with other nodes has counted beforehand.
//!
//! A node asks for several allowances at once, spends them without asking, and gives back what is left over. The
//! store counts an allowance when it grants it, in the cell of that instant; a node may spend it only until that
//! cell ends. So whatever a node does, or whether it dies, the store has counted every admission not earlier than
//! the window needs it, and no trailing window ever holds more than its cap.
//!
//! ```text
//! claim ── allowance and slot at hand ──────────────────────────> granted
//!   │ ── refused not long ago, nothing can have changed ────────> denied
//!   └ ── ask: one call at a time per key, for all who wait and for what will probably come
//! ```
//!
//! **Time.** A call is sent at the local instant s, and the store carries it out at its instant t. At s its clock
//! showed at most t, so at the local instant s + d it shows at most t + d: an allowance whose cell ends at e is
//! good until s + (e − t), less [`DRIFT`], whatever the clocks say. Only durations are compared, of a local clock
//! that does not jump; how far clocks are apart does not matter.
//!
//! **Exactly once.** Calls are numbered, and the store keeps the number of the last one it carried out. What a lost
//! call gave back or settled goes along with the next one under its own number; what it granted, the store takes
//! back when it learns that the answer did not arrive. A call that arrives after a later one is not carried out.
//!
//! **Deliberately absent:** IO, tasks, locks and clocks. `redis` owns those; `redis::tests::simulation` drives
//! these values over a network that loses, delays and reorders.

mod demand;
mod join;
mod key;
mod ledger;
mod share;
mod shipments;
mod sight;
mod slots;
mod unshipped;

use std::time::Duration;

#[cfg(test)]
pub(super) use self::join::Part;
pub(super) use self::join::{Joining, Said, Step};
pub(super) use self::ledger::{Answer, Ledger};
pub use self::share::Nodes;
pub(super) use self::shipments::{Shipments, batch};
pub(super) use self::sight::Spent;
pub(super) use self::unshipped::Sum;
#[cfg(test)]
pub(super) use self::unshipped::Tally;
use crate::domain::account::Claim;
use crate::domain::id::KeyId;
use crate::domain::limit::{Caps, Limit, Quotas, SpendLimit};
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;

/// How much shorter than the store says a lease is held, as a part of it: clocks run at different speeds, by some
/// 0.0002 at worst.
const DRIFT: u64 = 1_000;

/// A local instant, in microseconds since an arbitrary beginning, of a clock that never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Local(pub u64);

impl Local {
    /// This instant moved later.
    pub(super) const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_micros() as u64))
    }

    /// The time from `earlier`; zero where that is in fact later.
    pub(super) const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The limits a claim names, as it named them.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Terms {
    pub caps: Caps,
    pub quotas: Quotas,
    pub key_limit: Option<SpendLimit>,
    pub org_limit: Option<SpendLimit>,
    /// Microcents that are reserved for each allowance.
    pub estimate: u64,
}

impl Terms {
    pub(super) fn of(claim: &Claim<'_>) -> Self {
        Self {
            caps: claim.caps,
            quotas: claim.quotas,
            key_limit: claim.key_limit.copied(),
            org_limit: claim.org_limit.copied(),
            estimate: claim.estimate.microcents,
        }
    }

    /// Whether an estimate decides anything.
    fn has_budget(&self) -> bool {
        let budget = |limit: &Option<SpendLimit>| {
            limit.is_some_and(|limit| limit.enabled && limit.microcents.is_some())
        };
        budget(&self.key_limit) || budget(&self.org_limit)
    }

    /// Whether `limit` would be asked in the same way under `other`: else what was refused may be granted.
    fn agrees(&self, other: &Self, limit: Limit) -> bool {
        match limit {
            Limit::Concurrency => self.caps.concurrency == other.caps.concurrency,
            Limit::Second => self.caps.per_second == other.caps.per_second,
            Limit::Minute => self.caps.per_minute == other.caps.per_minute,
            Limit::Total | Limit::Daily | Limit::Weekly | Limit::Monthly => self.quotas == other.quotas,
            Limit::KeyRequests(_) => self.key_limit == other.key_limit,
            Limit::OrgRequests(_) => self.org_limit == other.org_limit,
            Limit::KeyBudget(_) => self.key_limit == other.key_limit && self.estimate <= other.estimate,
            Limit::OrgBudget(_) => self.org_limit == other.org_limit && self.estimate <= other.estimate,
        }
    }
}

/// Something that happened at `at` and that the store does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it was admitted, on the store's clock.
    pub at: Timestamp,
    /// Admissions to count; negative: to take back.
    pub requests: i64,
    /// What they add to the calendar's counts; negative: less.
    pub microcents: i64,
}

/// What a node asks and tells in one step, for one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub key: Option<KeyId>,
    /// When the organization's counts were built, in microseconds, as far as the node knows; 0 where it does not.
    pub epoch: u64,
    /// Rises with every call for this key.
    pub seq: u64,
    /// The last call whose answer arrived.
    pub acked: u64,
    /// Requests that wait for an allowance that is not at hand.
    pub waiting: u64,
    /// Requests expected per cell of a second; 0 asks for nothing beyond `waiting`.
    pub rate: u64,
    /// Allowances at hand.
    pub left: u64,
    pub terms: Terms,
    pub slots: Option<SlotsCall>,
    /// Each with the number of the call that brought it first.
    pub entries: Vec<(u64, Entry)>,
}

/// The part of a call that is about requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotsCall {
    /// Rises with every call for this organization.
    pub seq: u64,
    /// Slots the node would like, those in flight and waiting included.
    pub wanted: u64,
    /// Requests in flight.
    pub used: u64,
    /// Requests of the organization that wait.
    pub waiting: u64,
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// Carried out.
    Done(Box<Done>),
    /// The store does not know the organization, or has lost the key: nothing was done.
    Missing,
    /// The organization's counts are other ones, or not complete: nothing was done.
    OtherEpoch,
    /// A later call was carried out already: nothing was done.
    Stale,
}

/// An answer to a call that was carried out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Done {
    pub epoch: u64,
    /// The store's clock.
    pub now: Timestamp,
    /// The end of the cell in which the allowances are counted.
    pub cell_end: Timestamp,
    /// Allowances granted.
    pub granted: u64,
    /// The first limit that has no room, and when it will.
    pub refused: Option<(Limit, Option<Timestamp>)>,
    /// Where one refused: how many allowances other nodes hold and may give back.
    pub elsewhere: u64,
    /// Until when they may spend the first of them; in the past where these are on their way back.
    pub back_at: Timestamp,
    pub slots: Option<SlotsReply>,
    /// Requests of the organization in flight at other nodes.
    pub in_flight: u64,
    /// What counts in the trailing second, minute, and the key's quotas: total, daily, weekly, monthly.
    pub counts: [Count; 6],
    /// What the present day, week and month of the key have cost, and those of the organization.
    pub spent: [[Spent; 3]; 2],
}

/// How many count, and when the next will no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub sum: u64,
    pub next_expiry: Option<Timestamp>,
}

/// Slots granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotsReply {
    /// Slots that are this node's until it says otherwise or is silent for [`slots::LEASE`].
    pub held: u64,
    /// Slots that are nobody's.
    pub free: u64,
}

/// The cell in which an allowance must be spent.
const fn cell_of(at: Timestamp) -> u64 {
    at.micros() / Window::SECOND.cell().as_micros() as u64
}
