//! Rolling quotas: never one more than the cap, and every one of the cap.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::support::{Answer, Entries, Gateway, Kept, SOON, Upstream, wait_until};
use super::{AT_ONCE, count, each_once, start};

const CLIENTS: usize = 500;
const LEFT: usize = 100;
const USED: usize = 20;
/// Between the starts of two clients, so that the quota is not used up before the end can come.
const STAGGER: Duration = Duration::from_millis(3);

#[tokio::test]
async fn of_500_concurrent_requests_with_100_left_of_a_quota_exactly_100_are_admitted() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let gateway = start(upstream.address, "", "wide").await;
    let address = Arc::new(Mutex::new(gateway.data));
    for quota in ["total", "daily", "weekly", "monthly"] {
        let cap = (USED + LEFT).to_string();
        let (id, key) = gateway.key("acme", quota, &[&format!("--{quota}"), &cap]).await;
        let mut first = Kept::new();
        for _ in 0..USED {
            assert_eq!(first.get(gateway.data, "/", &key).await.unwrap().status, 200);
        }
        let replies = each_once(&address, AT_ONCE, vec![key; CLIENTS]).join_all().await;
        let admitted = count(&replies, 200, "");
        let refused = count(&replies, 401, &format!("quota_{quota}"));
        assert_eq!((admitted, refused), (LEFT, CLIENTS - LEFT), "{quota}");
        let arrived =
            upstream.seen().iter().filter(|seen| seen.header("x-tollgate-key-id") == Some(&*id)).count();
        assert_eq!(arrived, USED + LEFT, "{quota}");
    }
}

/// 500 clients within a second or two, in the middle of which the gateway is ended by `end` and started again. What arrived at the
/// upstream, and the log.
async fn with_an_end_in_the_middle(end: impl AsyncFn(&mut Gateway)) -> (Upstream, Entries, usize) {
    let upstream = Upstream::start(|_| Answer::new(200).body("page").wait(Duration::from_millis(2)));
    let mut gateway = start(upstream.address, "", "wide").await;
    let (id, key) = gateway.key("acme", "k", &["--daily", &LEFT.to_string()]).await;
    let address = Arc::new(Mutex::new(gateway.data));

    let clients = each_once(&address, STAGGER, vec![key.clone(); CLIENTS]);
    wait_until("a part of the quota is used", SOON, async || upstream.count() >= LEFT / 4).await;
    end(&mut gateway).await;
    let before = upstream.count();
    assert!(before < LEFT, "the end came too late to be in the middle: {before}");
    gateway.start_again().await;
    *address.lock() = gateway.data;
    let replies = clients.join_all().await;
    let admitted = count(&replies, 200, "");
    assert_eq!(admitted + count(&replies, 401, "quota_daily"), CLIENTS, "{:?}", replies.first());

    // Whoever comes later finds nothing left.
    let late = Kept::new().get(gateway.data, "/", &key).await.unwrap();
    assert_eq!((late.status, late.code()), (401, "quota_daily".into()));
    let entries = Entries::of(&gateway).await;
    wait_until("every admission is in the record", SOON, async || {
        entries.number("SELECT count(*) FROM requests WHERE admitted").await >= LEFT as i64
    })
    .await;
    let shown = gateway.cli(&["key", "show", &id]).await;
    assert_eq!(shown["requests"], LEFT, "{shown}");
    assert_eq!(gateway.stop().await.code(), Some(0));
    (upstream, entries, admitted)
}

#[tokio::test]
async fn across_a_clean_restart_exactly_100_of_500_are_admitted() {
    let (upstream, entries, admitted) =
        with_an_end_in_the_middle(async |gateway| assert_eq!(gateway.stop().await.code(), Some(0))).await;
    assert_eq!((admitted, upstream.count()), (LEFT, LEFT));
    let logged = entries.all().await;
    let admitted = logged.iter().filter(|entry| entry.admitted).count();
    let crashed = logged.iter().filter(|entry| entry.code == "gateway_crashed").count();
    assert_eq!((admitted, crashed), (LEFT, 0));
}

#[tokio::test]
async fn across_a_kill_never_more_than_100_of_500_are_admitted_and_none_is_forgotten() {
    let (upstream, entries, answered) = with_an_end_in_the_middle(async |gateway| gateway.kill().await).await;
    let logged = entries.all().await;
    let admitted: Vec<_> = logged.iter().filter(|entry| entry.admitted).collect();
    // Admitted is what was answered, what died on the way, and what was admitted and never forwarded: in both
    // lives together the whole quota, to the last.
    assert_eq!(admitted.len(), LEFT);
    assert!((answered..=LEFT).contains(&upstream.count()), "{answered} of {}", upstream.count());
    for seen in upstream.seen() {
        let id = seen.header("x-request-id").unwrap();
        assert!(admitted.iter().any(|entry| entry.id == id), "{id} arrived and is not in the log");
    }
    let arrived = |id: &str| upstream.seen().iter().any(|seen| seen.header("x-request-id") == Some(id));
    for entry in admitted.iter().filter(|entry| !arrived(&entry.id)) {
        assert_eq!(entry.code, "gateway_crashed", "admitted, not a crash, and never arrived: {entry:?}");
    }
}
