//! What goes on without requests: saying that this node is there, and finding Redis again when it was lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::news::News;
use super::script::{GOODBYE, HELLO};
use super::shard::Shard;
use super::wire::WHOLE_MAX;
use super::{Inner, LinkError, local};
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;

/// How often a node says that it is there, and hears what was rebuilt; and how long that counts.
pub(super) const EVERY: Duration = Duration::from_millis(250);
const COUNTS_FOR: Duration = Duration::from_secs(5);
/// The same while organizations are being rebuilt, which wait until every node has heard of it: so often for each node
/// that there is, that Redis hears no more than two hundred words a second, however many there are.
const OFTEN_EACH: Duration = Duration::from_millis(5);
const OFTEN_MIN: Duration = Duration::from_millis(10);
/// Rebuilt organizations in one answer, as `script/hello.lua` has it.
const TOLD_AT_ONCE: usize = 500;
/// How often a Redis that was lost is looked for.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// How often what has gone idle is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Beats until the counters are gone or closed; at once where there is `news` of Redis.
pub(super) async fn beat(inner: Weak<Inner>, news: Arc<News>) {
    let mut swept = local();
    loop {
        let pause = match inner.upgrade() {
            Some(inner) if !inner.stopped.load(Ordering::Relaxed) => {
                inner.beat_once().await;
                if local().since(swept) >= SWEEP_EVERY {
                    inner.sweep_ledgers();
                    swept = local();
                }
                inner.pause()
            }
            _ => return,
        };
        // Either way it is time to look.
        let _ = tokio::time::timeout(pause, news.notified()).await;
    }
}

/// How often this node has to say to `shard` that it is there.
fn every(shard: &Shard) -> Duration {
    if !shard.known.is_rebuilding() {
        return EVERY;
    }
    let nodes = u32::try_from(shard.known.nodes().count).unwrap_or(u32::MAX);
    OFTEN_EACH.saturating_mul(nodes).clamp(OFTEN_MIN, EVERY)
}

/// What others have said to be about to rebuild since that was last asked.
#[derive(Default)]
pub(super) struct Rebuilt {
    /// Each with the token of whoever rebuilds it.
    organizations: Vec<(OrgId, String)>,
    has_more: bool,
}

/// That `org` is about to be rebuilt by who holds `token`.
pub(super) fn announcement(org: &OrgId, token: &str) -> String {
    format!("{org} {token}")
}

fn announced_in(announcement: &str) -> Option<(OrgId, String)> {
    let (org, token) = announcement.split_once(' ')?;
    Some((OrgId::parse(org).ok()?, token.to_owned()))
}

impl Inner {
    /// The first beat of all, after which it is known whether Redis is there, and how many nodes. Whether all of it is.
    pub(super) async fn first_word(self: &Arc<Self>) -> bool {
        self.link.look_around().await;
        let greetings = self.link.shards().into_iter().map(async |shard| {
            // Nobody waits for this node's word on what was rebuilt before it was there.
            shard.known.knows_rebuilt_until(WHOLE_MAX);
            self.hello(&shard, &[]).await.is_ok() || self.hello(&shard, &[]).await.is_ok()
        });
        let answered = join_all(greetings).await;
        !answered.is_empty() && answered.into_iter().all(|answered| answered)
    }

    /// How long until the next beat.
    fn pause(&self) -> Duration {
        if !self.link.is_settled() {
            return PROBE_EVERY;
        }
        self.link.shards().iter().map(|shard| every(shard)).min().unwrap_or(EVERY)
    }

    async fn beat_once(self: &Arc<Self>) {
        self.link.look_around().await;
        let beating = self.link.shards().into_iter().map(|shard| self.beat_of(shard));
        join_all(beating).await;
    }

