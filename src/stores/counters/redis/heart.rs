//! What goes on without requests: saying that this node is there, and finding Redis again when it was lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use tokio::sync::Notify;

use super::script::HELLO;
use super::shard::Shard;
use super::{Inner, LinkError, local};
use crate::domain::time::Timestamp;

/// How often a node says that it is there, and how long that counts.
const EVERY: Duration = Duration::from_secs(1);
const COUNTS_FOR: Duration = Duration::from_secs(5);
/// How often a Redis that was lost is looked for.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// How often what has gone idle is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Beats until the counters are gone or closed; at once where there is `news` of Redis.
pub(super) async fn beat(inner: Weak<Inner>, news: Arc<Notify>) {
    let mut swept = local();
    loop {
        let pause = match inner.upgrade() {
            Some(inner) if !inner.stopped.load(Ordering::Relaxed) => {
                inner.beat_once().await;
                if local().since(swept) >= SWEEP_EVERY {
                    inner.sweep_ledgers();
                    swept = local();
                }
                if inner.link.is_settled() { EVERY } else { PROBE_EVERY }
            }
            _ => return,
        };
        // Either way it is time to look.
        let _ = tokio::time::timeout(pause, news.notified()).await;
    }
}

impl Inner {
    /// The first beat of all, after which it is known whether Redis is there, and how many nodes.
    pub(super) async fn first_word(self: &Arc<Self>) {
        self.link.look_around().await;
        let greetings = self.link.shards().into_iter().map(async |shard| {
            if self.hello(&shard).await.is_err() {
                drop(self.hello(&shard).await);
            }
        });
        join_all(greetings).await;
    }

    async fn beat_once(self: &Arc<Self>) {
        self.link.look_around().await;
        let beating = self.link.shards().into_iter().map(|shard| self.beat_of(shard));
        join_all(beating).await;
    }

    async fn beat_of(self: &Arc<Self>, shard: Arc<Shard>) {
        if shard.is_open() {
            // Before the breaker can close, so that whoever sees it closed also sees this.
            shard.known.be_careful();
        } else if !shard.known.take_greeting(EVERY) {
            return;
        }
        if self.hello(&shard).await.is_ok() && shard.known.take_owed() {
            let inner = Arc::clone(self);
            // Other masters do not wait for it.
            self.runtime.spawn(async move {
                inner.tell_all(|org| Arc::ptr_eq(&shard, &inner.link.shard(org))).await;
            });
        }
    }

    async fn hello(&self, shard: &Shard) -> Result<(), LinkError> {
        let counts_for = COUNTS_FOR.as_micros().to_string();
        let sent = local();
        let answer = shard.probe(&HELLO, &[shard.nodes_key()], &[&self.node, &counts_for]).await?;
        let Value::Array(items) = &answer else { return Err(LinkError::Unreadable) };
        let [Value::Int(now), Value::Int(nodes), Value::Int(place), Value::Int(is_empty)] = items[..] else {
            return Err(LinkError::Unreadable);
        };
        shard.known.showed(Timestamp::from_micros(now.unsigned_abs()), sent);
        if is_empty == 1 {
            shard.known.is_empty();
        }
        shard.known.heard_of(nodes.unsigned_abs(), place.unsigned_abs(), local());
        Ok(())
    }

    fn sweep_ledgers(&self) {
        for orgs in &self.orgs {
            let now = local();
            orgs.0.lock().retain(|_, org| !org.ledger.sweep(now) || !org.flights.is_empty());
        }
    }
}
