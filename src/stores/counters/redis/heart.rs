//! What goes on without requests: saying that this node is there, and finding Redis again when it was lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Value;

use super::script::HELLO;
use super::{CAREFUL, Inner, LinkError, local};

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
                if inner.link.is_open() { PROBE_EVERY } else { EVERY }
            }
            _ => return,
        };
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    /// The first beat of all, after which it is known whether Redis is there, and how many nodes.
    pub(super) async fn first_word(self: &Arc<Self>) {
        for _ in 0..2 {
            if self.hello().await.is_ok() {
                return;
            }
        }
    }

    async fn beat_once(self: &Arc<Self>) {
        let was_open = self.link.is_open();
        if was_open {
            // Before the breaker can close, so that whoever sees it closed also sees this.
            self.careful_until.store(local().plus(CAREFUL).0, Ordering::Relaxed);
        }
        if self.hello().await.is_ok() && was_open {
            self.tell_all().await;
        }
    }

    async fn hello(&self) -> Result<(), LinkError> {
        let counts_for = COUNTS_FOR.as_micros().to_string();
        let sent = local();
        let answer = self.link.probe(&HELLO, &[NODES.to_owned()], &[&self.node, &counts_for]).await?;
        let Value::Array(items) = &answer else { return Err(LinkError::Unreadable) };
        let [Value::Int(now), Value::Int(nodes), Value::Int(place), Value::Int(is_empty)] = items[..] else {
            return Err(LinkError::Unreadable);
        };
        let here = local();
        self.offset.store(now - ((sent.0 + here.0) / 2) as i64, Ordering::Relaxed);
        if is_empty == 1 {
            self.emptied_at.store(here.0, Ordering::Relaxed);
        }
        // Just after an outage the others may not have spoken yet: there are as many as there were.
        let nodes = nodes.unsigned_abs();
        if nodes >= self.nodes.load(Ordering::Relaxed) || here.0 >= self.careful_until.load(Ordering::Relaxed)
        {
            self.nodes.store(nodes, Ordering::Relaxed);
            self.place.store(place.unsigned_abs(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn sweep_ledgers(&self) {
        for shard in &self.shards {
            let now = local();
            shard.0.lock().retain(|_, org| !org.ledger.sweep(now) || !org.flights.is_empty());
        }
    }
}
