//! Keeping the record in order: dropping what is old, and proving that its sums are those of its rows.
//!
//! Both work in steps of a few milliseconds each, with a turn for other writers after every one.

use async_trait::async_trait;

use super::RecordError;
use super::reports::{Arrived, Totals};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;

/// What to drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// Rows of the log that arrived before this instant (by their ids). Oldest first, so that what remains is whole.
    pub rows_since: Timestamp,
    /// The order in which rows came in, for those that came in before this instant: what followers have read.
    pub news_since: Timestamp,
    /// And of that order only what stands before this place: how far an export has read, which must miss nothing.
    /// `None` where nobody has to be waited for.
    pub news_read: Option<Arrived>,
    /// Sums of five minutes before this instant; never later than what counters are rebuilt from.
    pub cells_since: Timestamp,
    /// Rows of `changes` from before this instant, which every cache has long read.
    pub changes_since: Timestamp,
    /// Sessions that ended before this instant, and secrets whose grace did.
    pub ended_since: Timestamp,
}

/// What one step dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of the log.
    pub rows: u64,
    /// Batches of the order of arrival.
    pub news: u64,
    /// Sums of five minutes.
    pub cells: u64,
    /// Rows of `changes`.
    pub changes: u64,
    /// Sessions, secrets, and jobs as old as the rows.
    pub ended: u64,
    /// Whether there is more to drop.
    pub more: bool,
}

/// A sum that is not what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Whose.
    pub whose: Whose,
    /// Which sum.
    pub sum: Summed,
    /// What the record says.
    pub recorded: Totals,
    /// What it should say. Where both are the same, what they divide into differs (tiers, domains, kinds of failure).
    pub actual: Totals,
}

/// Whose sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// What was asked for with one key of an organization, or (`None`) without one.
    Key(OrgId, Option<KeyId>),
    /// All of an organization.
    Organization(OrgId),
    /// Callers that stayed unknown.
    Nobody,
    /// Everything.
    Everything,
}

/// A sum that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// The five minutes from this instant: of a key, or an organization's requests without one, compared with the
    /// rows; of a whole organization or everything, compared with those.
    Cell(Timestamp),
    /// The day from this midnight, UTC: compared with its cells.
    Day(Timestamp),
    /// A key's total over all time: compared with its days. It knows requests only, admitted and refused.
    Total,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Rows that were read.
    pub rows: u64,
    /// Sums that were compared.
    pub sums: u64,
    /// Sums that differ.
    pub drifted: u64,
    /// The first [`DRIFTS_MAX`] of them.
    pub drifts: Vec<Drift>,
    /// How many of them were set to what they should be.
    pub repaired: u64,
}

/// Drifts that are told one by one, and repaired by one call.
pub const DRIFTS_MAX: usize = 1_000;

/// What keeps the record in order.
#[async_trait]
pub trait UpkeepRecord: Send + Sync + 'static {
    /// Drops what is old, one step of some milliseconds; call again while there is more.
    async fn prune(&self, keep: &Keep) -> Result<Pruned, RecordError>;
    /// Compares sums with what they are sums of, from the rows upwards: cells with rows, organizations and everything
    /// with their keys, days with cells, totals with days. Sums whose rows have been removed by age are not compared.
    ///
    /// Stops behind the first of these comparisons that shows a drift, as those above rest on it; with `repair` what
    /// differs is set right and it goes on. A sum that requests are added to meanwhile is left for the next call. Reads as
    /// of one instant, without keeping writers waiting; each repair is one short transaction.
    async fn verify(&self, repair: bool) -> Result<Verified, RecordError>;
}
