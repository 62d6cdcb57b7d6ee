//! Exactly the cap, over all gateways: not one more, and not one less.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::support::{Answer, Gateway, Kept, RedisServer, Upstream};
use super::{burst, flood, start};

pub(super) const GATEWAYS: usize = 8;
pub(super) const CLIENTS: usize = 64;
/// Requests in any second, by all gateways together.
pub(super) const CAP: usize = 50;
/// A window later and a cell, nothing counts any more.
pub(super) const WINDOW_AND_CELL: Duration = Duration::from_millis(1_060);

/// How many windows are looked at; `TOLLGATE_WINDOWS` asks for more. A thousand take twenty minutes.
pub(super) fn windows() -> usize {
    std::env::var("TOLLGATE_WINDOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[tokio::test]
async fn of_512_at_eight_gateways_with_100_left_of_a_quota_exactly_100_are_admitted() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(GATEWAYS, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    for quota in ["total", "daily", "weekly", "monthly"] {
        let (_, key) = gateways[0].key("acme", quota, &[&format!("--{quota}"), "100"]).await;
        let before = upstream.count();
        let (admitted, refused) = burst(&gateways, &key, CLIENTS, 8).await;
        let code = format!("quota_{quota}");
        assert!(refused.iter().all(|refused| *refused == code), "{refused:?}");
        assert_eq!((admitted, upstream.count() - before), (100, 100), "{quota}");
    }
}

#[tokio::test]
async fn in_every_window_eight_gateways_admit_exactly_the_cap() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = format!("[plans.narrow]\nper_second = {CAP}");
    let gateways = start(GATEWAYS, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    // Every gateway has seen the key, so that no window is spent on reading it.
    burst(&gateways, &key, GATEWAYS, 1).await;
    let (mut window, mut slow, mut short) = (0, 0, Vec::new());
    while window < windows() {
        tokio::time::sleep(WINDOW_AND_CELL).await;
        let (before, began) = (upstream.count(), Instant::now());
        let (admitted, refused) = burst(&gateways, &key, CLIENTS, 2).await;
        if is_over(began, &mut slow) {
            continue;
        }
        window += 1;
        assert!(refused.iter().all(|code| code == "rate_limited_second"), "{refused:?}");
        assert_eq!(admitted, upstream.count() - before, "window {window}");
        assert!(admitted <= CAP, "window {window}: {admitted} of {CAP}");
        if admitted < CAP {
            short.push((window, admitted));
        }
    }
    println!(
        "{window} windows: {CAP} admitted in all but {short:?}; {slow} bursts took longer than one, and do not count"
    );
    assert!(short.is_empty(), "fewer than {CAP}: {short:?}");
}

#[tokio::test]
async fn in_no_window_with_gateways_killed_at_random_is_there_more_than_the_cap() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = format!("[plans.narrow]\nper_second = {CAP}");
    let mut gateways = start(GATEWAYS, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    burst(&gateways, &key, GATEWAYS, 1).await;
    let mut dice = Dice(seed());
    println!("TOLLGATE_SEED={}", dice.0);
    let (mut fewest, mut whole, mut lost) = (CAP, 0, 0);
    let (mut window, mut slow) = (0, 0);
    while window < windows() {
        tokio::time::sleep(WINDOW_AND_CELL).await;
        let (before, began) = (upstream.count(), Instant::now());
        let victim = dice.below(GATEWAYS as u64) as usize;
        let others: Vec<_> = gateways.iter().map(|gateway| gateway.data).collect();
        let killed = async {
            tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
            gateways[victim].kill().await;
        };
        let (unanswered, ()) = tokio::join!(burst_whatever_comes(&others, &key), killed);
        let is_over = is_over(began, &mut slow);
        gateways[victim].start_again().await;
        if is_over {
            continue;
        }
        window += 1;
        let admitted = upstream.count() - before;
        assert!(admitted <= CAP, "window {window}: {admitted} of {CAP}");
        fewest = fewest.min(admitted);
        whole += usize::from(admitted == CAP);
        lost += unanswered;
    }
    println!(
        "{window} windows, a gateway killed in each: never more than {CAP} admitted, {whole} times all of them, {fewest} at \
         the least; {lost} requests unanswered; {slow} bursts took longer than a window, and do not count"
    );
}

/// Whether a burst that began then took longer than the window, on a machine that is busy: it shows nothing, and is made
/// again.
pub(super) fn is_over(began: Instant, slow: &mut usize) -> bool {
    let is_over = began.elapsed() >= Duration::from_secs(1);
    *slow += usize::from(is_over);
    assert!(*slow <= windows(), "too busy a machine to show anything");
    is_over
}

/// What chance decides follows from this; `TOLLGATE_SEED` names it.
pub(super) fn seed() -> u64 {
    let named = std::env::var("TOLLGATE_SEED").ok().and_then(|text| text.parse().ok());
    named.unwrap_or(std::process::id().into())
}

/// Numbers that can be had again: Marsaglia's xorshift64.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Every client asks twice, of gateways that may be gone; how many requests had no answer.
async fn burst_whatever_comes(gateways: &[SocketAddr], key: &str) -> usize {
    let mut asking = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, key) = (gateways[client % gateways.len()], key.to_owned());
        asking.spawn(async move {
            let mut kept = Kept::new();
            let mut unanswered = 0;
            for _ in 0..2 {
                match kept.get(data, "/", &key).await {
                    Ok(reply) => {
                        assert!(reply.status == 200 || reply.code() == "rate_limited_second", "{reply:?}");
                    }
                    Err(_) => unanswered += 1,
                }
            }
            unanswered
        });
    }
    asking.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn with_gateways_killed_never_more_than_the_cap_and_a_stopped_one_gives_back_what_it_leased() {
    const CAP: usize = 2_000;
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let mut gateways = start(4, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", &CAP.to_string()]).await;
    // Hot, so that each holds a lease at any instant.
    let hot = async |gateway: &Gateway| flood(gateway, &key, 8, Duration::from_millis(300)).await;
    for victim in [3, 2] {
        let (killed, others) = gateways.split_at_mut(victim);
        tokio::join!(hot(&killed[0]), hot(&killed[1]), async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            match victim {
                // In the middle of a flood of its own.
                3 => {
                    let doomed = &mut others[0];
                    let asking = doomed_flood(doomed.data, key.clone());
                    doomed.kill().await;
                    asking.abort();
                }
                _ => assert_eq!(others[0].stop().await.code(), Some(0)),
            }
        });
        gateways.truncate(victim);
    }
    let (_, refused) = burst(&gateways, &key, 32, CAP / 16).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{:?}", refused.first());
    let arrived = upstream.count();
    // The killed one had no more than a lease of one cell, and requests whose answers nobody saw.
    assert!(arrived <= CAP, "{arrived} of {CAP}");
    assert!(arrived > CAP * 3 / 4, "a killed gateway cost {} of {CAP}", CAP - arrived);
}

/// Clients that ask a gateway until it is gone.
fn doomed_flood(data: SocketAddr, key: String) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut kept = Kept::new();
        while kept.get(data, "/", &key).await.is_ok() {}
    })
}
