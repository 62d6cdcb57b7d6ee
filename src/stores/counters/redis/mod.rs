//! Counters shared by many nodes, in Redis.
//!
//! Each node spends allowances that it has leased ([`lease`](super::lease)), so that most claims are answered here
//! without a wait, and asks Redis by one script that is one atomic step over an organization and a key: both lie under
//! one hash tag. Its master's clock is the clock of an organization. What the table says of Redis holds for every master of
//! a cluster by itself.
//!
//! | when | then |
//! |---|---|
//! | no allowance is at hand | the request waits for one call, which asks for all who wait |
//! | a call fails | what it may have done is set right with the next; who waited asks again |
//! | Redis is gone | the breaker opens; `on_outage = "local"`: this node's share of every cap, counted here and told to Redis on its return; `closed`: 503 |
//! | Redis is back | a probe finds out within half a second; for [`CAREFUL`](known) the share holds beside the leases, until every node has told what it counted |
//! | Redis has lost an organization or key, or a replica took over | it is rebuilt from the record and from what every node has admitted beside it, before anybody is admitted by it: [`rebuild`] |
//! | another node was killed, and Redis lost what it had counted | what that node had not shipped is unknown until it is back |
//! | this node dies | what it had leased stays counted until its windows have rolled over it; its slots are free after 10 s |
//! | Redis is gone, and this node never saw a key counted | what the record's log has of it counts: [`logged`] |
//! | this node starts without Redis | there are as many nodes as there were when it was last there ([`RedisSettings::before`]); without the record too, what its spool says it admitted counts against its share ([`RedisCounters::restore_share`]) |
//! | Redis's clock steps back | time stands still for an organization until it has caught up |
//! | `counters.keys_max` keys are counted on this node | [`Unclaimed::Full`] |
//!
//! **Without Redis** a node serves its share of what it last saw left of every limit: the rule is that of
//! [`lease`](super::lease)'s `share`.
//!
//! **Invariants.** No lock is held across a wait. One call per key is under way from this node. Every key in Redis has
//! a time to live.

mod ask;
mod blocks;
mod cluster;
mod door;
mod heart;
mod known;
mod link;
mod logged;
mod news;
mod orgs;
mod outage;
mod rebuild;
mod recovered;
mod script;
mod shard;
mod used;
mod wire;

#[cfg(test)]
pub(in crate::stores) mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(in crate::stores) use self::link::Link;
pub use self::link::LinkError;
use self::orgs::{LOCKS, Org, Orgs};
pub use self::recovered::{Noting, Recovered};
use self::shard::Shard;
use super::Unclaimed;
pub use super::lease::Nodes;
use super::lease::{Answer, Local, Shipments, batch};
use crate::clock;
use crate::config::OnOutage;
use crate::domain::account::{Account, Claim, Claimed, Standing};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;
use crate::stores::record::{Rows, UsageCell, UsageRecord};

/// Organizations that are rebuilt at a time: as many as the record is asked of at once, twice.
const BUILDS_AT_A_TIME: usize = 256;
/// Calls for organizations that Redis may not know that are under way at a time: others get their answers between.
const JOINS_AT_A_TIME: usize = 32;

/// How counters in Redis are set up.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where Redis is.
    pub url: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// What to do without it.
    pub on_outage: OnOutage,
    /// Keys that are counted on this node at most.
    pub keys_max: usize,
    /// The spool that this gateway's log goes through, as the record knows it.
    pub spool: Uuid,
    /// As many nodes as there were when this one was last there, for as long as Redis does not say how many there are.
    pub before: Nodes,
}

/// Counters in Redis.
#[derive(Debug)]
pub struct RedisCounters(Arc<Inner>);

