//! Redis killed, stopped, restarted empty, or never there: known keys keep working within this node's share, nobody is
//! told 401, and soon after Redis is back it is counted exactly again.

use std::time::{Duration, Instant};

use super::support::{
    Answer, Gateway, Kept, RedisServer, SOON, Upstream, free_port, get, metrics, sum, wait_until,
};
use super::unseen::{logged, without};
use super::{burst, config, start};

/// How long a gateway may take to find Redis again, and how much longer a busy machine may take to show it.
const RECOVERY: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);
/// For how long after that a gateway keeps to its share beside its leases.
pub(crate) const CAREFUL: Duration = Duration::from_millis(2_200);

/// Each gateway says once a second that it is there, and learns how many are.
pub(crate) async fn heard_of_each_other() {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

pub(crate) async fn is_up(gateway: &Gateway) -> bool {
    sum(&metrics(gateway.control).await, "tollgate_dependency_up{name=\"redis\"}") > 0.0
}

/// Asks until the breaker is open; how long the longest answer took.
async fn until_open(gateway: &Gateway, key: &str) -> Duration {
    let mut kept = Kept::new();
    let mut longest = Duration::ZERO;
    wait_until("the breaker opens", SOON, async || {
        let began = Instant::now();
        let reply = kept.get(gateway.data, "/", key).await.unwrap();
        longest = longest.max(began.elapsed());
        assert!(matches!(reply.status, 200 | 429), "{reply:?}");
        !is_up(gateway).await
    })
    .await;
    longest
}

pub(crate) async fn until_back(gateways: &[Gateway]) {
    let began = Instant::now();
    for gateway in gateways {
        wait_until("Redis is found again", SOON, async || is_up(gateway).await).await;
    }
    assert!(began.elapsed() < RECOVERY + SLACK, "after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_quota_is_exact_after_redis_was_killed_and_came_back_empty() {
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &["--total", "100"]).await;
    assert_eq!(burst(&gateways, &key, 6, 5).await.0, 30);

    redis.kill();
    for gateway in &gateways {
        until_open(gateway, &key).await;
    }
    let outage = burst(&gateways, &key, 2, 5).await;
    assert_eq!(outage.0, 10, "within the share of each: {:?}", outage.1);
    let so_far = upstream.count();
    assert!(so_far < 60, "{so_far}");

    redis.start_again();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    let (admitted, refused) = burst(&gateways, &key, 32, 8).await;
    assert!(refused.iter().all(|code| code == "quota_total"), "{refused:?}");
    assert_eq!((so_far + admitted, upstream.count()), (100, 100));
}

#[tokio::test]
async fn what_was_counted_while_redis_was_stopped_counts_when_it_goes_on() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "200"]).await;
    assert_eq!(burst(&gateways, &key, 6, 5).await.0, 30);

    redis.freeze();
    for gateway in &gateways {
        let longest = until_open(gateway, &key).await;
        assert!(longest < Duration::from_millis(1_500), "a request waited {longest:?}");
    }
    // With the breaker open nobody waits.
    let began = Instant::now();
    let outage = burst(&gateways, &key, 2, 10).await;
    assert_eq!(outage.0, 20, "{:?}", outage.1);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let so_far = upstream.count();

    redis.thaw();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    let (admitted, refused) = burst(&gateways, &key, 32, 16).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!((so_far + admitted, upstream.count()), (200, 200));
}

#[tokio::test]
async fn what_a_gateway_admitted_without_redis_and_died_with_counts_when_redis_goes_on() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let mut gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "200"]).await;
    assert_eq!(burst(&gateways, &key, 6, 5).await.0, 30);
    redis.freeze();
    for gateway in &gateways {
        until_open(gateway, &key).await;
    }
    assert_eq!(burst(&gateways, &key, 2, 10).await.0, 20);
    // What it has admitted Redis was never told; its next start finds it in the spool.
    gateways[0].kill().await;
    gateways[0].start_again().await;
    redis.thaw();
    until_back(&gateways).await;
    // What died with it still counts as a node that may have something to report.
    tokio::time::sleep(CAREFUL + Duration::from_secs(3)).await;
    let (_, refused) = burst(&gateways, &key, 32, 16).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!(upstream.count(), 200);
}

