//! Several targets: shared out, dying, found out and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::Setup;
use crate::support::{Answer, SOON, Upstream, row_of, wait_until};

fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| Answer::new(200).body(name))
}

#[tokio::test]
async fn targets_get_their_shares() {
    let (one, two) = (named("one"), named("two"));
    let targets = format!(
        "{{ address = \"{}\", weight = 1 }}, {{ address = \"{}\", weight = 2 }}",
        one.address, two.address
    );
    let bed = Setup::default().start_at(&targets).await;
    let mut last = String::new();
    for _ in 0..30 {
        let answer = bed.get("/").await;
        assert_eq!(answer.status, 200);
        last = answer.header("x-request-id").unwrap().to_owned();
    }
    assert_eq!((one.count(), two.count()), (10, 20));
    let row = row_of(&bed.gateway, &last).await;
    let target = row["target"].as_str().unwrap();
    assert!([one.address, two.address].iter().any(|address| address.to_string() == target), "{row}");
}

/// Nobody listens: no byte is sent, and another target is asked, with the body.
#[tokio::test]
async fn a_target_that_is_gone_is_passed_over() {
    let (alive, gone) = (Upstream::start(|seen| Answer::new(200).body(seen.body.clone())), named("gone"));
    let bed = Setup::default().start(&[&gone, &alive]).await;
    for number in 0..4 {
        assert_eq!(bed.send("POST", "/", &[], &number.to_string()).await.status, 200);
    }
    // Its connections, which the gateway keeps, end with it.
    drop(gone);
    alive.forget();
    for number in 0..10 {
        let answer = bed.send("POST", "/", &[], &format!("body {number}")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("body {number}")));
        assert_eq!(bed.get("/").await.status, 200);
    }
    assert_eq!(alive.count(), 20);
}

#[tokio::test]
async fn without_retries_a_target_that_is_gone_is_an_error() {
    let (alive, gone) = (named("alive"), named("gone"));
    let bed = Setup { upstream: "retries = 0", ..Setup::default() }.start(&[&gone, &alive]).await;
    drop(gone);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(bed.get("/").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
}

/// A target that took a byte and broke off: nobody knows what it did, so nobody else is asked.
#[tokio::test]
async fn what_was_partly_sent_is_not_sent_again() {
    let breaks = Upstream::start(|_| Answer::close());
    let hangs_up = Upstream::by_head(|_| Answer::close());
    let alive = named("alive");
    let setup = Setup { upstream: "retries = 5", ..Setup::default() };
    let bed = setup.start(&[&breaks, &hangs_up, &alive]).await;
    let mut statuses = Vec::new();
    for number in 0..9 {
        let id = format!("request-{number}");
        statuses.push(bed.send("POST", &format!("/{id}"), &[], "do it once").await.status);
        let everywhere = [&breaks, &hangs_up, &alive]
            .iter()
            .flat_map(|upstream| upstream.seen())
            .filter(|seen| seen.target() == format!("/{id}"))
            .count();
        assert_eq!(everywhere, 1, "{id} was sent more than once");
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502, 502, 502, 502]);
}

#[tokio::test]
async fn a_target_that_fails_its_probe_gets_nothing_until_it_is_well() {
    let well = Arc::new(AtomicBool::new(true));
    let health = Arc::clone(&well);
    let sick = Upstream::start(move |seen| match seen.target() {
        "/healthz" if !health.load(Ordering::SeqCst) => Answer::new(500),
        _ => Answer::new(200).body("sick"),
    });
    let other = named("other");
    let probed = "health = { every = \"50ms\", path = \"/healthz\", rise = 2, fall = 2 }";
    let bed = Setup { upstream: probed, ..Setup::default() }.start(&[&sick, &other]).await;
    // Four in turn: both targets, or one.
    let told = async || {
        let mut names = Vec::new();
        for _ in 0..4 {
            let answer = bed.get("/").await;
            assert_eq!(answer.status, 200);
            names.push(answer.text());
        }
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(told().await, ["other", "sick"]);
    well.store(false, Ordering::SeqCst);
    wait_until("the sick one is out", SOON, async || told().await == ["other"]).await;
    let before = sick.seen().iter().filter(|seen| seen.target() == "/").count();
    for _ in 0..5 {
        assert_eq!(told().await, ["other"]);
    }
    assert_eq!(sick.seen().iter().filter(|seen| seen.target() == "/").count(), before);
    well.store(true, Ordering::SeqCst);
    wait_until("it is back", SOON, async || told().await == ["other", "sick"]).await;
    let probe = sick.seen().into_iter().find(|seen| seen.target() == "/healthz").unwrap();
    assert_eq!((probe.method(), probe.header("user-agent")), ("GET", Some("tollgate-probe")));
}
