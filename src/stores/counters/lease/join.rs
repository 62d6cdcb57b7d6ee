//! How a node comes to be counted by what the store holds of an organization that was rebuilt.
//!
//! Counts are rebuilt from the record, as of an instant at which it had a certain batch of every node's log. Each node
//! adds what it has admitted and that lacked ([`Report`]), in parts that are each counted once, before it claims
//! anything by these counts. Until every node that was there has done so, or has had the time, nobody is granted
//! anything.
//!
//! ```text
//! ask ── the store knows nothing of it ──────────────────> build: it is rebuilt from the record
//!  │ ── it waits for nothing of this node's ─────────────> wait, where there is nothing to tell
//!  │ ── its counts are other ones than this node's ──────> report, part by part
//!  │ ── others have not reported yet ────────────────────> wait
//!  └ ── what it was built from was too long ago to say ──> build anew
//! ```
//!
//! **Exactly once.** With the report, all that was owed is forgotten: it is in the report, in the record, or was
//! granted by counts that are no more. What happens from then on is owed as usual.

use super::shipments::Shipments;
use super::unshipped::{Sum, Tally, finest, five_minutes};
use super::{Ledger, Local};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;

/// Cells that go into one call at most.
const CELLS_PER_PART: usize = 256;
/// Keys that go into one call at most.
const KEYS_PER_PART: usize = 16;
/// How far apart the clocks may be that an instant here and one of the store were told by.
const CLOCKS_APART: std::time::Duration = std::time::Duration::from_secs(5);

/// What this node says of itself, for one epoch.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::stores::counters) struct Report {
    epoch: u64,
    parts: Vec<Part>,
    /// Parts that are counted.
    counted: usize,
    /// The number of what is said of slots, and how many requests are in flight.
    slots: (u64, u64),
}

/// Admissions by the first instant of their five minutes.
pub(in crate::stores::counters) type Cells = Vec<(Timestamp, Sum)>;

/// What goes into one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::stores::counters) struct Part {
    pub keys: Vec<(Option<KeyId>, Cells)>,
    pub recent: Vec<(Timestamp, u64)>,
}

/// A call: what the store is asked, and perhaps told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::stores::counters) struct Joining {
    /// The epoch it is meant for; 0 where it only asks.
    pub epoch: u64,
    /// The number of the part, from 1; 0 where it only asks.
    pub number: usize,
    pub is_last: bool,
    pub part: Part,
    pub slots: (u64, u64),
}

/// What the store says of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stores::counters) enum Said {
    /// It does not know it.
    Missing,
    /// What was told was meant for other counts.
    OtherEpoch,
    /// It does.
    Known {
        epoch: u64,
        /// Whether anybody may claim.
        is_open: bool,
        /// The last batch of this node's log that the counts were built with.
        shipped: Option<u64>,
        /// Parts of this node's report that are counted, and whether these were all.
        counted: usize,
        is_whole: bool,
        /// Whether nobody may claim before this node has reported.
        is_awaited: bool,
    },
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stores::counters) enum Step {
    /// Ask again, at once: there is more to tell.
    Again,
    /// Rebuild it from the record.
    Build,
    /// Have the counts of this epoch made anew: it cannot be said any more what they lack.
    Anew(u64),
    /// Ask again in a while: others have not reported.
    Wait,
    /// It may be claimed by.
    Over,
}

impl Joining {
    /// That there is nothing to tell to the counts of this epoch: of an organization that is not known here. Of these only,
    /// as others may be built while it is on its way.
    pub fn of_nothing(epoch: u64) -> Self {
        Self { epoch, is_last: true, ..Self::default() }
    }
}

impl Ledger {
    /// Whether there is nothing that any counts could lack of what was admitted here, and nothing on its way to be admitted
    /// by counts that were lost: an answer of theirs would be taken by whoever knows none.
    pub fn is_blank(&self) -> bool {
        self.epoch == 0
            && self.untold_since.is_none()
            && self.report.is_none()
            && self.shipped.is_empty()
            && self.keys.values().all(|key| key.call.is_none())
            && self.is_all_shipped()
    }

    /// The next call.
    pub fn joining(&self) -> Joining {
        let Some(report) = &self.report else { return Joining::default() };
        let Some(part) = report.parts.get(report.counted) else { return Joining::default() };
        Joining {
            epoch: report.epoch,
            number: report.counted + 1,
            is_last: report.counted + 1 == report.parts.len(),
            part: part.clone(),
            slots: report.slots,
        }
    }

