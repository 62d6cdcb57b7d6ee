//! Gateways that never saw a key counted, or have forgotten it with the process that did, when Redis goes away: what the
//! record's log says was used is not granted again.

use std::time::Duration;

use super::outage::{CAREFUL, heard_of_each_other, is_up, until_back};
use super::support::{Answer, Gateway, RedisServer, SOON, Upstream, metrics, sum, wait_until};
use super::{burst, start};

/// The quota of a key, and how much of it the first gateway has used before.
const QUOTA: usize = 100;
const USED: usize = 60;

/// Redis is killed, and all have noticed.
pub(crate) async fn without(redis: &mut RedisServer, gateways: &[Gateway]) {
    // What was leased and not spent is given back: the log knows nothing of it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.kill();
    for gateway in gateways {
        wait_until("the breaker opens", SOON, async || !is_up(gateway).await).await;
    }
}

/// The record has so many rows of them.
pub(crate) async fn logged(gateways: &[Gateway], rows: usize) {
    wait_until("it is in the record", SOON, async || {
        let mut shipped = 0.0;
        for gateway in gateways {
            shipped += sum(&metrics(gateway.control).await, "tollgate_log_rows_total{state=\"shipped\"}");
        }
        shipped >= rows as f64
    })
    .await;
}

#[tokio::test]
async fn what_others_used_of_a_key_is_not_granted_again_by_a_gateway_that_never_saw_it() {
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", &QUOTA.to_string()]).await;
    assert_eq!(burst(&gateways[..1], &key, 6, USED / 6).await.0, USED);
    logged(&gateways, USED).await;
    without(&mut redis, &gateways).await;

    let (admitted, refused) = burst(&gateways[1..], &key, 8, 10).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!(admitted, (QUOTA - USED) / 2, "its part of what was left");
    let (_, refused) = burst(&gateways, &key, 8, 20).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!(upstream.count(), QUOTA);

    redis.start_again();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    assert_eq!(burst(&gateways, &key, 4, 4).await.0, 0);
}

#[tokio::test]
async fn what_a_gateway_saw_used_and_forgot_when_it_was_killed_is_not_granted_again() {
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = format!("[plans.narrow]\nper_minute = {QUOTA}");
    let mut gateways = start(2, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    assert_eq!(burst(&gateways, &key, 6, USED / 6).await.0, USED);
    logged(&gateways, USED).await;
    // Longer than others may notice before it does that Redis is gone.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    without(&mut redis, &gateways).await;
    gateways[0].kill().await;
    gateways[0].start_again().await;

    let (admitted, refused) = burst(&gateways[..1], &key, 8, 10).await;
    assert!(refused.iter().all(|code| code == "rate_limited_minute"), "{refused:?}");
    // With this record nothing remembers how many gateways there were.
    assert_eq!(admitted, QUOTA - USED, "what was left");
}
