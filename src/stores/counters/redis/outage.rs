//! Without Redis: every node keeps to its share of every limit, and counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shard::Shard;
use super::{Inner, Unclaimed, local};
use crate::config::OnOutage;
use crate::domain::account::{Claim, Claimed, Standing};
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;

impl Inner {
    /// Answers a claim without Redis, as the configuration wants it.
    pub(super) fn claim_share(
        self: &Arc<Self>,
        shard: &Shard,
        id: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        self.claim_of_share(shard, id, claim, now, false).unwrap_or(Err(Unclaimed::Unavailable))
    }

    /// As [`Inner::claim_share`]; `None` where the record is to be asked first what was used.
    pub(super) fn claim_known_share(
        self: &Arc<Self>,
        shard: &Shard,
        id: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Option<Result<(Claimed, Standing), Unclaimed>> {
        self.claim_of_share(shard, id, claim, now, self.may_hear_of(claim.key))
    }

    /// `None` where what was used is not known, and is to be.
    fn claim_of_share(
        self: &Arc<Self>,
        shard: &Shard,
        id: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
        to_be_known: bool,
    ) -> Option<Result<(Claimed, Standing), Unclaimed>> {
        if self.on_outage == OnOutage::Closed {
            // One that answers is only asked for too much.
            return Some(Err(if shard.is_open() { Unclaimed::Unavailable } else { Unclaimed::Full }));
        }
        let at = local();
        let before =
            if self.has_share.load(Ordering::Relaxed) { self.before.lock().remove(id) } else { None };
        let answer = self.with(id, |org| {
            if let Some(before) = before {
                org.ledger.restore(before);
            }
            if to_be_known && !org.ledger.knows_used(claim.key) {
                return None;
            }
            if !org.ledger.knows(claim.key) && !self.has_room() {
                return Some(Err(Unclaimed::Full));
            }
            let (nodes, clock) = (shard.known.nodes(), shard.known.now(at));
            Some(org.ledger.claim_share(claim, nodes, clock, at).map_err(Unclaimed::Denied))
        })?;
        Some(match answer {
            Ok((claimed, mut standing)) => {
                shard.known.as_seen_here(&mut standing, now);
                Ok((claimed, standing))
            }
            Err(Unclaimed::Denied(mut denial)) => {
                shard.known.as_seen_here(&mut denial.standing, now);
                denial.retry_at = denial.retry_at.map(|at| shard.known.here(at, now));
                Err(Unclaimed::Denied(denial))
            }
            Err(other) => Err(other),
        })
    }
}
