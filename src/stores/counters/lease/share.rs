//! What a node may admit by itself while the store is away.
//!
//! **The rule** ([`Nodes::may`]). Of a limit that a node has seen counted, what was left then is shared by all nodes: a
//! node may admit its part of that, and beside it what it held and the store counted, less what it had admitted and the
//! store had not counted. What it never saw counted, the log has, where the record can be asked. Of a limit that neither
//! told of, or all of which has rolled out of its window since, it may admit its part of the cap. A second and a minute keep to that part, too.
//!
//! **What follows.** Parts of one number never add up to more than that. So all nodes together admit no more than the
//! cap where all have seen the same, and no fewer than that less one a node. A node that saw less counted than the last
//! of them may admit too much by its part of the difference: of what others have been granted since it last asked for
//! that key. Parts of what was left are rounded down, so that a difference of one or two a node does no harm.
//!
//! Everything a node admits is counted against its share from the first request that is served by it, also by leases,
//! until [`Ledger::end_share`](super::Ledger::end_share).

use ahash::AHashMap;

use super::Entry;
use super::sight::{Sight, Untold};
use crate::domain::account::{Account, Claim, Claimed, Denial, Gauge, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::limit::{Caps, Limit, Quotas, SpendLimit};
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;

/// The windows of a key's quotas: total, daily, weekly, monthly.
pub(super) const QUOTAS: [Option<Window>; 4] =
    [None, Some(Window::DAY), Some(Window::WEEK), Some(Window::MONTH)];
/// The windows of a plan.
pub(super) const PLAN: [Option<Window>; 2] = [Some(Window::SECOND), Some(Window::MINUTE)];

/// How many nodes there are, and this one's place among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// All that were there when they were last counted, this one too.
    pub count: u64,
    /// From 0.
    pub place: u64,
}

/// Alone, as far as is known.
impl Default for Nodes {
    fn default() -> Self {
        Self { count: 1, place: 0 }
    }
}

/// What one node has admitted of an organization since the store went away.
#[derive(Clone, Debug)]
pub(super) struct Share {
    began: Timestamp,
    seen: Option<Sight<2>>,
    untold: Untold,
    /// What the store counts and gets back.
    held: i64,
    keys: AHashMap<Option<KeyId>, KeyShare>,
    /// What was admitted since, and of the second and minute what the store did not count when it began.
    account: Account,
}

#[derive(Clone, Copy, Debug)]
struct KeyShare {
    seen: Option<Sight<4>>,
    untold: Untold,
}

impl Nodes {
    /// This node's part of a cap; the remainder goes to the first nodes, so that all parts together are the cap.
    const fn part(self, n: u64) -> u64 {
        n / self.count + (self.place < n % self.count) as u64
    }

    /// How much this node may admit of a limit of `cap` of which so much counted when it was last `seen`, after
    /// which this node had so much `untold`.
    fn may(self, cap: u64, seen: Option<u64>, untold: i64) -> u64 {
        let Some(seen) = seen else { return self.part(cap) };
        match cap.checked_sub(seen) {
            Some(left) => (left / self.count).saturating_add_signed(untold.saturating_neg()),
            // A cap that was lowered: first what is held makes up for what is too much.
            None => 0_u64.saturating_add_signed(untold.saturating_neg()).saturating_sub(seen - cap),
        }
    }

    fn limit(self, limit: &SpendLimit, seen: Option<super::Spent>, untold: Untold) -> SpendLimit {
        let requests =
            limit.requests.map(|cap| self.may(cap, seen.map(|seen| seen.requests), untold.requests));
        let microcents =
            limit.microcents.map(|cap| self.may(cap, seen.map(|seen| seen.microcents), untold.microcents));
        SpendLimit { requests, microcents, ..*limit }
    }
}

