//! A way to Redis that swallows everything: connections stand, connections are made, and no byte comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outage::{CAREFUL, heard_of_each_other, is_up, until_back};
use super::support::{Answer, Gateway, Kept, RedisServer, Relay, SOON, Upstream, wait_until};
use super::{burst, config};

/// What may be added to an answer while Redis is given up.
const ADDED_MAX: Duration = Duration::from_millis(5);

/// How long answers take, the median of some.
async fn median(gateway: &Gateway, key: &str) -> Duration {
    let mut kept = Kept::new();
    let mut took = Vec::new();
    for _ in 0..101 {
        let began = Instant::now();
        assert_eq!(kept.get(gateway.data, "/", key).await.unwrap().status, 200);
        took.push(began.elapsed());
    }
    took.sort();
    took[50]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_is_given_up_within_a_second_and_then_costs_nothing() {
    const CAP: usize = 900;
    let (redis, shared) = (Arc::new(RedisServer::start()), tempfile::tempdir().unwrap());
    let relay = Relay::start(redis.address()).await;
    let upstream = Upstream::start(|_| Answer::new(200));
    let url = format!("redis://{}", relay.address);
    let text = config(upstream.address, &url, shared.path(), "[plans.wide]").replace("400ms", "200ms");
    let gateways = [Gateway::start(&text).await, Gateway::start(&text).await];
    gateways[0].cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateways[0].key("acme", "k", &["--total", &CAP.to_string()]).await;
    heard_of_each_other().await;
    let before = median(&gateways[0], &key).await;

    relay.swallows.send(true).unwrap();
    let mut asked = Kept::new();
    for gateway in &gateways {
        let began = Instant::now();
        wait_until("the breaker opens", SOON, async || {
            assert_eq!(asked.get(gateway.data, "/", &key).await.unwrap().status, 200);
            !is_up(gateway).await
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(1), "open after {:?}", began.elapsed());
    }
    let open = median(&gateways[0], &key).await;
    println!("median answer {before:?}, with the breaker open {open:?}");
    assert!(open < before + ADDED_MAX, "{before:?} before, {open:?} with the breaker open");

    relay.swallows.send(false).unwrap();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    let left = CAP - upstream.count();
    let (last, refused) = burst(&gateways, &key, 8, left / 8 + 10).await;
    assert!(refused.iter().all(|code| code == "quota_total"), "{refused:?}");
    assert_eq!((last, upstream.count()), (left, CAP));
}
