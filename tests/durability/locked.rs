//! A record that another process keeps to itself for a while.
//!
//! `TOLLGATE_LOCKED_SECONDS` asks for another time than 7 seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::support::{Answer, Entries, Kept, SOON, Upstream, get, metrics, wait_until};
use super::{config, memory, no_drift, start};

#[tokio::test]
async fn traffic_does_not_wait_for_a_locked_record_and_its_rows_are_there_afterwards() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let logs = "segment_bytes = \"256KiB\"\nship_every = \"50ms\"";
    let (gateway, _, key) = start(&config(upstream.address, 2, logs)).await;
    // Never used before the lock: it has to be looked up while that is held.
    let (_, unknown) = gateway.key("acme", "unknown", &[]).await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let entries = Entries::of(&gateway).await;
    entries.at_least(1, SOON).await;

    let locked = Entries::lock(&gateway).await;
    let seconds =
        std::env::var("TOLLGATE_LOCKED_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let until = Instant::now() + Duration::from_secs(seconds);
    let before = memory(&gateway);
    let asked = Arc::new(AtomicUsize::new(1));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let key = if client == 0 { unknown.clone() } else { key.clone() };
        let (data, asked) = (gateway.data, Arc::clone(&asked));
        clients.spawn(async move {
            let (mut kept, mut slowest) = (Kept::new(), Duration::ZERO);
            while Instant::now() < until {
                let began = Instant::now();
                assert_eq!(kept.get(data, "/", &key).await.unwrap().status, 200);
                slowest = slowest.max(began.elapsed());
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest
        });
    }
    wait_until("the log is seen to lag", SOON, async || {
        metrics(gateway.control).await["tollgate_log_lag_seconds"] > 3.0
    })
    .await;
    assert_eq!(get(gateway.control, "/readyz", &[]).await.status, 200, "it can serve");
    let slowest = clients.join_all().await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
    let grown = memory(&gateway).saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown} bytes");
    let rows = async || entries.number("SELECT count(*) FROM requests").await as usize;
    assert_eq!(rows().await, 1, "the record was not locked");

    locked.release().await;
    let released = Instant::now();
    wait_until("rows move again", SOON, async || rows().await > 1).await;
    let recovery = released.elapsed();
    assert!(recovery < Duration::from_secs(2), "the log stood still for {recovery:?}");
    let asked = asked.load(Ordering::Relaxed);
    println!(
        "{asked} requests in {seconds} s, the slowest in {slowest:?}, {} KiB more memory; rows came again after {recovery:?}",
        grown >> 10
    );
    wait_until("every row is in the record", SOON * 6, async || rows().await >= asked).await;
    assert_eq!((rows().await, upstream.count()), (asked, asked));
    no_drift(&gateway).await;
    wait_until("the log is seen not to lag", SOON, async || {
        metrics(gateway.control).await["tollgate_log_lag_seconds"] < 1.0
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_ends_while_the_record_is_locked_does_not_wait_and_forgets_nothing() {
    const ASKED: usize = 50;
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut gateway, id, key) = start(&config(upstream.address, 2, "ship_every = \"50ms\"")).await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    Entries::of(&gateway).await.at_least(1, SOON).await;

    let locked = Entries::lock(&gateway).await;
    let mut kept = Kept::new();
    for _ in 1..ASKED {
        assert_eq!(kept.get(gateway.data, "/", &key).await.unwrap().status, 200);
    }
    let told = Instant::now();
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    locked.release().await;

    gateway.start_again().await;
    let rows = Entries::of(&gateway).await.all().await;
    assert_eq!(rows.len(), ASKED, "rows are in the record before the next start serves");
    assert!(rows.iter().all(|row| row.outcome.as_deref() == Some("success")), "{rows:?}");
    assert_eq!(gateway.cli(&["key", "show", &id]).await["requests"], ASKED);
    let reply = Kept::new().get(gateway.data, "/", &key).await.unwrap();
    let left = format!("r={}", 1_000_000 - ASKED - 1);
    assert!(reply.header("ratelimit").unwrap().contains(&left), "no {left} in {}", reply.head);
}
