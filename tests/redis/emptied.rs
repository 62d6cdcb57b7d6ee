//! Redis loses what it counted, with requests in flight for seconds and rows that are in no record yet: what was
//! admitted before counts all the same, and nothing counts twice.

use std::time::Duration;

use tokio::task::JoinSet;

use super::support::{Answer, Gateway, Kept, RedisServer, SOON, Upstream, wait_until};
use super::{burst, config, start};

/// How long the upstream takes for `/slow`: longer than anything waits for the log.
const SLOW: Duration = Duration::from_secs(5);

pub(super) fn upstream() -> Upstream {
    Upstream::start(|seen| match seen.target() {
        "/slow" => Answer::new(200).header("x-cost", "3").wait(SLOW).body("late"),
        _ => Answer::new(200).header("x-cost", "3"),
    })
}

/// Sends `count` slow requests, spread over all gateways, and returns when all have arrived behind them.
async fn in_flight(gateways: &[Gateway], key: &str, count: usize, upstream: &Upstream) -> JoinSet<u16> {
    let (mut asking, before) = (JoinSet::new(), upstream.count());
    for number in 0..count {
        let (data, key) = (gateways[number % gateways.len()].data, key.to_owned());
        asking.spawn(async move { Kept::new().get(data, "/slow", &key).await.unwrap().status });
    }
    wait_until("they are in flight", SOON, async || upstream.count() == before + count).await;
    asking
}

async fn all_admitted(asking: JoinSet<u16>) {
    assert!(asking.join_all().await.iter().all(|status| *status == 200));
}

/// All of a quota is asked for, and more.
async fn the_rest(gateways: &[Gateway], key: &str, code: &str) {
    let (_, refused) = burst(gateways, key, 16, 10).await;
    assert!(refused.iter().all(|refused| refused == code), "{refused:?}");
}

/// Redis is emptied, and the organization is back in it, so that nobody is admitted by a share any more.
async fn empty(redis: &RedisServer, gateways: &[Gateway], key: &str) {
    redis.command(&["FLUSHALL"]);
    assert_eq!(burst(gateways, key, 1, 1).await.0, 1);
    wait_until("it is rebuilt", SOON, async || redis.command(&["EXISTS", "tollgate:{acme}:o"]).trim() == "1")
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn requests_in_flight_for_long_count_when_redis_is_emptied() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "60"]).await;
    let slow = in_flight(&gateways, &key, 20, &upstream).await;
    // Longer than rows take to the record, and these have none.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(burst(&gateways, &key, 4, 4).await.0, 16);
    empty(&redis, &gateways, &key).await;
    the_rest(&gateways, &key, "quota_daily").await;
    assert_eq!(upstream.count(), 60, "with 20 in flight, and 16 whose rows were on their way");
    all_admitted(slow).await;
    // Nor do they count twice, or no longer, when their rows have come.
    redis.command(&["FLUSHALL"]);
    the_rest(&gateways, &key, "quota_daily").await;
    assert_eq!(upstream.count(), 60);
}

#[tokio::test]
async fn rows_that_wait_in_the_spool_count_when_redis_is_emptied() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    // Nothing is shipped for as long as this takes.
    let slow = config(upstream.address, &redis.url(), shared.path(), "[plans.wide]")
        .replace("segment_bytes", "ship_every = \"60s\"\nsegment_bytes");
    let gateways = [Gateway::start(&slow).await, Gateway::start(&slow).await];
    gateways[0].cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateways[0].key("acme", "k", &["--total", "70"]).await;
    for round in 1..=3 {
        assert_eq!(burst(&gateways, &key, 4, 5).await.0, 20, "round {round}");
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        empty(&redis, &gateways, &key).await;
    }
    the_rest(&gateways, &key, "quota_total").await;
    assert_eq!(upstream.count(), 70);
}

#[tokio::test]
async fn one_organization_that_redis_lost_is_rebuilt_to_the_last_request() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (id, key) = gateways[0].key("acme", "k", &["--monthly", "50"]).await;
    for lost in ["o".to_owned(), format!("k:{}", id.replace('-', ""))] {
        assert_eq!(burst(&gateways, &key, 2, 5).await.0, 10);
        assert_eq!(redis.command(&["DEL", &format!("tollgate:{{acme}}:{lost}")]).trim(), "1", "{lost}");
    }
    the_rest(&gateways, &key, "quota_monthly").await;
    assert_eq!(upstream.count(), 50);
}

#[tokio::test]
async fn slots_of_requests_in_flight_are_taken_when_redis_is_emptied() {
    const CAP: usize = 6;
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let plans = format!("[plans.narrow]\nconcurrency = {CAP}");
    let gateways = start(2, upstream.address, &redis, shared.path(), &plans, "narrow").await;
    let (_, key) = gateways[0].key("acme", "k", &[]).await;
    let slow = in_flight(&gateways, &key, CAP, &upstream).await;
    redis.command(&["FLUSHALL"]);
    the_rest(&gateways, &key, "concurrency_limited").await;
    assert_eq!(upstream.count(), CAP);
    all_admitted(slow).await;
    let slow = in_flight(&gateways, &key, CAP, &upstream).await;
    all_admitted(slow).await;
}

