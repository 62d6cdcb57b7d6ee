//! Counters in this process (placeholder).

use crate::domain::account::{Claim, Claimed, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;

use super::Unclaimed;

/// Counters in this process.
#[derive(Debug)]
pub struct MemoryCounters {}

impl MemoryCounters {
    /// Empty counters that hold at most `keys_max` keys.
    pub fn new(_keys_max: usize) -> Self {
        todo!()
    }
    /// See [`super::Counters::claim`].
    pub fn claim(
        &self,
        _org: &OrgId,
        _claim: &Claim<'_>,
        _now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        todo!()
    }
    /// See [`super::Counters::settle`].
    pub fn settle(&self, _org: &OrgId, _claimed: &Claimed, _actual: Cost) {
        todo!()
    }
    /// See [`super::Counters::release`].
    pub fn release(&self, _org: &OrgId, _claimed: &Claimed) {
        todo!()
    }
}