struct Inner {
    link: Link,
    on_outage: OnOutage,
    /// What nodes call this one: random, made anew with each process.
    node: String,
    stopped: AtomicBool,
    orgs: Box<[Orgs]>,
    hasher: RandomState,
    /// Keys of which something is known here: exactly at every sweep, and never too few in between.
    keys: AtomicUsize,
    keys_max: usize,
    /// What earlier processes of this node admitted, as far as its spool told, until it is counted against this one's
    /// share; nothing where no spool was asked.
    before: Mutex<AHashMap<OrgId, Account>>,
    /// Whether one was.
    has_share: AtomicBool,
    /// The local instant, in microseconds, until which the record is not asked what was counted.
    unasked_until: AtomicU64,
    /// Whether Redis was away at the start, and so may not have been told what an earlier process admitted.
    began_alone: AtomicBool,
    record: Arc<dyn UsageRecord>,
    /// Where calls are made: not on the I/O threads.
    runtime: Handle,
    /// What Redis calls this node's spool.
    spool: String,
    /// Batches of the log that are on their way. Locked before organizations are.
    shipments: Mutex<Shipments>,
    /// Up to where it is known who is blocked.
    blocks: Mutex<blocks::Known>,
    /// What an earlier process left, of organizations that may have been rebuilt without it.
    recovered: Mutex<Recovered>,
    /// Bounds how many calls are made at a time for organizations that Redis may not know.
    joins: Semaphore,
    /// Bounds how many of them are rebuilt at a time.
    builds: Semaphore,
}

