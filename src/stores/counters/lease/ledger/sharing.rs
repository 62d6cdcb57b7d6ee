//! What is admitted of an organization while the store is away, or may lack what others admitted without it.

use super::super::Local;
use super::super::key::KeyState;
use super::super::share::{Nodes, Share};
use super::super::sight::{Sight, Untold};
use super::{Answer, Ledger};
use crate::domain::account::{Account, Claim, Claimed, Denial, Standing};
use crate::domain::id::KeyId;
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;

impl Ledger {
    /// Admits a request within this node's share, or refuses it, while the store is away and its clock shows about
    /// `at`.
    #[allow(clippy::result_large_err, reason = "as the claim itself")]
    pub fn claim_share(
        &mut self,
        claim: &Claim<'_>,
        nodes: Nodes,
        at: Timestamp,
        now: Local,
    ) -> Result<(Claimed, Standing), Denial> {
        let in_flight = self.slots.in_flight;
        let admitted = self.share(claim.key, at, now).claim(claim, nodes, in_flight, at)?;
        self.counted(&admitted.0, now);
        Ok(admitted)
    }

    /// As [`Ledger::claim`], within this node's share, too: while the store may lack what others admitted without it.
    pub fn claim_within_share(
        &mut self,
        claim: &Claim<'_>,
        first: bool,
        nodes: Nodes,
        at: Timestamp,
        now: Local,
    ) -> Answer {
        let in_flight = self.slots.in_flight;
        let share = self.share(claim.key, at, now);
        let within = match share.claim(claim, nodes, in_flight, at) {
            Ok((within, _)) => within,
            Err(denial) => return Answer::Denied(denial),
        };
        let answer = self.claim(claim, first, now);
        if let (false, Some(share)) = (matches!(answer, Answer::Granted { .. }), &mut self.share) {
            share.release(&within);
        }
        answer
    }

    /// What an earlier process of this node admitted counts against its share, for as long as the store says nothing.
    pub fn restore(&mut self, before: Account) {
        self.before = Some(Box::new(before));
    }

    /// Whether it is known how much was counted of `key`, or this node's share of it was fixed without.
    pub fn knows_used(&self, key: Option<KeyId>) -> bool {
        let seen = self.keys.get(&key).is_some_and(|key| key.seen.is_some()) || self.idle.contains_key(&key);
        seen || self.share.as_ref().is_some_and(|share| share.knows(key))
    }

    /// What the log had counted of a key at `at` stands in for what the store never said; of the organization, too.
    pub fn learn(&mut self, key: KeyId, logged: &InUse, at: Timestamp) {
        if logged.minute.count > 0 || logged.organization.iter().any(|spent| spent.requests > 0) {
            self.seen.get_or_insert_with(|| Sight::<2>::of_logged(logged, at));
        }
        let sight = || Sight::<4>::of_logged(&logged.key, at);
        match self.keys.get_mut(&Some(key)) {
            Some(known) => {
                known.seen.get_or_insert_with(sight);
            }
            None => {
                self.idle.entry(Some(key)).or_insert_with(sight);
            }
        }
    }

    /// Whether what is admitted is counted against this node's share.
    pub const fn is_sharing(&self) -> bool {
        self.share.is_some()
    }

    /// The store is back, and counts what was admitted without it.
    pub fn end_share(&mut self) {
        self.share = None;
    }

    fn share(&mut self, key: Option<KeyId>, at: Timestamp, now: Local) -> &mut Share {
        if self.share.is_none() {
            // From now on they are what this node may admit by itself.
            self.keys.values_mut().for_each(|key| key.give_up(now));
        }
        let entries = self.keys.values().flat_map(KeyState::untold);
        let before = &mut self.before;
        let share = self.share.get_or_insert_with(|| {
            let before = before.take().filter(|_| self.seen.is_none());
            Box::new(Share::new(
                at,
                self.seen,
                entries,
                before.map_or_else(Account::default, |before| *before),
            ))
        });
        if !share.knows(key) {
            let state = Self::meet(&mut self.keys, &mut self.idle, key);
            state.give_up(now);
            share.meet(key, state.seen, Untold::of(state.untold()));
        }
        share
    }
}
