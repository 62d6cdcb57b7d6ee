//! What goes on without requests: saying that this node is there, and finding Redis again when it was lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Value;

use super::script::HELLO;
use super::shard::Shard;
use super::{Inner, LinkError, local};
use crate::domain::time::Timestamp;

/// All nodes, by the time of their last word.
const NODES: &str = "tollgate:nodes";
/// How often a node says that it is there, and how long that counts.
const EVERY: Duration = Duration::from_secs(1);
const COUNTS_FOR: Duration = Duration::from_secs(5);
/// How often a Redis that was lost is looked for.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Beats between two sweeps of what has gone idle.
const BEATS_PER_SWEEP: u64 = 30;

/// Beats until the counters are gone or closed.
pub(super) async fn beat(inner: Weak<Inner>) {
    let mut beats = 0_u64;
    loop {
        let pause = match inner.upgrade() {
            Some(inner) if !inner.stopped.load(Ordering::Relaxed) => {
                inner.beat_once().await;
                beats += 1;
                if beats.is_multiple_of(BEATS_PER_SWEEP) {
                    inner.sweep_ledgers();
                }
                if inner.link.shards().iter().any(|shard| shard.is_open()) { PROBE_EVERY } else { EVERY }
            }
            _ => return,
        };
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    /// The first beat of all, after which it is known whether Redis is there, and how many nodes.
    pub(super) async fn first_word(self: &Arc<Self>) {
        for shard in self.link.shards() {
            if self.hello(&shard).await.is_err() {
                drop(self.hello(&shard).await);
            }
        }
    }

    async fn beat_once(self: &Arc<Self>) {
        let beating = self.link.shards().into_iter().map(|shard| self.beat_of(shard));
        futures_util::future::join_all(beating).await;
    }

    async fn beat_of(self: &Arc<Self>, shard: Arc<Shard>) {
        let was_open = shard.is_open();
        if was_open {
            // Before the breaker can close, so that whoever sees it closed also sees this.
            shard.known.be_careful();
        }
        if self.hello(&shard).await.is_ok() && was_open {
            self.tell_all(|org| Arc::ptr_eq(&shard, self.link.shard(org))).await;
        }
    }

    async fn hello(&self, shard: &Shard) -> Result<(), LinkError> {
        let counts_for = COUNTS_FOR.as_micros().to_string();
        let sent = local();
        let answer = shard.probe(&HELLO, &[NODES.to_owned()], &[&self.node, &counts_for]).await?;
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
