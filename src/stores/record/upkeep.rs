//! Keeping the record in order: dropping what is old, and proving that its sums are those of its rows.
//!
//! Both work in steps of a few milliseconds each, with a turn for other writers after every one.

use async_trait::async_trait;

use super::RecordError;
use super::reports::Totals;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;

/// What to drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// Rows of the log that arrived before this instant (by their ids). Oldest first, so that what remains is whole.
    pub rows_since: Timestamp,
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
    /// Sums of five minutes, and blocks of the order of arrival.
    pub cells: u64,
    /// Rows of `changes`.
    pub changes: u64,
    /// Sessions and secrets.
    pub ended: u64,
    /// Whether there is more to drop.
    pub more: bool,
}

/// Which sum is not the sum of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Who paid.
    pub organization: OrgId,
    /// The key; `None` for what was made without one.
    pub key: Option<KeyId>,
    /// Which sum.
    pub sum: Summed,
    /// What the record says.
    pub recorded: Totals,
    /// What its rows say.
    pub actual: Totals,
}

/// A sum that can be compared with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// The five minutes from this instant.
    Cell(Timestamp),
    /// The day from this midnight, UTC: compared with its cells.
    Day(Timestamp),
    /// A key's total over all time: compared with its days. Only requests, admitted and refused, are counted there.
    Total,
}

/// What a comparison of sums and rows found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Rows that were read.
    pub rows: u64,
    /// Sums that were compared.
    pub sums: u64,
    /// Those that differ: the first [`DRIFTS_MAX`].
    pub drifts: Vec<Drift>,
    /// How many differ.
    pub drifted: u64,
    /// How many were set to what the rows say.
    pub repaired: u64,
}

/// Drifts that are told one by one.
pub const DRIFTS_MAX: usize = 1_000;

/// What keeps the record in order.
#[async_trait]
pub trait UpkeepRecord: Send + Sync + 'static {
    /// Drops what is old, one step of some milliseconds; call again while there is more.
    async fn prune(&self, keep: &Keep) -> Result<Pruned, RecordError>;
    /// Compares every sum whose rows are all there with its rows, and with `repair` sets those that differ. Rows
    /// that come in meanwhile are counted on both sides.
    async fn verify(&self, repair: bool) -> Result<Verified, RecordError>;
}
