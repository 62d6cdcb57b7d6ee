//! Organizations that a gateway has never met, thousands at once: each is served, and counted from the first request on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::task::JoinSet;

use super::support::{Answer, Gateway, Kept, Postgres, RedisServer, SOON, Upstream, wait_until};
use super::{config, start};

/// Organizations, each with a key that is good for two requests.
const NEWCOMERS: usize = 2_000;
/// How long any of them waits at most, all asking at once, on a busy machine and without optimizations.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Calls to Redis for one of them, some of which a busy machine makes twice: to be told that it is not there, the lock, what the record holds, the claim, what is
/// given back; and the index's two.
const CALLS_MAX: usize = 10;

/// Organizations and keys beside `acme`, which are copies of it and its key: by SQL, as thousands of commands take minutes.
async fn newcomers(server: &Postgres) {
    let copies = "
INSERT INTO organizations SELECT (jsonb_populate_record(o, jsonb_build_object('id', 'o' || n, 'name', 'o' || n))).*
  FROM organizations o, generate_series(1, 2000) n WHERE o.id = 'acme';
INSERT INTO projects SELECT (jsonb_populate_record(p, jsonb_build_object('id', 'p' || n, 'organization', 'o' || n))).*
  FROM projects p, generate_series(1, 2000) n WHERE p.organization = 'acme';
INSERT INTO keys SELECT (jsonb_populate_record(k, jsonb_build_object('id', md5('k' || n)::uuid, 'name', 'k' || n,
    'organization', 'o' || n, 'project', 'p' || n, 'quota_total', 2))).*
  FROM keys k, generate_series(1, 2000) n WHERE k.organization = 'acme';
INSERT INTO key_secrets (digest, key, imported)
  SELECT sha256(convert_to('new-' || n, 'UTF8')), md5('k' || n)::uuid, true FROM generate_series(1, 2000) n;
-- As it is found when somebody analyzes the tables before the first request: the log is known to be empty.
ANALYZE;";
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql(copies).execute(&mut connection).await.unwrap();
}

/// How many were told what.
type Said = BTreeMap<(u16, String), usize>;

/// Everybody asks once, all at the same time: what they were told, and how long the slowest waited.
async fn all_ask(gateway: &Gateway) -> (Said, Duration) {
    let mut asking = JoinSet::new();
    for number in 1..=NEWCOMERS {
        let data = gateway.data;
        asking.spawn(async move {
            let began = Instant::now();
            let reply = Kept::new().get(data, "/", &format!("new-{number}")).await.unwrap();
            ((reply.status, reply.code()), began.elapsed())
        });
    }
    let (mut said, mut slowest) = (Said::new(), Duration::ZERO);
    for (told, took) in asking.join_all().await {
        *said.entry(told).or_default() += 1;
        slowest = slowest.max(took);
    }
    (said, slowest)
}

fn everybody(status: u16, code: &str) -> Said {
    [((status, code.to_owned()), NEWCOMERS)].into()
}

/// What the gateway has complained of.
fn warnings(gateway: &Gateway) -> String {
    let written = gateway.stderr();
    let warnings = written.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    warnings.take(20).collect::<Vec<_>>().join("\n")
}

/// Scripts that Redis has run.
fn calls(redis: &RedisServer) -> usize {
    let told = redis.command(&["INFO", "commandstats"]);
    let of =
        |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<usize>().ok();
    told.lines().find_map(of).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_at_once_are_all_served_and_counted_also_when_redis_has_lost_them() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let (server, redis) = (Postgres::start(), RedisServer::start());
    let more = format!("[counters]\nurl = \"{}\"\ntimeout = \"400ms\"", redis.url());
    let (mut one, _, _) = start(&server, upstream.address, &more).await;
    newcomers(&server).await;
    // A gateway of its own: it has seen none of them, and has asked the record for nothing. The other has left before, so
    // that its share is the whole.
    one.stop().await;
    let gateway = Gateway::start(&config(&server, upstream.address, &more)).await;

    assert_eq!(redis.command(&["ZCARD", "tollgate:nodes"]).trim(), "2", "nobody, and the one that is there");
    // Longer than is waited for nodes that might speak to a Redis that was found empty: each look whether they did is a call.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = calls(&redis);
    let (said, first) = all_ask(&gateway).await;
    let each = (calls(&redis) - before) as f64 / NEWCOMERS as f64;
    assert_eq!(said, everybody(200, ""), "after {first:?}: {}", warnings(&gateway));

    redis.command(&["FLUSHALL"]);
    let (said, lost) = all_ask(&gateway).await;
    assert_eq!(said, everybody(200, ""), "after {lost:?}: {}", warnings(&gateway));

    let (said, _) = all_ask(&gateway).await;
    assert_eq!(said, everybody(401, "quota_total"), "what was admitted counts");
    println!(
        "the slowest of {NEWCOMERS} waited {first:.2?}, {each:.1} calls to Redis each; with Redis emptied {lost:.2?}"
    );
    assert!(first < WAIT_MAX && lost < WAIT_MAX, "{first:?}, {lost:?}");
    assert!(each <= CALLS_MAX as f64, "{each} calls to Redis for each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_during_which_record_and_redis_go_away_ends_with_everything_counted() {
    const QUOTA: usize = 60;
    let upstream = Upstream::start(|_| Answer::new(200));
    let (server, mut redis) = (Postgres::start(), RedisServer::start());
    let more = format!("[counters]\nurl = \"{}\"\ntimeout = \"400ms\"", redis.url());
    let (gateway, _, _) = start(&server, upstream.address, &more).await;
    let (_, key) = gateway.key("acme", "quota", &["--total", &QUOTA.to_string()]).await;
    let admitted = async |times: usize| {
        let mut kept = Kept::new();
        for _ in 0..times {
            assert_eq!(kept.get(gateway.data, "/", &key).await.unwrap().status, 200);
        }
    };
    admitted(19).await;
    // Longer than it takes to hear that the key was made, and to forget what was known of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    admitted(1).await;
    // Redis has lost it, and the record does not say what it was.
    server.freeze();
    redis.command(&["FLUSHALL"]);
    let began = Instant::now();
    admitted(5).await;
    assert!(began.elapsed() < Duration::from_secs(2), "five requests took {:?}", began.elapsed());
    // Then Redis is gone, too.
    redis.kill();
    admitted(5).await;
    redis.start_again();
    admitted(5).await;
    server.thaw();
    wait_until("it is rebuilt", SOON, async || redis.command(&["EXISTS", "tollgate:{acme}:o"]).trim() == "1")
        .await;
    // Longer than its share holds beside its leases.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    admitted(QUOTA - 35).await;
    let refused = Kept::new().get(gateway.data, "/", &key).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (401, "quota_total"));
    assert_eq!(upstream.count(), QUOTA);
}