impl Share {
    /// Begins at `began`. `entries`: what the store has not been told, of all keys. `account`: what an earlier process
    /// admitted.
    pub fn new<'a>(
        began: Timestamp,
        seen: Option<Sight<2>>,
        entries: impl Iterator<Item = &'a Entry>,
        mut account: Account,
    ) -> Self {
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|entry| entry.at);
        let untold = Untold::of(entries.iter().copied());
        let held = entries.iter().map(|entry| -entry.requests.min(0)).sum();
        let recent = began.minus(Window::MINUTE.span() + Window::MINUTE.cell());
        for entry in entries.iter().filter(|entry| entry.requests > 0 && entry.at >= recent) {
            account.replay_recent(entry.at, entry.requests as u64, began);
        }
        Self { began, seen, untold, held, keys: AHashMap::new(), account }
    }

    /// Whether it is known what this node may admit of `key`.
    pub fn knows(&self, key: Option<KeyId>) -> bool {
        self.keys.contains_key(&key)
    }

    /// From now on this is known of `key`.
    pub fn meet(&mut self, key: Option<KeyId>, seen: Option<Sight<4>>, untold: Untold) {
        self.keys.insert(key, KeyShare { seen, untold });
    }

    /// Admits what the share has room for. `in_flight`: requests of the organization at this node.
    #[allow(clippy::result_large_err, reason = "as the claim itself")]
    pub fn claim(
        &mut self,
        claim: &Claim<'_>,
        nodes: Nodes,
        in_flight: u64,
        at: Timestamp,
    ) -> Result<(Claimed, Standing), Denial> {
        let key = self.keys.get(&claim.key);
        let (seen, untold) = key.map_or_else(Default::default, |key| (key.seen, key.untold));
        let quota = |place: usize, cap: Option<u64>| {
            let seen = seen.and_then(|seen| seen.ring(place, QUOTAS[place], at));
            cap.map(|cap| nodes.may(cap, seen, untold.requests))
        };
        let of_plan = |place: usize, cap: Option<u64>| {
            let seen = self.seen.and_then(|seen| seen.ring(place, PLAN[place], at));
            cap.map(|cap| nodes.may(cap, seen, -self.held).min(nodes.part(cap)))
        };
        let quotas = claim.quotas;
        let key_limit =
            claim.key_limit.map(|of| nodes.limit(of, seen.and_then(|seen| seen.spent(of, at)), untold));
        let org_limit = claim
            .org_limit
            .map(|of| nodes.limit(of, self.seen.and_then(|seen| seen.spent(of, at)), self.untold));
        let own = Claim {
            caps: Caps {
                per_second: of_plan(0, claim.caps.per_second),
                per_minute: of_plan(1, claim.caps.per_minute),
                concurrency: None,
            },
            quotas: Quotas {
                total: quota(0, quotas.total),
                daily: quota(1, quotas.daily),
                weekly: quota(2, quotas.weekly),
                monthly: quota(3, quotas.monthly),
            },
            key_limit: key_limit.as_ref(),
            org_limit: org_limit.as_ref(),
            ..*claim
        };
        let concurrency = claim.caps.concurrency.map(|cap| nodes.part(cap));
        let told = |mut standing: Standing, in_flight| {
            (standing.in_flight, standing.concurrency) = (in_flight, concurrency);
            let caps = [claim.caps.per_second, claim.caps.per_minute, quotas.total, quotas.daily];
            let spend = |limit: Option<&SpendLimit>| {
                limit.map_or([None; 2], |limit| [limit.requests, limit.microcents])
            };
            let caps = caps.into_iter().chain([quotas.weekly, quotas.monthly]);
            let caps = caps.chain(spend(claim.key_limit)).chain(spend(claim.org_limit));
            let gauges = [&mut standing.second, &mut standing.minute].into_iter().chain(&mut standing.quotas);
            let gauges = gauges.chain(&mut standing.key_spend).chain(&mut standing.org_spend);
            for (gauge, cap) in gauges.zip(caps) {
                if let (Some(Gauge { cap: told, .. }), Some(cap)) = (gauge, cap) {
                    *told = nodes.part(cap);
                }
            }
            standing
        };
        if concurrency.is_some_and(|cap| in_flight >= cap) {
            let standing = told(self.account.standing(&own, at), in_flight);
            return Err(Denial { limit: Limit::Concurrency, retry_at: None, standing });
        }
        match self.account.claim(&own, at) {
            Ok((claimed, standing)) => Ok((claimed, told(standing, in_flight + 1))),
            Err(Denial { limit, retry_at, standing }) => {
                // Not before what was seen has rolled out can it be known that there is room again.
                let seen = match limit {
                    Limit::Second => self.seen.and_then(|seen| seen.ends(PLAN[0])),
                    Limit::Minute => self.seen.and_then(|seen| seen.ends(PLAN[1])),
                    Limit::Daily => seen.and_then(|seen| seen.ends(QUOTAS[1])),
                    Limit::Weekly => seen.and_then(|seen| seen.ends(QUOTAS[2])),
                    Limit::Monthly => seen.and_then(|seen| seen.ends(QUOTAS[3])),
                    _ => None,
                };
                let retry_at = retry_at.or(seen.filter(|ends| *ends > at));
                Err(Denial { limit, retry_at, standing: told(standing, in_flight) })
            }
        }
    }

    /// Ends an admitted request.
    pub fn settle(&mut self, claimed: &Claimed, actual: Cost) {
        if claimed.at >= self.began {
            return self.account.settle(claimed, actual);
        }
        self.change(claimed, 0, actual.microcents as i64 - claimed.estimate.microcents as i64);
    }

    /// Undoes an admission of which nothing came.
    pub fn release(&mut self, claimed: &Claimed) {
        if claimed.at >= self.began {
            return self.account.release(claimed);
        }
        self.held += 1;
        self.change(claimed, -1, -(claimed.estimate.microcents as i64));
    }

    /// Something that was admitted before this began counts for more, or less.
    fn change(&mut self, claimed: &Claimed, requests: i64, microcents: i64) {
        self.untold.add(requests, microcents);
        if let Some(key) = self.keys.get_mut(&claimed.key) {
            key.untold.add(requests, microcents);
        }
    }
}

#[cfg(test)]
mod tests;