    async fn beat_of(self: &Arc<Self>, shard: Arc<Shard>) {
        let server = shard.server();
        if shard.is_open() {
            // Before the breaker can close, so that whoever sees it closed also sees this.
            shard.known.be_careful();
        } else if !shard.known.take_greeting(every(&shard)) {
            return;
        }
        if self.is_stopped() {
            return;
        }
        loop {
            let Ok(rebuilt) = self.hello(&shard, &[]).await else { return };
            rebuilt.organizations.into_iter().for_each(|(org, build)| self.join_announced(org, build));
            if !rebuilt.has_more {
                break;
            }
        }
        self.tell_recovered(&shard).await;
        if shard.known.take_owed() || server != shard.server() {
            // Whether it still has what it had is asked also where nothing is owed, which is told in the end.
            self.known(|org| Arc::ptr_eq(&shard, &self.link.shard(org)))
                .iter()
                .for_each(|org| self.join(org));
        }
    }

    /// Says that this node is there, and that `announced` are about to be rebuilt, each as [`announcement`] has it.
    pub(super) async fn hello(&self, shard: &Shard, announced: &[String]) -> Result<Rebuilt, LinkError> {
        let (counts_for, since) =
            (COUNTS_FOR.as_micros().to_string(), shard.known.rebuilt_until().to_string());
        let mut arguments = vec![self.node.as_str(), &counts_for, &since];
        arguments.extend(announced.iter().map(String::as_str));
        let sent = local();
        let answer = shard.probe(&HELLO, &shard.nodes_keys(), &arguments).await?;
        let (now, emptied, names, rebuilt): (u64, u64, Vec<String>, Vec<(String, f64)>) =
            redis::from_redis_value(answer).map_err(|_| LinkError::Unreadable)?;
        let clock = Timestamp::from_micros(now);
        shard.known.showed(clock, sent);
        let place = names.iter().position(|name| *name == self.node).unwrap_or(0);
        let nodes = names.len() as u64;
        shard.known.names_are(names, emptied, clock);
        shard.known.heard_of(nodes, place as u64, local());
        if !announced.is_empty() {
            shard.known.are_rebuilding();
            shard.known.announced_at(now);
            // What else is new is for the next beat.
            return Ok(Rebuilt::default());
        }
        // Where there are more than one answer holds, the next one begins with the last of it.
        let last = rebuilt.last().filter(|_| rebuilt.len() >= TOLD_AT_ONCE);
        let has_more = last.is_some();
        let others = rebuilt.iter().filter(|(_, at)| !shard.known.has_announced_at(*at as u64));
        let organizations: Vec<_> = others.filter_map(|(said, _)| announced_in(said)).collect();
        if !organizations.is_empty() {
            shard.known.are_rebuilding();
        }
        shard.known.knows_rebuilt_until(last.map_or(now, |(_, at)| *at as u64));
        Ok(Rebuilt { organizations, has_more })
    }

    /// Says that this node is gone, so that no rebuild waits for its report: where the record has all that it would hold.
    pub(super) async fn goodbye(&self) {
        let is_unshipped =
            |orgs: &super::Orgs| orgs.0.lock().values().any(|org| !org.ledger.is_all_shipped());
        if self.orgs.iter().any(is_unshipped) {
            return;
        }
        let shards = self.link.shards().into_iter().filter(|shard| !shard.is_open());
        let goodbyes = shards.map(async |shard| {
            let [nodes, _] = shard.nodes_keys();
            drop(shard.call(&GOODBYE, &[nodes], &[&self.node], false).await);
        });
        join_all(goodbyes).await;
    }

    fn sweep_ledgers(&self) {
        let mut keys = 0;
        for orgs in &self.orgs {
            let now = local();
            orgs.0.lock().retain(|id, org| {
                // What is remembered of a Redis that is away is what it must be told when it is back.
                let is_away = org.joining.is_some() || self.link.shard(id).is_open();
                let is_kept = is_away || !org.ledger.sweep(now) || !org.flights.is_empty();
                keys += org.ledger.keys();
                is_kept || org.ledger.keys() > 0
            });
        }
        self.keys.store(keys, Ordering::Relaxed);
    }
}