#[tokio::test]
async fn without_redis_the_shares_of_all_gateways_are_the_cap() {
    const CAP: usize = 41;
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = format!("[plans.narrow]\nper_minute = {CAP}");
    let gateways = start(3, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    without(&mut redis, &gateways).await;
    // What one admits within its share the others find in the log, before they admit anything.
    let (first, refused) = burst(&gateways[..1], &key, 4, 10).await;
    assert!((CAP / 3..=CAP / 3 + 1).contains(&first), "{first}: {refused:?}");
    logged(&gateways, first).await;
    let (_, refused) = burst(&gateways, &key, 12, 10).await;
    assert!(refused.iter().all(|code| code == "rate_limited_minute"), "{refused:?}");
    assert_eq!(upstream.count(), CAP);
}

#[tokio::test]
async fn a_gateway_starts_and_serves_without_redis_and_refuses_where_that_is_wanted() {
    let shared = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_| Answer::new(200));
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let local = config(upstream.address, &nowhere, shared.path(), "[plans.narrow]\nper_minute = 5");
    let gateway = Gateway::start(&local).await;
    gateway.cli(&["org", "create", "acme", "--plan", "narrow"]).await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    let gateway = [gateway];
    let (admitted, refused) = burst(&gateway, &key, 2, 5).await;
    assert_eq!((admitted, refused.len()), (5, 5));

    let ready = get(gateway[0].control, "/readyz", &[]).await;
    assert_eq!(ready.status, 200, "it serves: {}", ready.text());

    let closed = local.replace("timeout =", "on_outage = \"closed\"\ntimeout =");
    let gateway = Gateway::start(&closed).await;
    let reply = Kept::new().get(gateway.data, "/", &key).await.unwrap();
    assert_eq!((reply.status, reply.code()), (503, "store_unavailable".into()));
    wait_until("it says that it serves nobody", SOON, async || {
        let ready = get(gateway.control, "/readyz", &[]).await;
        ready.status == 503 && ready.json()["failing"]["counters"].is_string()
    })
    .await;
    assert_eq!(reply.header("retry-after"), Some("1"));
    // A key that does not exist is one, whatever Redis does.
    let reply = Kept::new().get(gateway.data, "/", "sk_live_none").await.unwrap();
    assert_eq!((reply.status, reply.code()), (401, "invalid_api_key".into()));
}

#[tokio::test]
async fn a_key_that_redis_has_lost_alone_is_rebuilt_with_its_organization() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (id, key) = gateways[0].key("acme", "k", &["--monthly", "50"]).await;
    assert_eq!(burst(&gateways, &key, 2, 10).await.0, 20);
    let lost = format!("tollgate:{{acme}}:k:{}", id.replace('-', ""));
    assert_eq!(redis.command(&["DEL", &lost]).trim(), "1");
    let mut kept = Kept::new();
    assert_eq!(kept.get(gateways[0].data, "/", &key).await.unwrap().status, 200);
    wait_until("it is rebuilt", SOON, async || redis.command(&["EXISTS", &lost]).trim() == "1").await;
    let (_, refused) = burst(&gateways, &key, 16, 8).await;
    assert!(refused.iter().all(|code| code == "quota_monthly"), "{refused:?}");
    assert_eq!(upstream.count(), 50);
}

#[tokio::test]
async fn what_one_gateway_had_used_up_is_not_granted_again_by_the_shares_of_all() {
    const CAP: usize = 200;
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(4, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    heard_of_each_other().await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", &CAP.to_string()]).await;
    assert_eq!(burst(&gateways[..1], &key, 6, 30).await.0, 180);
    // Each of the others sees how much is left.
    assert_eq!(burst(&gateways[1..], &key, 3, 1).await.0, 3);

    redis.kill();
    for gateway in &gateways {
        until_open(gateway, &key).await;
    }
    let (_, refused) = burst(&gateways, &key, 16, 20).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    let without = upstream.count();
    assert!((CAP - 4..=CAP).contains(&without), "{without} of {CAP}");

    redis.start_again();
    until_back(&gateways).await;
    tokio::time::sleep(CAREFUL).await;
    let (_, refused) = burst(&gateways, &key, 16, 8).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!(upstream.count(), CAP);
}
