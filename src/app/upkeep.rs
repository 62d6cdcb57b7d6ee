//! What a running gateway does beside serving, again and again until it stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock;
use crate::proxy::core::Shared;
use crate::stores::counters::Counters;
use crate::stores::keyring::follow;
use crate::stores::record::SharedRecord;

use super::grants::Grants;
use super::status::GatewayStatus;

/// How often address guards tell each other.
const SHARE_EVERY: Duration = Duration::from_millis(250);
/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Counts that have gone idle are looked for once an hour.
const LOOKS_PER_SWEEP: u64 = 360;

/// Starts all of it on `runtime`, until `stopping` turns true.
pub fn start(runtime: &Handle, shared: &Arc<Shared>, grants: Grants, stopping: &watch::Receiver<bool>) {
    runtime.spawn(follow_changes(Arc::clone(shared), grants.clone(), told(stopping)));
    runtime.spawn(remember(Arc::clone(shared), grants, told(stopping)));
    runtime.spawn(housekeeping(Arc::clone(shared), told(stopping)));
    runtime.spawn(share_blocks(Arc::clone(shared), told(stopping)));
}

/// Keeps the keyring up with what other processes change, and the metric up with how long that takes.
async fn follow_changes(shared: Arc<Shared>, grants: Grants, stop: impl Future<Output = ()>) {
    let every = shared.live.load().config.keys.follow_every;
    let noticed = |lag: Duration| shared.metrics.revocation_lag_seconds.observe(lag.as_secs_f64());
    follow::follow(Arc::clone(&shared.gate.keyring), grants.record, every, noticed, stop).await;
}

/// Sees to what is known of keys and nodes for a start without the record, and after one.
async fn remember(shared: Arc<Shared>, grants: Grants, stop: impl Future<Output = ()>) {
    let gate = &shared.gate;
    let both = async {
        tokio::join!(grants.lend(&gate.keyring), grants.remember_nodes(&gate.counters));
    };
    until(stop, both).await;
}

/// Has the address guards of all gateways tell each other who is blocked. Ends at once where there are no others.
async fn share_blocks(shared: Arc<Shared>, stop: impl Future<Output = ()>) {
    let gate = &shared.gate;
    if matches!(*gate.counters, Counters::Memory(_)) {
        return;
    }
    let sharing = async {
        loop {
            tokio::time::sleep(SHARE_EVERY).await;
            let Some((told, rules)) = gate.guard.share() else { continue };
            let Some(heard) = gate.counters.share_blocks(&told, rules).await else {
                gate.guard.put_back(told);
                continue;
            };
            let now = clock::now();
            gate.guard.learn(&heard.news, now);
            if heard.is_lost {
                gate.guard.tell_again(now);
            }
            shared.metrics.overflows.with_label_values(&["ip_guard_shared"]).inc_by(heard.evicted);
        }
    };
    until(stop, sharing).await;
}

/// What is looked after now and then: a stepped clock, counts that have gone idle.
async fn housekeeping(shared: Arc<Shared>, stop: impl Future<Output = ()>) {
    let look = async {
        let mut looks = 0_u64;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(micros) = clock::resync() {
                tracing::warn!(micros, "the clock was stepped; windows move with it");
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_SWEEP) {
                shared.gate.counters.sweep(clock::now());
            }
        }
    };
    until(stop, look).await;
}

/// Watches for other gateways on `record` where limits are counted in memory, as in none but this they are.
pub fn watch_others(
    runtime: &Handle,
    shared: &Shared,
    status: &Arc<GatewayStatus>,
    record: &SharedRecord,
    stopping: &watch::Receiver<bool>,
) {
    if matches!(*shared.gate.counters, Counters::Memory(_)) {
        let (status, record, spool) = (Arc::clone(status), record.clone(), shared.spool.id());
        let stop = told(stopping);
        runtime.spawn(async move { until(stop, status.beside.watch(record, spool)).await });
    }
}

/// Resolves when `stopping` turns true, or its sender is gone.
pub fn told(stopping: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopping = stopping.clone();
    async move {
        // An error means that the sender is gone, which means the same.
        let _ = stopping.wait_for(|stop| *stop).await;
    }
}

/// Does `work`, which has no end of its own.
async fn until(stop: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop => {}
        () = work => {}
    }
}
