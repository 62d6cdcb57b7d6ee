//! Exactly the cap also on a machine that is busy with other things: gateways, or Redis, stand still for a moment in the
//! midst of a window. Then what gateways hold comes back late, and others have waited for it longer than they meant to.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::exact::{CAP, CLIENTS, Dice, GATEWAYS, WINDOW_AND_CELL, is_over, seed, windows};
use super::support::{Answer, Gateway, RedisServer, Upstream};
use super::{burst, start};

/// What was counted.
#[derive(Debug, Default)]
struct Seen {
    windows: usize,
    /// Bursts that took longer than a window, and do not count.
    slow: usize,
    /// Windows in which fewer than the cap were admitted: which, how many, when and for how long somebody stood still.
    short: Vec<(usize, usize, Duration, Duration)>,
}

/// Eight gateways and one key.
struct Scene {
    redis: RedisServer,
    upstream: Upstream,
    gateways: Vec<Gateway>,
    key: String,
    _shared: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let upstream = Upstream::start(|_| Answer::new(200));
        let plans = format!("[plans.narrow]\nper_second = {CAP}");
        let gateways = start(GATEWAYS, upstream.address, &redis, shared.path(), &plans, "narrow").await;
        let (_, key) = gateways[0].key("acme", "k", &[]).await;
        // Every gateway has seen the key.
        burst(&gateways, &key, GATEWAYS, 1).await;
        Self { redis, upstream, gateways, key, _shared: shared }
    }

    /// Bursts, in the midst of each of which those that `signal` reaches stand still: when and for how long, `still` says.
    /// First `busy` of the first gateway's clients ask three times, then all clients ask all gateways behind it.
    async fn windows(
        &self,
        busy: usize,
        mut still: impl FnMut() -> (Duration, Duration),
        mut signal: impl FnMut(&Self, Signal),
    ) -> Seen {
        let mut seen = Seen::default();
        while seen.windows < windows() {
            tokio::time::sleep(WINDOW_AND_CELL).await;
            let (before, began) = (self.upstream.count(), Instant::now());
            let (first, others) = self.gateways.split_at(usize::from(busy > 0));
            if busy > 0 {
                burst(first, &self.key, busy, 3).await;
            }
            let (after, pause) = still();
            let ((_, refused), ()) = tokio::join!(burst(others, &self.key, CLIENTS, 2), async {
                tokio::time::sleep(after).await;
                signal(self, Signal::STOP);
                tokio::time::sleep(pause).await;
                signal(self, Signal::CONT);
            });
            if is_over(began, &mut seen.slow) {
                continue;
            }
            seen.windows += 1;
            let admitted = self.upstream.count() - before;
            assert!(refused.iter().all(|code| code == "rate_limited_second"), "{refused:?}");
            assert!(admitted <= CAP, "window {}: {admitted} of {CAP}", seen.windows);
            if admitted < CAP {
                seen.short.push((seen.windows, admitted, after, pause));
            }
        }
        seen
    }
}

/// Some time within the burst, for 20 to 120 ms.
fn by(dice: &mut Dice) -> (Duration, Duration) {
    (Duration::from_micros(dice.below(20_000)), Duration::from_micros(20_000 + dice.below(100_000)))
}

#[tokio::test]
async fn all_gateways_that_stand_still_for_a_moment_cost_no_window_anything() {
    let (scene, mut dice) = (Scene::new().await, Dice(seed()));
    println!("TOLLGATE_SEED={}", dice.0);
    let all = |scene: &Scene, signal| scene.gateways.iter().for_each(|gateway| gateway.signal(signal));
    let seen = scene.windows(0, || by(&mut dice), all).await;
    println!("{seen:?}");
    assert!(seen.short.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_gateway_that_stands_still_for_a_moment_costs_no_window_anything() {
    let (scene, mut dice) = (Scene::new().await, Dice(seed()));
    println!("TOLLGATE_SEED={}", dice.0);
    let mut turns = 0;
    let one = |scene: &Scene, signal| {
        // Each in its turn, stopped and let go on.
        scene.gateways[turns / 2 % GATEWAYS].signal(signal);
        turns += 1;
    };
    let seen = scene.windows(0, || by(&mut dice), one).await;
    println!("{seen:?}");
    assert!(seen.short.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_redis_that_stands_still_for_a_moment_costs_no_window_anything() {
    let (scene, mut dice) = (Scene::new().await, Dice(seed()));
    println!("TOLLGATE_SEED={}", dice.0);
    let seen = scene.windows(0, || by(&mut dice), |scene, signal| scene.redis.signal(signal)).await;
    println!("{seen:?}");
    assert!(seen.short.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn what_a_gateway_has_leased_and_needs_no_more_the_others_get() {
    let scene = Scene::new().await;
    let seen = scene.windows(4, || (Duration::ZERO, Duration::ZERO), |_, _| ()).await;
    println!("{seen:?}");
    assert!(seen.short.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn what_a_gateway_has_leased_the_others_get_also_where_it_stands_still_for_a_moment() {
    let scene = Scene::new().await;
    let still = || (Duration::ZERO, Duration::from_millis(120));
    let seen = scene.windows(4, still, |scene, signal| scene.gateways[0].signal(signal)).await;
    println!("{seen:?}");
    assert!(seen.short.is_empty(), "{seen:?}");
}
