//! Batches of the request log on their way to the record, as far as counts depend on what the record has.
//!
//! Batches go one after the other and are numbered. One that failed may have arrived all the same; the next one then
//! holds its rows again and more. So of a number that the record names, it is known which rows came with it and before.

use ahash::AHashMap;

use super::unshipped::Tally;
use crate::domain::id::OrgId;
use crate::stores::record::Rows;

/// What one batch holds, by organization.
pub(in crate::stores::counters) type Batch = AHashMap<OrgId, Tally>;

/// Batches under way.
#[derive(Debug, Default)]
pub(in crate::stores::counters) struct Shipments {
    /// The first and the last number of this process.
    numbers: Option<(u64, u64)>,
    /// Sent and not known to have arrived, each without what an earlier one holds.
    unsure: Vec<(u64, Batch)>,
}

/// What rows of admitted requests add up to.
pub(in crate::stores::counters) fn batch(rows: &Rows) -> Batch {
    let mut places: AHashMap<&str, Tally> = AHashMap::new();
    for row in rows.iter().flatten().filter(|row| row.admitted) {
        let Some(organization) = row.organization else { continue };
        places.entry(organization).or_default().add(row.key, row.at, row.cost.microcents);
    }
    let named = |(name, tally)| OrgId::parse(name).ok().map(|id| (id, tally));
    places.into_iter().filter_map(named).collect()
}

impl Shipments {
    /// A batch is about to be sent.
    pub fn sending(&mut self, number: u64, mut batch: Batch) {
        self.numbers = Some((self.numbers.map_or(number, |(first, _)| first), number));
        for (_, earlier) in &self.unsure {
            for (org, tally) in earlier {
                if let Some(of) = batch.get_mut(org) {
                    of.less(tally);
                }
            }
        }
        self.unsure.push((number, batch));
    }

    /// The record has all that was sent: each part with the number it went with first.
    pub fn sent(&mut self) -> Vec<(u64, Batch)> {
        std::mem::take(&mut self.unsure)
    }

    /// What the record says it had last of this spool, as a number of this process; 0 is before the first.
    pub fn position(&self, shipped: Option<u64>) -> u64 {
        let (first, last) = self.numbers.unwrap_or((u64::MAX, 0));
        shipped.filter(|number| (first..=last).contains(number)).unwrap_or(0)
    }

    /// What of `org` is on its way still and has arrived up to `position`.
    pub fn arrived(&self, org: &OrgId, position: u64) -> Tally {
        let mut arrived = Tally::default();
        for (_, batch) in self.unsure.iter().filter(|(number, _)| *number <= position) {
            batch.get(org).into_iter().for_each(|tally| arrived.plus(tally));
        }
        arrived
    }
}