    /// The store has answered.
    pub fn heard(&mut self, org: &OrgId, said: Said, shipments: &Shipments, now: Local) -> Step {
        let Said::Known { epoch, is_open, shipped, counted, is_whole, is_awaited } = said else {
            self.report = None;
            return if said == Said::Missing { Step::Build } else { Step::Again };
        };
        if let Some(report) = self.report.as_mut().filter(|report| report.epoch == epoch) {
            report.counted = counted;
            if !is_whole {
                return Step::Again;
            }
        }
        self.report = None;
        if self.epoch != epoch && is_open && self.is_all_later_than(epoch) {
            // Counts that were there all the time: what is owed is all there is to tell.
            self.epoch = epoch;
        }
        if self.epoch != epoch && !is_open && !is_awaited && self.is_blank() {
            return Step::Wait;
        }
        if self.epoch != epoch {
            let position = shipments.position(shipped);
            let Some(tally) = self.lacking(position, &shipments.arrived(org, position)) else {
                return Step::Anew(epoch);
            };
            let slots = self.begin(epoch, now);
            self.report = Some(Report { epoch, parts: parts(&tally), counted: 0, slots });
            return Step::Again;
        }
        if is_open { Step::Over } else { Step::Wait }
    }

    /// Whether a report is not told to its end: until then nothing is claimed.
    pub const fn is_reporting(&self) -> bool {
        self.report.is_some()
    }

    /// Whether what this node has to tell of a store it had never reached was all admitted after `epoch`.
    fn is_all_later_than(&self, epoch: u64) -> bool {
        let built = Timestamp::from_micros(epoch).plus(CLOCKS_APART);
        self.epoch == 0 && self.untold_since.is_none_or(|since| since > built)
    }

    /// What was admitted here, and is not in a record that has this node's batches up to `position`, of those `arrived`
    /// that are not known to. `None` where that was too long ago to say.
    fn lacking(&self, position: u64, arrived: &Tally) -> Option<Tally> {
        if self.forgotten > position {
            return None;
        }
        let mut tally = Tally::default();
        for (id, key) in &self.keys {
            tally.put(*id, &key.unshipped);
        }
        tally.put_recent(&self.recent);
        let since = self.shipped.iter().filter(|batch| batch.number > position);
        since.for_each(|batch| tally.plus(&batch.tally));
        tally.less(arrived);
        Some(tally)
    }
}

/// At least one, so that also a node with nothing to tell has told it.
fn parts(tally: &Tally) -> Vec<Part> {
    let recent = tally.recent.iter().map(|(cell, count)| (finest(*cell), *count)).collect::<Vec<_>>();
    let mut parts = vec![Part { recent, ..Part::default() }];
    let mut cells = 0;
    for ((key, cell), sum) in &tally.cells {
        let Some(part) = parts.last_mut() else { break };
        let is_new = part.keys.last().is_none_or(|(last, _)| last != key);
        if cells >= CELLS_PER_PART || is_new && part.keys.len() >= KEYS_PER_PART {
            parts.push(Part { keys: vec![(*key, vec![(five_minutes(*cell), *sum)])], ..Part::default() });
            cells = 1;
            continue;
        }
        if is_new {
            part.keys.push((*key, Vec::new()));
        }
        if let Some((_, of)) = part.keys.last_mut() {
            of.push((five_minutes(*cell), *sum));
        }
        cells += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::*;
    use crate::domain::account::{Claim, Claimed};
    use crate::domain::cost::Cost;
    use crate::domain::limit::{Caps, Quotas};

    /// Counts that were there all the time know the call: what it was granted they must get back.
    #[test]
    fn what_was_granted_to_a_lost_call_is_given_back_to_counts_that_are_reported_to() {
        let (org, epoch) = (OrgId::parse("acme").unwrap(), Timestamp::from_seconds(1_800_000_000));
        let claim = Claim {
            key: None,
            caps: Caps::default(),
            quotas: Quotas::default(),
            key_limit: None,
            org_limit: None,
            estimate: Cost::default(),
        };
        let mut node = Ledger::default();
        assert!(matches!(node.claim(&claim, true, Local(1)), Answer::Ask));
        node.wait(None);
        let lost = node.call(None, Local(1)).unwrap();
        assert_eq!(lost.epoch, 0, "whatever counts there are may grant it");
        node.lost(None, lost.seq);
        // It is given up on, and served without.
        node.leave(None);
        node.counted(&Claimed { key: None, at: epoch, estimate: Cost::default() }, Local(2));

        let known = |counted, is_whole| Said::Known {
            epoch: epoch.micros(),
            is_open: true,
            shipped: None,
            counted,
            is_whole,
            is_awaited: false,
        };
        let shipments = Shipments::default();
        assert_eq!(node.heard(&org, known(0, false), &shipments, Local(3)), Step::Again);
        assert!(node.joining().is_last);
        assert_eq!(node.heard(&org, known(1, true), &shipments, Local(4)), Step::Over);
        assert_eq!(node.owing(), [None]);
        let next = node.call(None, Local(5)).unwrap();
        assert_eq!(next.epoch, epoch.micros());
        assert!(next.acked < lost.seq, "{} of {}", next.acked, lost.seq);
    }
}
