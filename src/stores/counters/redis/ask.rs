//! Calls: who waits for one, who makes it, and who sees to it that what is owed is told in time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::link::LinkError;
use super::script::CLAIM;
use super::shard::Shard;
use super::{Inner, Local, Org, Unclaimed, local, wire};
use crate::domain::account::{Claim, Claimed, Standing};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::stores::counters::lease::{Answer, Call, Reply, Said};

/// How long a request waits at most while its organization is brought into a Redis that was found empty, the calls
/// included that failed before: meanwhile this node's share serves.
const WAIT_MAX: Duration = Duration::from_millis(900);
/// The same where this process has never known the organization, as after a restart of everything: its share, counted
/// from zero, would grant anew what was used before. Longer than a rebuild waits for nodes that do not come.
const MEET_MAX: Duration = Duration::from_secs(5);
/// How long a request waits at most for its turn among thousands, while Redis answers: beyond that, there are too many.
const TURN_MAX: Duration = Duration::from_secs(10);
/// How often whoever waits looks whether it still should.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a request waits for keys that are on their way to another master; after that, this node's share serves.
const MOVING_FOR: Duration = Duration::from_millis(500);
/// A look that is due so soon is taken at once.
const AT_ONCE: Duration = Duration::from_micros(500);

impl Inner {
    /// Waits until the ledger can answer a claim.
    pub(super) async fn ask(
        self: &Arc<Self>,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        let began = local();
        loop {
            let shard = Arc::clone(&self.link.shard(org));
            let (joining, met, is_adrift) =
                self.with(org, |org| (org.joining, org.met, org.is_adrift(claim.key, local())));
            // What its spool told counts against its share, as it did while Redis was away.
            let met = met || self.has_share.load(Ordering::Relaxed);
            let waited = local().since(began);
            let is_long = |since: Local| {
                let joining = local().since(since);
                if met { joining.max(waited) >= WAIT_MAX } else { joining >= MEET_MAX }
            };
            if shard.is_open() || joining.is_some_and(is_long) {
                self.hear_of(org, claim.key).await;
                return self.claim_share(&shard, org, claim, now);
            }
            if is_adrift {
                let concluded = self.claim_share(&shard, org, claim, now);
                // Which also finds out when it has arrived.
                self.more(org, claim.key);
                return concluded;
            }
            let (answer, seat) = self.claim_or_wait(&shard, org, claim)?;
            if let Some(concluded) = self.conclude(&shard, org, claim.key, &answer, now) {
                return concluded;
            }
            if waited >= TURN_MAX {
                return Err(Unclaimed::Full);
            }
            match (answer, seat) {
                (Answer::Later(later), _) => {
                    tokio::time::sleep(later.since(local()).min(TURN_MAX.saturating_sub(waited))).await;
                }
                (_, Some(seat)) => drop(tokio::time::timeout(LOOK_EVERY, seat.answered()).await),
                (_, None) => {}
            }
        }
    }

