//! A spool that has no room, as nothing can be shipped.

use std::collections::BTreeMap;
use std::time::Duration;

use super::support::{Answer, Entries, Gateway, Kept, Reply, SOON, Upstream, get, metrics, sum, wait_until};
use super::{config, no_drift, start};

/// The smallest spool there can be.
const LOGS: &str = "segment_bytes = \"64KiB\"\nspool_bytes_max = \"128KiB\"\nship_every = \"50ms\"";
/// More requests than it has room for.
const MANY: usize = 4_000;

async fn ask(gateway: &Gateway, key: &str, times: usize) -> Vec<Reply> {
    let mut kept = Kept::new();
    let mut replies = Vec::new();
    for _ in 0..times {
        replies.push(kept.get(gateway.data, "/some/path", key).await.unwrap());
    }
    replies
}

/// Waits until everything written is shipped; the samples by then.
async fn shipped(gateway: &Gateway) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    wait_until("nothing is left in the spool", SOON, async || {
        samples = metrics(gateway.control).await;
        let rows = |state: &str| samples[&format!("tollgate_log_rows_total{{state=\"{state}\"}}")];
        rows("written") == rows("shipped") + rows("lost")
    })
    .await;
    samples
}

/// Every request is a row that was written, or one that was lost and counted.
async fn adds_up(gateway: &Gateway, entries: &Entries) -> f64 {
    let samples = shipped(gateway).await;
    let rows = |state: &str| samples[&format!("tollgate_log_rows_total{{state=\"{state}\"}}")];
    assert_eq!(sum(&samples, "tollgate_requests_total"), rows("written"));
    assert_eq!(entries.number("SELECT count(*) FROM requests").await as f64, rows("shipped"));
    no_drift(gateway).await;
    rows("lost")
}

#[tokio::test]
async fn a_full_spool_refuses_before_anything_is_claimed_or_forwarded() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, _, key) = start(&config(upstream.address, 1, LOGS)).await;
    assert_eq!(ask(&gateway, &key, 1).await[0].status, 200);
    let locked = Entries::lock(&gateway).await;
    let replies = ask(&gateway, &key, MANY).await;
    let admitted = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((50..MANY).contains(&admitted), "{admitted}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(
            (reply.status, &*reply.code(), reply.header("retry-after")),
            (503, "overloaded", Some("1"))
        );
    }
    assert_eq!(upstream.count(), admitted + 1);
    let ready = get(gateway.control, "/readyz", &[]).await;
    assert_eq!(ready.status, 503, "it serves nothing: {}", ready.text());
    assert!(ready.text().contains("the spool is full"), "{}", ready.text());

    locked.release().await;
    let entries = Entries::of(&gateway).await;
    wait_until("there is room again", Duration::from_secs(5), async || {
        ask(&gateway, &key, 1).await[0].status == 200
    })
    .await;
    let lost = adds_up(&gateway, &entries).await;
    let admitted = entries.number("SELECT count(*) FROM requests WHERE admitted").await;
    assert_eq!(admitted, upstream.count() as i64, "every admitted request has its row");
    // What is lost are rows of refusals that there was no room for; nothing else.
    let refused = sum(&metrics(gateway.control).await, "tollgate_refusals_total{code=\"overloaded\"}");
    assert!(lost > 0.0 && lost <= refused, "{lost} lost of {refused} refused");
    // A refused request has spent nothing.
    let reply = ask(&gateway, &key, 1).await.remove(0);
    let left = format!("r={}", 1_000_000 - upstream.count());
    assert!(reply.header("ratelimit").unwrap().contains(&left), "no {left} in {}", reply.head);
}

#[tokio::test]
async fn or_drops_rows_counts_them_and_serves() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let logs = format!("{LOGS}\nwhen_full = \"drop\"");
    let (gateway, _, key) = start(&config(upstream.address, 1, &logs)).await;
    let locked = Entries::lock(&gateway).await;
    let replies = ask(&gateway, &key, MANY).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(upstream.count(), MANY);
    locked.release().await;

    let entries = Entries::of(&gateway).await;
    wait_until("there is room again", Duration::from_secs(5), async || {
        let before = metrics(gateway.control).await["tollgate_log_rows_total{state=\"lost\"}"];
        ask(&gateway, &key, 1).await;
        metrics(gateway.control).await["tollgate_log_rows_total{state=\"lost\"}"] == before
    })
    .await;
    let lost = adds_up(&gateway, &entries).await;
    assert!(lost > 0.0);
    let rows = entries.number("SELECT count(*) FROM requests WHERE admitted").await;
    assert_eq!(rows + lost as i64, upstream.count() as i64);
}
