//! What Redis does not know is rebuilt, before anybody is admitted by it: from the record, and from what every node has
//! admitted and the record does not hold yet.
//!
//! Redis does not know an organization that nobody has used for long, or ever, or that it has lost, or that another
//! server had counted, the last of which may be missing. One node at a time takes a lock and writes what the record
//! holds, as of one instant. Every node then reports what that lacked ([`join`](super::super::lease)), and learns from
//! its heartbeat that it should. Until all have, or [`REPORT_WITHIN`] is over, nobody can claim by it: requests wait for
//! a moment, and are then served within this node's share. A process that has never known the organization has none
//! to speak of: there they wait until the end.
//!
//! | when | then |
//! |---|---|
//! | the node that rebuilds dies | the lock ends, another one begins anew |
//! | Redis is emptied meanwhile | the lock is gone with it: all of it begins anew |
//! | the record is away | tried again, less and less often; this node's share serves |
//! | Redis was found empty a moment ago | nobody claims before every node that the record has heard of had the time to speak |
//! | a node dies before it has reported | the record is read once more after [`SPEAK_WITHIN`]: what it shipped before it died is there by then |
//! | it had not shipped all of it | that is on its disk: its next start ships it, and has them rebuilt: [`recovered`](super::recovered) |
//! | a node comes late | its report is counted when it comes |
//! | a node cannot say any more what was lacking | the counts are made anew |

mod parts;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value};
use uuid::Uuid;

pub(super) use self::parts::{Awaited, parts};
use super::heart::{EVERY, announcement};
use super::script::{FORGET, REPORT, RESTORE};
use super::shard::Shard;
use super::{Inner, LinkError, local, redis_key, wire};
use crate::domain::id::{KeyId, OrgId};
use crate::stores::counters::lease::{Joining, Said, Step};
use crate::stores::counters::memory::{HISTORY, RECENT};

