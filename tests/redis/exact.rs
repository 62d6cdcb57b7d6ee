//! Exactly the cap, over all gateways: not one more, and not one less.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::support::{Answer, Gateway, Kept, RedisServer, Upstream};
use super::{burst, flood, start};

const GATEWAYS: usize = 8;
const CLIENTS: usize = 64;

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
    const CAP: usize = 50;
    let windows: usize =
        std::env::var("TOLLGATE_WINDOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = format!("[plans.narrow]\nper_second = {CAP}");
    let gateways = start(GATEWAYS, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    // Every gateway has seen the key, so that no window is spent on reading it.
    burst(&gateways, &key, GATEWAYS, 1).await;
    for window in 0..windows {
        // A window later and a cell, nothing counts any more.
        tokio::time::sleep(Duration::from_millis(1_060)).await;
        let (before, began) = (upstream.count(), Instant::now());
        let (admitted, refused) = burst(&gateways, &key, CLIENTS, 2).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "a burst longer than its window shows nothing: {took:?}");
        assert!(refused.iter().all(|code| code == "rate_limited_second"), "{refused:?}");
        assert_eq!((admitted, upstream.count() - before), (CAP, CAP), "window {window}");
    }
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
