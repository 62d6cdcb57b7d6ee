//! What Redis costs: few calls for a hot key, none for refusals; as the gateway counts them, and as Redis does.

use std::time::{Duration, Instant};

use super::support::{Answer, Gateway, RedisServer, Upstream, metrics, sum};
use super::{flood, start};

/// Calls made for `work`, by the gateway's metric and by Redis's own count without the gateway's signs of life.
async fn calls_of(
    gateway: &Gateway,
    redis: &RedisServer,
    work: impl Future<Output = usize>,
) -> (usize, f64, f64) {
    let round_trips = async || sum(&metrics(gateway.control).await, "tollgate_ledger_round_trips_total");
    let (told, ran, began) = (round_trips().await, redis.scripts_run(), Instant::now());
    let asked = work.await;
    let beats = began.elapsed().as_secs_f64() + 2.0;
    let told = round_trips().await - told;
    let ran = (redis.scripts_run() - ran) as f64 - beats;
    (asked, told / asked as f64, ran / asked as f64)
}

#[tokio::test]
async fn a_hot_key_takes_tens_of_calls_a_second_and_a_flood_of_refusals_none() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = "[plans.wide]\nper_second = 100_000\nper_minute = 1_000_000\nconcurrency = 10_000";
    let gateways = start(1, upstream.address, &redis, shared.path(), plans, "wide").await;
    let (_, key) = gateways[0].key("acme", "hot", &["--daily", "10000000"]).await;
    flood(&gateways[0], &key, 64, Duration::from_millis(500)).await;
    let hot = flood(&gateways[0], &key, 64, Duration::from_secs(4));
    let (asked, told, ran) = calls_of(&gateways[0], &redis, hot).await;
    println!("{asked} requests; calls per request: {told:.4} told, {ran:.4} by Redis");
    assert!(asked > 1_000, "too few to show anything: {asked}");
    assert!(told <= 0.05 && ran <= 0.05, "{told} told, {ran} by Redis, for {asked} requests");

    let (_, used_up) = gateways[0].key("acme", "used-up", &["--daily", "5"]).await;
    flood(&gateways[0], &used_up, 8, Duration::from_millis(300)).await;
    let refused = flood(&gateways[0], &used_up, 64, Duration::from_secs(4));
    let (asked, told, ran) = calls_of(&gateways[0], &redis, refused).await;
    println!("{asked} refusals; calls per request: {told:.5} told, {ran:.5} by Redis");
    assert!(told <= 0.001 && ran <= 0.001, "{told} told, {ran} by Redis, for {asked} refusals");
}
