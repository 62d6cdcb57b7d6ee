//! Exactly the cap, over all gateways: not one more, and not one less.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::start;
use super::support::{Answer, Gateway, Kept, RedisServer, Upstream};

const GATEWAYS: usize = 8;
const CLIENTS: usize = 64;

/// Every client asks `each` times, spread over all gateways; how many were admitted, by status and code.
async fn burst(gateways: &[Gateway], key: &str, clients: usize, each: usize) -> (usize, Vec<String>) {
    let mut asking = JoinSet::new();
    for client in 0..clients {
        let (data, key) = (gateways[client % gateways.len()].data, key.to_owned());
        asking.spawn(async move {
            let mut kept = Kept::new();
            let mut refused = Vec::new();
            let mut admitted = 0;
            for _ in 0..each {
                let reply = kept.get(data, "/", &key).await.unwrap();
                match reply.status {
                    200 => admitted += 1,
                    _ => refused.push(reply.code().to_string()),
                }
            }
            (admitted, refused)
        });
    }
    let all = asking.join_all().await;
    (all.iter().map(|(admitted, _)| admitted).sum(), all.into_iter().flat_map(|(_, codes)| codes).collect())
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