    /// Claims once more; where Redis has to be asked, takes a seat among those who wait and sees to the call.
    fn claim_or_wait<'a>(
        self: &'a Arc<Self>,
        shard: &Shard,
        id: &'a OrgId,
        claim: &Claim<'_>,
    ) -> Result<(Answer, Option<Seat<'a>>), Unclaimed> {
        let key = claim.key;
        let (answer, notify, call, joins) = self.with(id, |org| {
            let now = local();
            let answer = self.claim_of(org, shard, claim, false, now)?;
            if !matches!(answer, Answer::Ask) {
                return Ok((answer, None, None, false));
            }
            org.ledger.wait(key);
            let notify = Arc::clone(org.flights.entry(key).or_default());
            // Where it is being rebuilt, or that was interrupted, the end of that is what is waited for.
            let call = if org.joining.is_none() { org.ledger.call(key, now) } else { None };
            Ok((answer, Some(notify), call, org.ledger.is_reporting()))
        })?;
        if joins {
            self.join(id);
        }
        let seat = notify.map(|notify| Seat { inner: self, org: id, key, notify });
        if let Some(call) = call {
            self.make(id, call);
        }
        Ok((answer, seat))
    }

    /// Asks for more, with nobody waiting.
    pub(super) fn more(self: &Arc<Self>, org: &OrgId, key: Option<KeyId>) {
        if let Some(call) = self.with(org, |org| org.ledger.call(key, local())) {
            self.make(org, call);
        }
    }

    fn make(self: &Arc<Self>, org: &OrgId, call: Call) {
        let (inner, org) = (Arc::clone(self), org.clone());
        self.runtime.spawn(async move { inner.carry(&org, &call).await });
    }

    /// Makes a call, and sees to what is due then.
    async fn carry(self: &Arc<Self>, id: &OrgId, call: &Call) {
        if let Some(planned) = self.carry_out(id, call).await {
            self.attend(id, call.key, planned).await;
        }
    }

    /// Makes a call, and tells the ledger and those who wait what came of it; when to look at it again.
    async fn carry_out(self: &Arc<Self>, id: &OrgId, call: &Call) -> Option<Local> {
        let key = call.key;
        let sent = local();
        let reply = self.call(id, call).await;
        let next = match &reply {
            Ok(Reply::Done(done)) => {
                let shard = self.link.shard(id);
                shard.known.showed(done.now, sent);
                shard.known.local_after(done.cell_end)
            }
            _ => sent,
        };
        match &reply {
            Ok(Reply::Missing) => self.join_after(id, Said::Missing),
            Ok(Reply::OtherEpoch) => self.join(id),
            _ => {}
        }
        self.with(id, |org| {
            let now = local();
            match &reply {
                Err(LinkError::Moving) => drop(org.moving.entry(key).or_insert(sent)),
                _ => drop(org.moving.remove(&key)),
            }
            match &reply {
                Ok(reply) => {
                    org.met |= matches!(reply, Reply::Done(_));
                    org.ledger.answered(key, call.seq, reply, next, now);
                }
                Err(_) => org.ledger.lost(key, call.seq),
            }
            if org.joining.is_some() {
                // Who waits does so until that is over, and so does what is owed.
                return None;
            }
            if let Some(notify) = org.flights.remove(&key) {
                notify.notify_waiters();
            }
            let due = org.ledger.due(key, now).filter(|_| !self.link.shard(id).is_open())?;
            org.ledger.plan(key, now.plus(due))
        })
    }

    async fn call(&self, org: &OrgId, call: &Call) -> Result<Reply, LinkError> {
        let keys = wire::keys(org, call, &self.node);
        let argument = wire::encode(call, &self.node, self.link.shard(org).known.nodes().count, None);
        let value = match call.epoch {
            // Thousands may come at once, and calls that wait for each other are not to be taken for a Redis that is slow.
            0 => self.take_turn(&CLAIM, &keys, &[&argument]).await?,
            _ => self.link.run(&CLAIM, &keys, &[&argument]).await?,
        };
        wire::decode(&value, call).ok_or(LinkError::Unreadable)
    }

    /// Looks within `soon` whether `key` owes something, and tells it.
    pub(super) fn look_after(self: &Arc<Self>, id: &OrgId, key: Option<KeyId>, soon: Duration) {
        if let Some(planned) = self.with(id, |org| org.ledger.plan(key, local().plus(soon))) {
            self.look_at(id, key, planned);
        }
    }

    /// Takes the look at `key` that is planned.
    pub(super) fn look_at(self: &Arc<Self>, id: &OrgId, key: Option<KeyId>, planned: Local) {
        if !self.is_stopped() {
            let (inner, id) = (Arc::clone(self), id.clone());
            self.runtime.spawn(async move { inner.attend(&id, key, planned).await });
        }
    }

    /// Looks at `key` when it is planned, and tells what is owed, for as long as there is something to look at. A key in
    /// use is attended by one task from cell to cell.
    async fn attend(self: &Arc<Self>, id: &OrgId, key: Option<KeyId>, mut planned: Local) {
        loop {
            tokio::time::sleep(planned.since(local())).await;
            let next = match self.look(id, key, planned) {
                Look::Tell(call) => self.carry_out(id, &call).await,
                Look::At(next) => Some(next),
                Look::Never => None,
            };
            match next {
                Some(next) if !self.is_stopped() => planned = next,
                _ => return,
            }
        }
    }

    fn look(&self, id: &OrgId, key: Option<KeyId>, planned: Local) -> Look {
        let is_open = self.link.shard(id).is_open();
        self.with(id, |org| {
            // While Redis is given up, its return is what everything waits for. A call that is taken from the ledger
            // must be made.
            if !org.ledger.take_look(key, planned) || org.joining.is_some() {
                return Look::Never;
            }
            if is_open {
                // Who waited for this look is served without.
                org.flights.remove(&key).into_iter().for_each(|notify| notify.notify_waiters());
                return Look::Never;
            }
            let now = local();
            let due = org.ledger.due(key, now);
            // Who came in the last moments of a cell waits for this look.
            let is_time = due.is_some_and(|due| due <= AT_ONCE) || org.flights.contains_key(&key);
            match (is_time.then(|| org.ledger.call(key, now)).flatten(), due) {
                (Some(call), _) => Look::Tell(call),
                // Not at once again: a timer does not come early.
                (None, Some(due)) => {
                    org.ledger.plan(key, now.plus(due.max(AT_ONCE))).map_or(Look::Never, Look::At)
                }
                (None, None) => Look::Never,
            }
        })
    }

    /// Tells Redis everything that is owed for some organizations, a few keys at a time.
    pub(super) async fn tell_all(self: &Arc<Self>, of: impl Fn(&OrgId) -> bool) {
        const AT_A_TIME: usize = 32;
        let mut telling = tokio::task::JoinSet::new();
        for orgs in &self.orgs {
            let owing: Vec<_> = {
                let orgs = orgs.0.lock();
                orgs.iter()
                    .filter(|(id, _)| of(id))
                    .flat_map(|(id, org)| org.ledger.owing().into_iter().map(|key| (id.clone(), key)))
                    .collect()
            };
            for (id, key) in owing {
                while telling.len() >= AT_A_TIME {
                    telling.join_next().await;
                }
                let Some(call) = self.with(&id, |org| org.ledger.call(key, local())) else { continue };
                let inner = Arc::clone(self);
                telling.spawn(async move {
                    if let Some(planned) = inner.carry_out(&id, &call).await {
                        inner.look_at(&id, key, planned);
                    }
                });
            }
        }
        while telling.join_next().await.is_some() {}
    }

    /// Gives everything back: for the end of the process.
    pub(super) async fn close(self: &Arc<Self>) {
        self.stopped.store(true, Ordering::Relaxed);
        for orgs in &self.orgs {
            orgs.0.lock().values_mut().for_each(|org| org.ledger.close(local()));
        }
        self.tell_all(|org| !self.link.shard(org).is_open()).await;
    }
}

impl Org {
    /// Whether a key has been on its way to another master for too long to wait for it.
    fn is_adrift(&self, key: Option<KeyId>, now: Local) -> bool {
        self.moving.get(&key).is_some_and(|since| now.since(*since) >= MOVING_FOR)
    }
}

/// What a look at a key comes to.
enum Look {
    Tell(Call),
    /// To be looked at again, as is planned.
    At(Local),
    Never,
}

/// A place among those who wait for a call; left when dropped.
struct Seat<'a> {
    inner: &'a Inner,
    org: &'a OrgId,
    key: Option<KeyId>,
    notify: Arc<tokio::sync::Notify>,
}

impl Seat<'_> {
    /// Resolves when the call under way has ended, also where that was before this was first polled.
    async fn answered(&self) {
        let mut notified = pin!(self.notify.notified());
        notified.as_mut().enable();
        let is_over = self.inner.with(self.org, |org| {
            org.flights.get(&self.key).is_none_or(|notify| !Arc::ptr_eq(notify, &self.notify))
        });
        if !is_over {
            notified.await;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.inner.with(self.org, |org| org.ledger.leave(self.key));
    }
}
