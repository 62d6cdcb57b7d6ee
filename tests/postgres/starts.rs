//! A gateway that starts while its record is away: it serves the keys it knew and no others, says what it lacks, and is as
//! any other soon after the record is back. What only somebody can set right still keeps it from starting.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::support::{
    Answer, Gateway, Kept, PASSWORD, Postgres, RedisServer, SOON, Upstream, get, metrics, post, run, sum,
    wait_until,
};
use super::{config, logged, start};

/// How soon after the record is back all is as before, and how much longer a busy machine may take to show it.
const RECOVERY: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);
/// How soon a change is in force, once it can be read.
const IN_FORCE: Duration = Duration::from_secs(1);

/// What a key is answered: the status, and the code of a refusal.
async fn ask(gateway: &Gateway, key: &str) -> (u16, String) {
    let reply = Kept::new().get(gateway.data, "/page", key).await.unwrap();
    (reply.status, reply.code())
}

fn no_store() -> (u16, String) {
    (503, "store_unavailable".to_owned())
}

/// What `/readyz` says of a part; empty where it is not named.
async fn lacks(gateway: &Gateway, part: &str) -> String {
    get(gateway.control, "/readyz", &[]).await.json()["failing"][part].as_str().unwrap_or_default().to_owned()
}

async fn is_ready(gateway: &Gateway) -> bool {
    get(gateway.control, "/readyz", &[]).await.status == 200
}

/// Has the gateway know the key; what has just been made is read once more when its change is followed.
async fn learn(gateway: &Gateway, key: &str) {
    confirmed().await;
    assert_eq!(ask(gateway, key).await.0, 200);
    confirmed().await;
}

