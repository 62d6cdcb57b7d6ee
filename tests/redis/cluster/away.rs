//! A cluster that is away as a whole, also before a gateway has ever seen it.

use std::time::{Duration, Instant};

use super::super::outage::{CAREFUL, is_up, until_back};
use super::super::support::{Answer, Gateway, RedisCluster, Upstream, metrics, sum};
use super::super::{burst, flood};
use super::start;

#[tokio::test]
async fn a_gateway_that_starts_without_its_cluster_counts_and_tells_it_later() {
    const CAP: usize = 60;
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let quota = ["--daily", &CAP.to_string()];
    let kinds = [("wide", &quota[..])];
    let (mut gateways, tenants) =
        start(1, upstream.address, &cluster, shared.path(), "[plans.wide]", &kinds).await;
    for tenant in &tenants {
        assert_eq!(burst(&gateways, &tenant.key, 2, 5).await.0, 10);
    }
    gateways[0].stop().await;
    cluster.nodes.iter().for_each(|node| node.freeze());
    gateways[0].start_again().await;
    assert!(!is_up(&gateways[0]).await);
    let began = Instant::now();
    for tenant in &tenants {
        assert_eq!(burst(&gateways, &tenant.key, 2, 10).await.0, 20);
    }
    assert!(began.elapsed() < Duration::from_millis(800), "60 answers took {:?}", began.elapsed());
    cluster.nodes.iter().for_each(|node| node.thaw());
    cluster.until_whole();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    for tenant in &tenants {
        let (admitted, refused) = burst(&gateways, &tenant.key, 4, 15).await;
        assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
        assert_eq!(admitted, CAP - 30, "{tenant:?}");
    }
}

#[tokio::test]
async fn hot_keys_in_a_cluster_take_tens_of_calls_a_second() {
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = "[plans.wide]\nper_second = 100_000\nper_minute = 1_000_000\nconcurrency = 10_000";
    let kinds = [("wide", &["--daily", "10000000"][..])];
    let (gateways, tenants) = start(1, upstream.address, &cluster, shared.path(), plans, &kinds).await;
    let gateway: &Gateway = &gateways[0];
    let round_trips = async || sum(&metrics(gateway.control).await, "tollgate_ledger_round_trips_total");
    let flood_all = async |time| {
        let floods = tenants.iter().map(|tenant| flood(gateway, &tenant.key, 32, time));
        futures_util::future::join_all(floods).await.into_iter().sum::<usize>()
    };
    flood_all(Duration::from_millis(500)).await;
    let before = round_trips().await;
    let asked = flood_all(Duration::from_secs(3)).await;
    let calls = (round_trips().await - before) / asked as f64;
    println!("{asked} requests of three organizations; calls per request: {calls:.4}");
    assert!(asked > 1_000, "too few to show anything: {asked}");
    assert!(calls <= 0.05 * 3.0, "{calls} calls per request");
}