/// Takes the lock, which ends by itself.
static LOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0")
});
/// Lets go of it, where it is still ours.
static UNLOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1")
});
/// Nodes that are waited for.
pub(super) static AWAITED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local names = {}
         for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
           if string.sub(field, 1, 1) == 'w' then names[#names + 1] = string.sub(field, 2) end
         end
         return names",
    )
});
/// Longer than a rebuild takes; the loser of a lock looks again much sooner.
const LOCK_FOR: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long nodes may take to report.
const REPORT_WITHIN: Duration = Duration::from_secs(3);
/// Who has not by then is taken for dead. What it had shipped before, counts may lack that were built while it lived: they
/// are built once more, without waiting for it.
const SPEAK_WITHIN: Duration = Duration::from_secs(2);
/// How long after Redis was found empty every node that lives has spoken.
const ALL_SPEAK_WITHIN: Duration = EVERY.saturating_mul(3);
/// The longest pause between two looks whether others have reported, who hear of it at their next beat, or whether what was
/// announced is there to report to.
const PATIENCE_MAX: Duration = Duration::from_millis(80);
/// The longest pause between two attempts while the record is away.
const PAUSE_MAX: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Inner {
    /// Sees to it that this node is counted by what Redis holds of `id`; nothing where it is at it.
    pub(super) fn join(self: &Arc<Self>, id: &OrgId) {
        self.begin_to_join(id, None);
    }

    /// As [`Inner::join`], where Redis has just said something of it.
    pub(super) fn join_after(self: &Arc<Self>, id: &OrgId, said: Said) {
        self.begin_to_join(id, Some(said));
    }

    fn begin_to_join(self: &Arc<Self>, id: &OrgId, said: Option<Said>) {
        if self.is_stopped()
            || self.with(id, |org| org.joining.replace(org.joining.unwrap_or(local())).is_some())
        {
            return;
        }
        let (inner, id) = (Arc::clone(self), id.clone());
        self.runtime.spawn(async move {
            if let Err(error) = inner.join_whole(&id, said).await {
                tracing::debug!(organization = %id, %error, "not counted in Redis yet");
            }
            let (waiting, owing) = inner.with(&id, |org| {
                org.joining = None;
                let waiting: Vec<_> = org.flights.drain().map(|(_, notify)| notify).collect();
                (waiting, org.ledger.owing())
            });
            waiting.iter().for_each(|notify| notify.notify_waiters());
            owing.into_iter().for_each(|key| inner.look_after(&id, key, Duration::ZERO));
        });
    }

    /// Another node is about to rebuild `id`. Where nothing is known of it here, that is all there is to tell: to the counts
    /// that are `build`, of which it is known that they were asked for before this was looked at.
    pub(super) fn join_announced(self: &Arc<Self>, id: OrgId, build: String) {
        if self.is_known(&id) {
            return self.join(&id);
        }
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            let (until, mut next) = (local().plus(REPORT_WITHIN), Joining::of_nothing(0));
            let (mut patience, mut build) = (LOOK_AGAIN, Some(build));
            while !inner.is_stopped() && local() < until {
                if inner.is_known(&id) {
                    return inner.join(&id);
                }
                match inner.report(&id, &next, build.as_deref()).await {
                    Ok(Said::Known { is_awaited: false, .. }) => return,
                    // Those are others.
                    Ok(Said::Known { epoch, .. }) => (next, build) = (Joining::of_nothing(epoch), None),
                    Ok(Said::OtherEpoch) => (next, build) = (Joining::default(), None),
                    Err(_) if inner.link.shard(&id).is_open() => return,
                    // It was announced, and is not there yet.
                    _ => wait(&mut patience).await,
                }
            }
        });
    }

    fn is_known(&self, id: &OrgId) -> bool {
        self.orgs_with(id).lock().contains_key(id)
    }

    async fn join_whole(self: &Arc<Self>, id: &OrgId, mut known: Option<Said>) -> Result<(), LinkError> {
        let mut pause = LOOK_AGAIN;
        let mut patience = LOOK_AGAIN;
        let mut written = None;
        while !self.is_stopped() {
            let joining = self.with(id, |org| org.ledger.joining());
            let said = match known.take() {
                Some(said) => Ok(said),
                None => self.report(id, &joining, None).await,
            };
            let said = match said {
                Ok(said) => said,
                // When it is back, it is asked about every organization.
                Err(error) if self.link.shard(id).is_open() => return Err(error),
                Err(_) => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            let step = {
                let shipments = self.shipments.lock();
                self.with(id, |org| org.ledger.heard(id, said, &shipments, local()))
            };
            match step {
                Step::Over => return Ok(()),
                Step::Again => {}
                Step::Wait => {
                    if let Some((epoch, at)) = written
                        && local().since(at) >= SPEAK_WITHIN
                    {
                        known = self.build_without_silent(id, epoch).await;
                    }
                    match known {
                        Some(_) => written = None,
                        None => wait(&mut patience).await,
                    }
                }
                Step::Build => match self.build(id, &Instead::default()).await {
                    Ok(said) => {
                        known = said;
                        if let Some(Said::Known { epoch, .. }) = said {
                            written = Some((epoch, local()));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(organization = %id, %error, "an organization cannot be rebuilt in Redis now");
                        tokio::time::sleep(pause).await;
                        pause = (2 * pause).min(PAUSE_MAX);
                    }
                },
                Step::Anew(epoch) => {
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE_MAX);
                    drop(self.forget(id, epoch..=epoch).await);
                }
            }
        }
        Ok(())
    }

    /// `build`: the only counts that it is meant for, by the token of who builds them.
    async fn report(&self, id: &OrgId, joining: &Joining, build: Option<&str>) -> Result<Said, LinkError> {
        let keys = joining_keys(id, joining);
        let argument = wire::encode_joining(joining, &self.node, &self.spool, build, None);
        let value = self.take_turn(&REPORT, &keys, &[&argument]).await?;
        wire::decode_said(&value).ok_or(LinkError::Unreadable)
    }

    /// A call for an organization that Redis may not know, when it is its turn.
    pub(super) async fn take_turn(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        let _turn = self.joins.acquire().await;
        self.link.run(script, keys, arguments).await
    }

    /// Has Redis forget counts of one of these epochs.
    pub(super) async fn forget(&self, id: &OrgId, epochs: RangeInclusive<u64>) -> Result<(), LinkError> {
        let (first, last) = (epochs.start().to_string(), epochs.end().to_string());
        self.link.run(&FORGET, &[redis_key(id, "o")], &[&first, &last]).await.map(drop)
    }

    /// Has counts that this node has written made anew without waiting for those who have not reported to them. `None`
    /// where all have, or that cannot be done now: if it cannot be for long, they are claimed by as they are.
    async fn build_without_silent(self: &Arc<Self>, id: &OrgId, epoch: u64) -> Option<Said> {
        let names = self.take_turn(&AWAITED, &[redis_key(id, "b")], &[]).await.ok()?;
        let silent: Vec<String> = redis::from_redis_value(names).ok()?;
        if silent.is_empty() {
            return None;
        }
        tracing::info!(organization = %id, nodes = ?silent, "an organization is rebuilt without nodes that say nothing");
        self.build(id, &Instead { epoch, silent }).await.ok().flatten()
    }

    /// Writes what the record holds, or leaves it to whoever is at it. What Redis knows of it then; `None` where that is to
    /// be asked.
    async fn build(self: &Arc<Self>, id: &OrgId, instead: &Instead) -> Result<Option<Said>, Failure> {
        let _turn = self.builds.acquire().await;
        let lock = [redis_key(id, "r")];
        let token = format!("{}-{}", self.node, local().0);
        let lock_for = LOCK_FOR.as_millis().to_string();
        if self.take_turn(&LOCK, &lock, &[&token, &lock_for]).await? != Value::Int(1) {
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(None);
        }
        let built = self.write(id, &token, instead).await;
        if !matches!(built, Ok(Some(_))) {
            drop(self.take_turn(&UNLOCK, &lock, &[&token]).await);
        }
        built
    }

    async fn write(
        self: &Arc<Self>,
        id: &OrgId,
        token: &str,
        instead: &Instead,
    ) -> Result<Option<Said>, Failure> {
        let shard = Arc::clone(&self.link.shard(id));
        let now = shard.known.now(local());
        let usage = self.record.usage_of(id, now.minus(HISTORY), now.minus(RECENT)).await?;
        // Whoever lives hears of it before there is anything to claim by.
        self.announce(&shard, id, token).await?;
        let mut nodes = shard.known.names();
        // Where there has never been another, nobody is waited for who might speak.
        let is_alone = nodes.iter().all(|name| *name == self.node)
            && usage.alive.iter().all(|spool| spool_name(*spool) == self.spool);
        let emptied = shard.known.emptied_ago().filter(|_| !is_alone);
        let at_least = emptied.map_or(Duration::ZERO, |ago| ALL_SPEAK_WITHIN.saturating_sub(ago));
        let has_nothing_to_tell = self.with(id, |org| org.ledger.is_blank());
        nodes.retain(|name| !instead.silent.contains(name) && (*name != self.node || !has_nothing_to_tell));
        let awaited = Awaited { nodes, at_least, at_most: at_least.max(REPORT_WITHIN) };
        let mut said = None;
        for part in parts(id, &usage, &awaited) {
            let argument = part.argument(token, instead.epoch, None);
            let mut keys = vec![redis_key(id, "o"), redis_key(id, "r"), redis_key(id, "b")];
            keys.extend(part.names);
            match wire::decode_restored(&self.take_turn(&RESTORE, &keys, &[&argument]).await?) {
                Some(restored) => said = restored,
                None => return Ok(None),
            }
        }
        if !usage.cells.is_empty() {
            tracing::info!(organization = %id, "an organization was rebuilt in Redis from the record");
        }
        let said = said.map(|(epoch, is_open)| Said::Known {
            epoch,
            is_open,
            shipped: usage.shipped.iter().find(|(spool, _)| spool_name(*spool) == self.spool).map(|of| of.1),
            counted: 0,
            is_whole: false,
            is_awaited: !has_nothing_to_tell,
        });
        Ok(said)
    }

    /// Says that `id` is about to be rebuilt, together with others.
    async fn announce(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        id: &OrgId,
        token: &str,
    ) -> Result<(), LinkError> {
        let (inner, at) = (Arc::clone(self), Arc::clone(shard));
        let announcing =
            shard.announcements.ask(announcement(id, token), move |organizations: Vec<String>| {
                let (inner, at) = (Arc::clone(&inner), Arc::clone(&at));
                async move {
                    let is_told = inner.hello(&at, &organizations).await.is_ok();
                    vec![is_told; organizations.len()]
                }
            });
        if announcing.await == Some(true) { Ok(()) } else { Err(LinkError::Timeout(self.link.timeout())) }
    }
}

/// Counts that are made anew while they are there, as nodes had not reported to them: nobody waits for these once more.
#[derive(Debug, Default)]
struct Instead {
    /// 0 where there are none.
    epoch: u64,
    silent: Vec<String>,
}

/// Waits before the next look, and for twice as long before the one after that.
async fn wait(patience: &mut Duration) {
    tokio::time::sleep(*patience).await;
    *patience = (2 * *patience).min(PATIENCE_MAX);
}

/// The keys of a report.
pub(super) fn joining_keys(id: &OrgId, joining: &Joining) -> Vec<String> {
    let keys = joining.part.keys.iter().map(|(key, _)| self::key(id, *key));
    ["o", "b", "s"].map(|what| redis_key(id, what)).into_iter().chain(keys).collect()
}

/// The key of a key; that of none is never written.
fn key(id: &OrgId, key: Option<KeyId>) -> String {
    redis_key(id, &key.map_or_else(|| "k:".to_owned(), |key| format!("k:{}", key.0.as_simple())))
}

/// What Redis calls a spool.
pub(super) fn spool_name(spool: Uuid) -> String {
    spool.as_simple().to_string()
}
