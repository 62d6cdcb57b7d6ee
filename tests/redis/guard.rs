//! Who guesses keys at one gateway is listened to by none.

use std::time::{Duration, Instant};

use super::config;
use super::support::{
    Answer, Gateway, RedisServer, SOON, Upstream, free_port, metrics, send, sum, wait_until,
};

const FAILURES: usize = 5;
const GUESSER: &str = "192.0.2.7";
/// How long a block may take to be in force everywhere; and how much longer a busy machine may take to show it.
const EVERYWHERE: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(1);

/// A gateway's configuration with a guard, behind a proxy that is believed.
fn guarded(upstream: &Upstream, redis: &str, shared: &std::path::Path, block_for: &str) -> String {
    config(upstream.address, redis, shared, "[plans.wide]")
        .replace("failures = 0", &format!("failures = {FAILURES}\nblock_for = \"{block_for}\""))
        .replace("threads = 1", "threads = 1\ntrusted_proxies = [\"127.0.0.1/32\"]")
}

async fn two(upstream: &Upstream, redis: &str, shared: &std::path::Path, block_for: &str) -> [Gateway; 2] {
    let config = guarded(upstream, redis, shared, block_for);
    [Gateway::start(&config).await, Gateway::start(&config).await]
}

/// Asks with a key that does not exist, from an address.
async fn guess(gateway: &Gateway, address: &str) -> u16 {
    send(gateway.data, "GET", "/", &[("x-api-key", "sk_live_none"), ("x-forwarded-for", address)], "")
        .await
        .status
}

async fn until_all_block(gateways: &[Gateway], began: Instant) {
    for gateway in gateways {
        wait_until("it is blocked", SOON, async || guess(gateway, GUESSER).await == 403).await;
    }
    assert!(began.elapsed() < EVERYWHERE + SLACK, "after {:?}", began.elapsed());
}

#[tokio::test]
async fn who_is_blocked_at_one_gateway_is_at_all_also_after_a_restart_until_it_ends() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let mut gateways = two(&upstream, &redis.url(), shared.path(), "6s").await;
    for _ in 0..FAILURES {
        assert_eq!(guess(&gateways[0], GUESSER).await, 401);
    }
    let blocked = Instant::now();
    assert_eq!(guess(&gateways[0], GUESSER).await, 403);
    until_redis_knows(&redis).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(guess(&gateways[1], GUESSER).await, 403, "without a failure of its own");
    assert_eq!(guess(&gateways[1], "192.0.2.8").await, 401);
    // A flood of refused requests costs Redis nothing but the beats of the time it takes.
    let (before, began) = (redis.scripts_run(), Instant::now());
    for _ in 0..300 {
        assert_eq!(guess(&gateways[1], GUESSER).await, 403);
    }
    let beats = 4 * (began.elapsed().as_millis() as u64 / 250 + 2);
    let calls = redis.scripts_run() - before;
    assert!(calls <= beats, "{calls} calls in {beats} beats");

    gateways[1].kill().await;
    gateways[1].start_again().await;
    wait_until("it has heard again", EVERYWHERE + SLACK, async || guess(&gateways[1], GUESSER).await == 403)
        .await;
    assert!(blocked.elapsed() < Duration::from_secs(6), "the machine is too busy to show it");
    for gateway in &gateways {
        wait_until("the block ends", SOON, async || guess(gateway, GUESSER).await == 401).await;
    }
    assert!(blocked.elapsed() >= Duration::from_secs(6), "{:?}", blocked.elapsed());
    let ttl: i64 = redis.command(&["TTL", "tollgate:{guard}:news"]).trim().parse().unwrap();
    assert!(ttl > 0, "{ttl}");
}

#[tokio::test]
async fn failures_at_all_gateways_add_up_and_an_operator_unblocks_everywhere() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = two(&upstream, &redis.url(), shared.path(), "1h").await;
    for n in 0..FAILURES {
        assert_eq!(guess(&gateways[n % 2], GUESSER).await, 401);
    }
    let began = Instant::now();
    until_redis_knows(&redis).await;
    until_all_block(&gateways, began).await;

    let password = "a password of some length";
    gateways[0]
        .cli_with(&["user", "create", "op@example.com", "--operator", "--password-stdin"], password)
        .await;
    let session = gateways[0].cli(&["session", "create", "op@example.com"]).await;
    let bearer = format!("Bearer {}", session["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let path = format!("/v1/blocked/{GUESSER}");
    let began = Instant::now();
    assert_eq!(send(gateways[1].control, "DELETE", &path, &headers, "").await.status, 204);
    for gateway in &gateways {
        wait_until("it is listened to", SOON, async || guess(gateway, GUESSER).await == 401).await;
    }
    assert!(began.elapsed() < EVERYWHERE + SLACK, "after {:?}", began.elapsed());

    // Redis forgets: whoever is blocked is told again.
    for _ in 0..FAILURES {
        guess(&gateways[0], GUESSER).await;
    }
    until_redis_knows(&redis).await;
    redis.command(&["FLUSHALL"]);
    until_redis_knows(&redis).await;
    assert_eq!(
        sum(&metrics(gateways[0].control).await, "tollgate_overflows_total{bound=\"ip_guard_shared\"}"),
        0.0
    );
}

async fn until_redis_knows(redis: &RedisServer) {
    wait_until("Redis knows of the block", SOON, async || {
        redis.command(&["ZCARD", "tollgate:{guard}:blocked"]).trim() == "1"
    })
    .await;
}

#[tokio::test]
async fn without_redis_each_gateway_guards_itself() {
    let shared = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_| Answer::new(200));
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let gateways = two(&upstream, &nowhere, shared.path(), "1h").await;
    for _ in 0..FAILURES {
        assert_eq!(guess(&gateways[0], GUESSER).await, 401);
    }
    assert_eq!((guess(&gateways[0], GUESSER).await, guess(&gateways[1], GUESSER).await), (403, 401));
}