impl RedisCounters {
    /// Counters over Redis at `settings.url`, whose calls are made on `runtime`, and which are rebuilt from `record`:
    /// once more where that has got what was `recovered` only now.
    ///
    /// Redis need not be there.
    ///
    /// # Errors
    /// Where the URL cannot be read, or the operating system has no randomness.
    pub async fn start(
        settings: &RedisSettings,
        record: Arc<dyn UsageRecord>,
        recovered: Recovered,
        runtime: Handle,
    ) -> Result<Self, LinkError> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| LinkError::Connection(error.to_string()))?;
        let inner = Arc::new(Inner {
            link: Link::after(settings.before, &settings.url, settings.timeout)?,
            on_outage: settings.on_outage,
            node: format!("{:016x}", u64::from_ne_bytes(name)),
            stopped: false.into(),
            orgs: (0..LOCKS).map(|_| Orgs::default()).collect(),
            hasher: RandomState::new(),
            keys: 0.into(),
            keys_max: settings.keys_max,
            before: Mutex::default(),
            has_share: false.into(),
            unasked_until: 0.into(),
            began_alone: false.into(),
            record,
            runtime,
            spool: rebuild::spool_name(settings.spool),
            shipments: Mutex::default(),
            blocks: Mutex::default(),
            recovered: Mutex::new(recovered),
            joins: Semaphore::new(JOINS_AT_A_TIME),
            builds: Semaphore::new(BUILDS_AT_A_TIME),
        });
        if !inner.first_word().await {
            inner.began_alone.store(true, Ordering::Relaxed);
        }
        inner.runtime.spawn(heart::beat(Arc::downgrade(&inner), inner.link.news()));
        Ok(Self(inner))
    }

    /// See [`super::Counters::at_once`].
    pub fn at_once(
        &self,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Option<Result<(Claimed, Standing), Unclaimed>> {
        let inner = &self.0;
        let shard = inner.link.shard(org);
        if shard.is_open() {
            return inner.claim_known_share(&shard, org, claim, now);
        }
        match inner.with(org, |org| inner.claim_of(org, &shard, claim, true, local())) {
            Ok(answer) => inner.conclude(&shard, org, claim.key, &answer, now),
            Err(unclaimed) => Some(Err(unclaimed)),
        }
    }

    /// See [`super::Counters::ask`].
    ///
    /// # Errors
    /// [`Unclaimed`].
    pub async fn ask(
        &self,
        org: &OrgId,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Result<(Claimed, Standing), Unclaimed> {
        self.0.ask(org, claim, now).await
    }

    /// See [`super::Counters::settle`].
    pub fn settle(&self, org: &OrgId, claimed: &Claimed, actual: Cost) {
        let inner = &self.0;
        let planned = inner.with(org, |org| org.ledger.settle(claimed, actual, local()));
        if let Some(planned) = planned {
            inner.look_at(org, claimed.key, planned);
        }
    }

    /// See [`super::Counters::release`].
    pub fn release(&self, org: &OrgId, claimed: &Claimed) {
        let inner = &self.0;
        let planned = inner.with(org, |org| org.ledger.release(claimed, local()));
        if let Some(planned) = planned {
            inner.look_at(org, claimed.key, planned);
        }
    }

    /// See [`super::Counters::used`]. Without Redis it is what was seen last, and what this node has admitted since.
    pub async fn used(&self, org: &OrgId, key: KeyId) -> InUse {
        match self.0.used(org, key).await {
            Some(in_use) => in_use,
            None => self.0.used_as_known(org, key),
        }
    }

    /// A batch of the log is about to go to the record, and may arrive whatever is heard of it.
    pub fn shipping(&self, number: u64, rows: &Rows) {
        self.0.shipments.lock().sending(number, batch(rows));
    }

    /// All batches have arrived.
    pub fn shipped(&self) {
        let inner = &self.0;
        let mut shipments = inner.shipments.lock();
        for (number, batch) in shipments.sent() {
            for (org, tally) in batch {
                // Whoever is not known here has nothing that was not shipped.
                if let Some(org) = inner.orgs_with(&org).lock().get_mut(&org) {
                    org.ledger.shipped(number, tally, local());
                }
            }
        }
    }

    /// Calls made to Redis so far.
    pub fn round_trips(&self) -> u64 {
        self.0.link.round_trips()
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.link.is_up()
    }

    /// Whether nobody is admitted: no master answers, and without one nobody is to be. In a Cluster, while one does, its
    /// organizations are.
    pub fn refuses_all(&self) -> bool {
        self.0.on_outage == OnOutage::Closed && self.0.link.shards().iter().all(|shard| shard.is_open())
    }

    /// How many nodes there are, as far as a master has said; `None` where none is known.
    pub fn nodes(&self) -> Option<Nodes> {
        self.0.link.shards().iter().map(|shard| shard.known.nodes()).max_by_key(|nodes| nodes.count)
    }

    /// What an earlier process of this node admitted counts against its share. Before the first claim.
    pub fn restore_share(
        &self,
        usage: &[UsageCell],
        totals: &[(OrgId, KeyId, u64)],
        recent: &[(OrgId, Option<KeyId>, Timestamp)],
        now: Timestamp,
    ) {
        let mut before = self.0.before.lock();
        for cell in usage {
            let account = before.entry(cell.organization.clone()).or_default();
            account.replay(cell.key, cell.at, cell.admitted, cell.cost, now);
        }
        for (org, key, total) in totals {
            before.entry(org.clone()).or_default().replay_total(*key, *total);
        }
        for (org, _, at) in recent {
            before.entry(org.clone()).or_default().replay_recent(*at, 1, now);
        }
        self.0.has_share.store(true, Ordering::Relaxed);
    }

    /// The record has got this only now: as with [`RedisCounters::start`].
    pub fn recovered(&self, recovered: Recovered) {
        self.0.recovered.lock().extend(recovered);
    }

    /// Gives back what is leased and says what is owed, as far as Redis answers: for the end of the process.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Says goodbye, where nothing is left that only this process knows: after the log has been shipped.
    pub async fn leave(&self) {
        self.0.goodbye().await;
    }
}

impl Inner {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The end of a claim that the ledger could answer; `None` where Redis has to be asked.
    fn conclude(
        self: &Arc<Self>,
        shard: &Shard,
        org: &OrgId,
        key: Option<KeyId>,
        answer: &Answer,
        now: Timestamp,
    ) -> Option<Result<(Claimed, Standing), Unclaimed>> {
        match answer {
            Answer::Granted { claimed, standing, more } => {
                let (claimed, mut standing) = (*claimed, *standing);
                if *more {
                    self.more(org, key);
                }
                shard.known.as_seen_here(&mut standing, now);
                Some(Ok((claimed, standing)))
            }
            Answer::Denied(denial) => {
                let mut denial = *denial;
                shard.known.as_seen_here(&mut denial.standing, now);
                denial.retry_at = denial.retry_at.map(|at| shard.known.here(at, now));
                Some(Err(Unclaimed::Denied(denial)))
            }
            Answer::Later(_) | Answer::Ask => None,
        }
    }
}

/// The keys of an organization in Redis, all under its hash tag.
fn redis_key(org: &OrgId, what: &str) -> String {
    format!("tollgate:{{{org}}}:{what}")
}

/// The present instant of the clock that leases are held by.
fn local() -> Local {
    Local(clock::monotonic().as_micros() as u64)
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCounters")
            .field("node", &self.node)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
