//! Without Redis: every node keeps to its share of every cap, and counts.
//!
//! Shares are cap ÷ nodes as they were last seen, the remainder going to the first of them, so that all shares
//! together are the cap. What a node had admitted before counts against its share; what others had, it cannot know.

use std::sync::Arc;

use super::known::Nodes;
use super::shard::Shard;
use super::{Inner, Unclaimed, local};
use crate::config::OnOutage;
use crate::domain::account::{Claim, Claimed, Standing};
use crate::domain::id::OrgId;
use crate::domain::limit::{Caps, Quotas, SpendLimit};
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
        if self.on_outage == OnOutage::Closed {
            return Err(Unclaimed::Unavailable);
        }
        let at = local();
        match self.own_share(shard, id, claim, shard.known.now(at)) {
            Ok((claimed, mut standing)) => {
                self.with(id, |org| org.ledger.counted(&claimed, at));
                shard.known.as_seen_here(&mut standing, now);
                Ok((claimed, standing))
            }
            Err(Unclaimed::Denied(mut denial)) => {
                shard.known.as_seen_here(&mut denial.standing, now);
                denial.retry_at = denial.retry_at.map(|at| shard.known.here(at, now));
                Err(Unclaimed::Denied(denial))
            }
            Err(other) => Err(other),
        }
    }

    /// Admits what this node's share of every cap has room for.
    #[allow(clippy::result_large_err, reason = "as the claim itself")]
    pub(super) fn own_share(
        &self,
        shard: &Shard,
        org: &OrgId,
        claim: &Claim<'_>,
        at: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        let Nodes { count: nodes, place } = shard.known.nodes();
        let share = Share { nodes, place };
        let (key_limit, org_limit) =
            (claim.key_limit.map(|it| share.limit(it)), claim.org_limit.map(|it| share.limit(it)));
        let shared = Claim {
            caps: share.caps(claim.caps),
            quotas: share.quotas(claim.quotas),
            key_limit: key_limit.as_ref(),
            org_limit: org_limit.as_ref(),
            ..*claim
        };
        self.own.claim(org, &shared, at)
    }
}

/// One node's part of every cap.
#[derive(Clone, Copy, Debug)]
struct Share {
    nodes: u64,
    place: u64,
}

impl Share {
    fn of(self, cap: Option<u64>) -> Option<u64> {
        cap.map(|cap| cap / self.nodes + u64::from(self.place < cap % self.nodes))
    }

    fn caps(self, caps: Caps) -> Caps {
        Caps {
            per_second: self.of(caps.per_second),
            per_minute: self.of(caps.per_minute),
            concurrency: self.of(caps.concurrency),
        }
    }

    fn quotas(self, quotas: Quotas) -> Quotas {
        Quotas {
            total: self.of(quotas.total),
            daily: self.of(quotas.daily),
            weekly: self.of(quotas.weekly),
            monthly: self.of(quotas.monthly),
        }
    }

    fn limit(self, limit: &SpendLimit) -> SpendLimit {
        SpendLimit { requests: self.of(limit.requests), microcents: self.of(limit.microcents), ..*limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_nodes_are_the_cap() {
        for (cap, nodes) in [(0, 1), (1, 1), (3, 8), (8, 8), (100, 7), (u64::MAX, 3)] {
            let shares = (0..nodes).map(|place| Share { nodes, place }.of(Some(cap)).unwrap());
            assert_eq!(shares.map(u128::from).sum::<u128>(), u128::from(cap), "{cap} over {nodes}");
        }
        assert_eq!(Share { nodes: 3, place: 0 }.of(None), None);
    }
}
