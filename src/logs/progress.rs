//! How far the shipper is with a segment, and with a pass over all of them.

use std::sync::Arc;

use super::codec::Dictionary;
use super::frame::{self, Damage};

/// How far a segment is shipped.
#[derive(Debug)]
pub(super) struct Progress {
    pub offset: u64,
    pub rows: u64,
    /// What has a number up to there.
    pub dictionary: Arc<Dictionary>,
    pub damage: Option<Damage>,
}

impl Default for Progress {
    /// Where a segment begins.
    fn default() -> Self {
        Self { offset: frame::FIRST, rows: 0, dictionary: Arc::default(), damage: None }
    }
}

/// What a pass does with the few rows that are left behind a full batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are left to the next pass, which has more of them: what a batch costs beside its rows is spared.
    Left,
    /// They are shipped.
    Shipped,
}

/// What became of a segment in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shipped {
    /// It is gone, with all that was to come.
    Retired,
    /// What was written when the pass came to it.
    Written,
    /// The same but for a rest.
    Mostly,
}
