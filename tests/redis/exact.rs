//! Exactly the cap, over all gateways: not one more, and not one less.

use std::time::{Duration, Instant};

use super::support::{Answer, RedisServer, Upstream};
use super::{burst, start};

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
