//! Plan caps: over every key of an organization, in any trailing second and minute, and free again in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::support::{Answer, Entries, Entry, Gateway, Kept, SOON, Upstream, wait_until};
use super::{AT_ONCE, count, each_once, start};

/// How much later than the window allows a client that asks every few milliseconds may be served on a machine that
/// is busy building: scheduling, not counting.
const SLACK: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_plan_cap_holds_over_all_keys_of_an_organization() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, "[plans.narrow]\nper_minute = 50", "narrow").await;
    gateway.cli(&["org", "create", "other", "--plan", "narrow"]).await;
    let mut keys = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        keys.extend(vec![gateway.key("acme", name, &[]).await.1; 40]);
    }
    let replies = each_once(&Arc::new(Mutex::new(gateway.data)), AT_ONCE, keys).join_all().await;
    assert_eq!((count(&replies, 200, ""), count(&replies, 429, "rate_limited_minute")), (50, 150));
    assert_eq!(upstream.count(), 50);
    // Another organization on the same plan has caps of its own.
    let (_, other) = gateway.key("other", "k", &[]).await;
    assert_eq!(Kept::new().get(gateway.data, "/", &other).await.unwrap().status, 200);
}

/// Several keys asked for as fast as it goes for a while, refused or not; what was admitted, by time of admission.
async fn flood(gateway: &Gateway, keys: &[String], clients: usize, time: Duration) -> Vec<Entry> {
    let mut flood = JoinSet::new();
    let (until, data) = (Instant::now() + time, gateway.data);
    for client in 0..clients {
        let key = keys[client % keys.len()].clone();
        flood.spawn(async move {
            let mut kept = Kept::new();
            let mut asked = 0;
            while Instant::now() < until {
                let reply = kept.get(data, "/", &key).await.unwrap();
                assert!(matches!(reply.status, 200 | 429), "{reply:?}");
                if reply.status == 429 {
                    // A refusal says how long to wait, in whole seconds of at most a minute.
                    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=60).contains(&wait), "{reply:?}");
                }
                asked += 1;
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
            asked
        });
    }
    let asked: usize = flood.join_all().await.into_iter().sum();
    let entries = Entries::of(gateway).await.at_least(asked, SOON).await;
    assert_eq!(entries.len(), asked, "one row per request");
    entries.into_iter().filter(|entry| entry.admitted).collect()
}

#[tokio::test]
async fn no_trailing_second_holds_more_than_the_cap_and_whoever_retries_is_served_in_time() {
    const CAP: usize = 20;
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, &format!("[plans.narrow]\nper_second = {CAP}"), "narrow").await;
    let keys = [gateway.key("acme", "a", &[]).await.1, gateway.key("acme", "b", &[]).await.1];
    let admitted = flood(&gateway, &keys, 8, Duration::from_secs(6)).await;
    assert_eq!(admitted.len(), upstream.count());
    holds_and_recovers(&admitted, CAP, Duration::from_secs(1), Duration::from_millis(50));
    assert!(admitted.len() >= 4 * CAP, "only {} in 6 seconds", admitted.len());
}

/// In no trailing `span` more than `cap`; and as clients ask all the time, the next is admitted as soon as the first
/// of the last `cap` has left the window, at most a cell later.
fn holds_and_recovers(admitted: &[Entry], cap: usize, span: Duration, cell: Duration) {
    let gaps: Vec<u64> =
        admitted.windows(cap + 1).map(|run| (run[cap].at - run[0].at).unsigned_abs()).collect();
    assert!(!gaps.is_empty(), "the cap was never reached: {}", admitted.len());
    let gaps = gaps.into_iter().map(Duration::from_micros);
    let (least, most) = (gaps.clone().min().unwrap(), gaps.max().unwrap());
    assert!(least >= span, "{} in {least:?}", cap + 1);
    assert!(most <= span + cell + SLACK, "nobody was admitted for {most:?}");
}

#[tokio::test]
async fn a_minute_is_a_minute_also_across_a_restart() {
    const CAP: usize = 30;
    let upstream = Upstream::start(|_| Answer::new(200));
    let mut gateway = start(upstream.address, &format!("[plans.narrow]\nper_minute = {CAP}"), "narrow").await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    let mut kept = Kept::new();
    for _ in 0..CAP {
        assert_eq!(kept.get(gateway.data, "/", &key).await.unwrap().status, 200);
    }
    let used = Instant::now();
    gateway.restart().await;
    let refused = kept.get(gateway.data, "/", &key).await.unwrap();
    assert_eq!((refused.status, refused.code()), (429, "rate_limited_minute".into()));
    // The client is told the time to wait, and that is the truth to a second.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let (earliest, latest) = (Duration::from_secs(60) - used.elapsed(), Duration::from_secs(63));
    assert!(wait as f64 >= earliest.as_secs_f64().min(60.0) - 1.0, "{wait} s, and {earliest:?} are left");
    assert!(used.elapsed() + Duration::from_secs(wait) <= latest + SLACK, "{wait} s");
    wait_until("the window has passed", Duration::from_secs(65), async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        kept.get(gateway.data, "/", &key).await.unwrap().status == 200
    })
    .await;
    let entries = Entries::of(&gateway).await;
    wait_until("the row is there", SOON, async || {
        entries.number("SELECT count(*) FROM requests WHERE admitted").await > CAP as i64
    })
    .await;
    let admitted: Vec<Entry> = entries.all().await.into_iter().filter(|entry| entry.admitted).collect();
    holds_and_recovers(&admitted, CAP, Duration::from_secs(60), Duration::from_secs(3));
}