#[tokio::test]
async fn what_is_reserved_and_what_it_came_to_counts_once_when_redis_is_emptied() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    // A credit is a thousand: 10 slow ones reserve 10,000, and come to 30,000.
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (id, key) = gateways[0].key("acme", "k", &[]).await;
    let slow = in_flight(&gateways, &key, 10, &upstream).await;
    assert_eq!(burst(&gateways, &key, 2, 5).await.0, 10);
    redis.command(&["FLUSHALL"]);
    assert_eq!(burst(&gateways, &key, 2, 5).await.0, 10);
    all_admitted(slow).await;
    let used = async || spent(&redis, &id);
    wait_until("30 requests at 3 credits", SOON, async || used().await == Some((30, 90_000))).await;
    // When all is told and shipped, it is what the record says, too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.command(&["FLUSHALL"]);
    assert_eq!(burst(&gateways, &key, 1, 1).await.0, 1);
    wait_until("31 requests", SOON, async || used().await == Some((31, 93_000))).await;
}

/// Requests and microcents of a key this month, as Redis has them: by the script that tells.
pub(super) fn spent(redis: &RedisServer, id: &str) -> Option<(u64, u64)> {
    let script = [
        include_str!("../../src/stores/counters/redis/script/rings.lua"),
        include_str!("../../src/stores/counters/redis/script/used.lua"),
    ];
    let key = id.replace('-', "");
    let keys = [
        "tollgate:{acme}:o".to_owned(),
        format!("tollgate:{{acme}}:k:{key}"),
        "tollgate:{acme}:s".to_owned(),
    ];
    let field = format!("t{key}");
    let script = script.concat();
    let mut arguments = vec!["EVAL", &script, "3"];
    arguments.extend(keys.iter().map(String::as_str));
    arguments.extend([field.as_str(), ""]);
    let answer = redis.command(&arguments);
    let numbers: Vec<u64> = answer.lines().map_while(|line| line.trim().parse().ok()).collect();
    Some((*numbers.get(17)?, *numbers.get(18)?))
}

#[tokio::test]
async fn a_quota_is_exact_with_redis_killed_under_load_and_back_empty() {
    const CAP: usize = 400;
    let (mut redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", &CAP.to_string()]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut load = JoinSet::new();
    for client in 0..16 {
        let (data, key) = (gateways[client % 2].data, key.clone());
        load.spawn(async move {
            let mut kept = Kept::new();
            // In flight while Redis goes and comes.
            for path in ["/slow", "/", "/", "/", "/slow", "/", "/"] {
                let reply = kept.get(data, path, &key).await.unwrap();
                assert!(reply.status == 200 || reply.code() == "quota_daily", "{reply:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    wait_until("they are in flight", SOON, async || upstream.count() == 16).await;
    redis.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.start_again();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // And once more while the second round is.
    redis.command(&["FLUSHALL"]);
    load.join_all().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let so_far = upstream.count();
    assert_eq!(so_far, 16 * 7, "within the quota, and the share of each");
    let (admitted, refused) = burst(&gateways, &key, 32, 16).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!((so_far + admitted, upstream.count()), (CAP, CAP));
}

#[tokio::test]
async fn what_a_killed_gateway_left_on_its_disk_counts_when_it_is_back() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let slow = config(upstream.address, &redis.url(), shared.path(), "[plans.wide]")
        .replace("segment_bytes", "ship_every = \"60s\"\nsegment_bytes");
    let mut gateways = [Gateway::start(&slow).await, Gateway::start(&slow).await];
    gateways[0].cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateways[0].key("acme", "k", &["--daily", "80"]).await;
    assert_eq!(burst(&gateways, &key, 4, 10).await.0, 40);
    gateways[1].kill().await;
    empty(&redis, &gateways[..1], &key).await;
    gateways[1].start_again().await;
    // Its first beat has the organization forgotten, and the next request finds that out.
    let mut admitted = 41;
    wait_until("what it had admitted counts", SOON, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        admitted += burst(&gateways[..1], &key, 1, 1).await.0;
        spent(&redis, &id).is_some_and(|(requests, _)| requests == admitted as u64)
    })
    .await;
    // The dead one was there a moment ago, and is waited for: until then the shares of all serve.
    tokio::time::sleep(Duration::from_secs(4)).await;
    the_rest(&gateways, &key, "quota_daily").await;
    assert_eq!(upstream.count(), 80);
}

#[tokio::test]
async fn a_gateway_that_was_stopped_is_not_waited_for() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let mut gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "60"]).await;
    assert_eq!(burst(&gateways, &key, 4, 5).await.0, 20);
    assert_eq!(gateways[1].stop().await.code(), Some(0));
    // The other has heard that, and Redis is no longer new: until then there is one more for certain.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    redis.command(&["FLUSHALL"]);
    let emptied = tokio::time::Instant::now();
    assert_eq!(burst(&gateways[..1], &key, 1, 1).await.0, 1);
    // Half as long as the other would be waited for: till then, there would be no more than this one's share.
    tokio::time::sleep_until(emptied + Duration::from_millis(1_500)).await;
    the_rest(&gateways[..1], &key, "quota_daily").await;
    assert_eq!(upstream.count(), 60);
}

#[tokio::test]
async fn a_redis_that_the_last_gateway_has_left_is_not_taken_to_be_new() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let mut gateways = start(1, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "5"]).await;
    assert_eq!(burst(&gateways, &key, 1, 5).await.0, 5);
    // When it was found to know of nobody.
    let emptied = || redis.command(&["ZSCORE", "tollgate:nodes", ""]);
    let before = emptied();
    assert_eq!(gateways[0].stop().await.code(), Some(0));
    assert_eq!(redis.command(&["ZCARD", "tollgate:nodes"]).trim(), "1", "it has left");
    gateways[0].start_again().await;
    assert_eq!(emptied(), before, "when it was found empty");
    assert_eq!(burst(&gateways, &key, 1, 1).await, (0, vec!["quota_daily".to_owned()]));
}