/// Waits until the record has confirmed what the gateway knows.
async fn confirmed() {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

/// Counters in Redis.
fn counters(redis: &RedisServer) -> String {
    format!("[counters]\nurl = \"{}\"\ntimeout = \"400ms\"", redis.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_without_a_record_says_so_and_is_ready_when_it_comes() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start_with(&[]);
    server.kill();
    let gateway = Gateway::start(&config(&server, upstream.address, "")).await;
    let said = gateway.stderr();
    assert!(said.contains("the record is away") && said.contains("postgres://127.0.0.1"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(lacks(&gateway, "record").await.contains("no key is known"));
    assert!(lacks(&gateway, "counters").await.contains("not restored"));
    let never = format!("sk_live_{}", "a".repeat(32));
    assert_eq!(ask(&gateway, &never).await, no_store(), "nobody knows that it is no key");
    assert!(sum(&metrics(gateway.control).await, "tollgate_dependency_up{name=\"record\"}") < 1.0);
    let login = post(
        gateway.control,
        "/v1/session",
        &[("content-type", "application/json")],
        r#"{"email":"a@example.com","password":"long enough for one"}"#,
    )
    .await;
    assert_eq!(login.status, 503, "{}", login.text());
    let command = gateway.run(&["org", "list"], "").await;
    assert!(command.code == Some(1) && command.stderr.contains("record.url"), "{command:?}");
    // Nothing is known of the record, so nothing was written for it.
    server.start_again();
    let back = Instant::now();
    wait_until("it is ready", SOON, async || is_ready(&gateway).await).await;
    let ready = back.elapsed();
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    let reply = Kept::new().get(gateway.data, "/page", &key).await.unwrap();
    assert_eq!(reply.status, 200);
    logged(&server, &[reply.header("x-request-id").unwrap().to_owned()].into()).await;
    assert_eq!(ask(&gateway, &never).await.0, 401);
    println!("ready {ready:?} after its record was there");
    assert!(ready < RECOVERY + SLACK, "{ready:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_there_a_gateway_starts_with_what_the_index_knows_and_counts_on() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut server, redis) = (Postgres::start_with(&[]), RedisServer::start());
    let (mut gateway, _, _) = start(&server, upstream.address, &counters(&redis)).await;
    let (_, key) = gateway.key("acme", "quota", &["--total", "10"]).await;
    let (_, unknown) = gateway.key("acme", "unknown", &[]).await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway, &key).await.0, 200);
    }
    // That it was made is followed, after which the index takes it in.
    confirmed().await;
    assert_eq!(ask(&gateway, &key).await.0, 200);
    confirmed().await;
    gateway.kill().await;
    server.kill();
    // Redis alone knows.
    std::fs::remove_file(gateway.directory().join("data/log/keys.journal")).unwrap();
    gateway.start_again().await;
    wait_until("it is ready", SOON, async || is_ready(&gateway).await).await;
    for admitted in 6..12 {
        let expected = if admitted < 10 { (200, "") } else { (401, "quota_total") };
        assert_eq!(ask(&gateway, &key).await, (expected.0, expected.1.to_owned()), "after {admitted}");
    }
    assert_eq!(ask(&gateway, &unknown).await, no_store());
    assert!(sum(&metrics(gateway.control).await, "tollgate_key_lookups_total{tier=\"l2\"}") > 0.0);
    server.start_again();
    wait_until("the unknown key is known", SOON, async || ask(&gateway, &unknown).await.0 == 200).await;
    assert_eq!(ask(&gateway, &key).await.1, "quota_total");
    assert_eq!(upstream.count(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_it_was_down_is_in_force_soon_after_the_record_is_back() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut server, mut redis) = (Postgres::start_with(&[]), RedisServer::start());
    let (mut gateway, id, key) = start(&server, upstream.address, &counters(&redis)).await;
    learn(&gateway, &key).await;
    gateway.kill().await;
    // By a command, which speaks to the record.
    gateway.cli(&["key", "revoke", &id]).await;
    server.kill();
    redis.kill();
    gateway.start_again().await;
    assert_eq!(ask(&gateway, &key).await.0, 200, "nobody who is there can know");
    server.start_again();
    let back = Instant::now();
    wait_until("the revoke is in force", SOON, async || ask(&gateway, &key).await.0 == 401).await;
    let in_force = back.elapsed();
    println!("a revoke made while the gateway was down was in force {in_force:?} after the record was back");
    assert!(in_force < IN_FORCE + SLACK, "{in_force:?}");
    // And stays so, on the next start without the record.
    confirmed().await;
    gateway.kill().await;
    server.kill();
    gateway.start_again().await;
    assert_eq!(ask(&gateway, &key).await, no_store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_time_nothing_is_known_any_more_and_what_is_damaged_never_was() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut server, redis) = (Postgres::start_with(&[]), RedisServer::start());
    let more = format!("{}\n[keys]\nremember_for = \"3s\"\nindex_for = \"0s\"", counters(&redis));
    let (mut gateway, _, key) = start(&server, upstream.address, &more).await;
    learn(&gateway, &key).await;
    gateway.kill().await;
    server.kill();
    gateway.start_again().await;
    assert_eq!(ask(&gateway, &key).await.0, 200);
    let journal = gateway.directory().join("data/log/keys.journal");
    let kept = std::fs::read_to_string(&journal).unwrap();
    assert!(!kept.contains(&key), "only its digest");
    wait_until("its time is over", SOON, async || ask(&gateway, &key).await == no_store()).await;
    assert!(lacks(&gateway, "record").await.contains("no key is known"));

    server.start_again();
    wait_until("the key is known", SOON, async || ask(&gateway, &key).await.0 == 200).await;
    learn(&gateway, &key).await;
    gateway.kill().await;
    server.kill();
    let damaged = std::fs::read_to_string(&journal).unwrap().replace("\"acme\"", "\"acmE\"");
    std::fs::write(&journal, damaged).unwrap();
    gateway.start_again().await;
    assert_eq!(ask(&gateway, &key).await, no_store());
    let discarded = "tollgate_key_lookups_total{tier=\"journal_discarded\"}";
    assert!(sum(&metrics(gateway.control).await, discarded) > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_counted_in_memory_admit_nobody_until_they_are_restored() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start_with(&[]);
    let (mut gateway, _, _) = start(&server, upstream.address, "").await;
    let (_, key) = gateway.key("acme", "quota", &["--total", "10"]).await;
    for _ in 0..6 {
        assert_eq!(ask(&gateway, &key).await.0, 200);
    }
    confirmed().await;
    gateway.kill().await;
    server.kill();
    gateway.start_again().await;
    assert_eq!(ask(&gateway, &key).await, no_store());
    assert!(lacks(&gateway, "counters").await.contains("not restored"));
    server.start_again();
    let back = Instant::now();
    wait_until("it is ready", SOON, async || is_ready(&gateway).await).await;
    let ready = back.elapsed();
    for admitted in 6..12 {
        let expected = if admitted < 10 { (200, "") } else { (401, "quota_total") };
        assert_eq!(ask(&gateway, &key).await, (expected.0, expected.1.to_owned()), "after {admitted}");
    }
    assert!(ready < RECOVERY + SLACK, "{ready:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_version_that_comes_later_is_said_and_left_alone() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start_with(&[]);
    let (mut gateway, _, key) = start(&server, upstream.address, "[keys]\nremember_for = \"0s\"").await;
    gateway.kill().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '', 0)";
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    drop(connection);
    server.kill();
    gateway.start_again().await;
    server.start_again();
    wait_until("it is said", SOON, async || gateway.stderr().contains("newer version of tollgate")).await;
    assert_eq!(ask(&gateway, &key).await, no_store());
    assert!(!is_ready(&gateway).await);
    // Set right by somebody, it is used.
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 9999").execute(&mut connection).await.unwrap();
    wait_until("it is ready", SOON, async || is_ready(&gateway).await).await;
    assert_eq!(ask(&gateway, &key).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_has_to_set_right_still_keeps_it_from_starting() {
    let server = Postgres::start();
    let nowhere = ([127, 0, 0, 1], 9).into();
    let right = config(&server, nowhere, "");
    let place = tempfile::tempdir().unwrap();
    for (wrong, said) in [
        (right.replace(PASSWORD, "not-the-password"), "password authentication failed"),
        (right.replace("/postgres\"", "/nothing\""), "\"nothing\" does not exist"),
        (right.replace("/postgres\"", "/postgres?sslmode=require\""), "does not support TLS"),
        (right.replace("/postgres\"", "/postgres?sslmode=perhaps\""), "sslmode that is not known"),
    ] {
        assert_ne!(wrong, right, "{said}");
        std::fs::write(place.path().join("gateway.toml"), wrong).unwrap();
        let finished = run(&["serve", "--config", "gateway.toml"], place.path()).await;
        assert!(finished.code.is_some_and(|code| code > 0), "{finished:?}");
        assert!(finished.stderr.contains(said) && finished.stderr.contains("record.url"), "{finished:?}");
        assert!(!finished.stderr.contains(PASSWORD) && !finished.stderr.contains("not-the-password"));
    }
}
