//! Several gateways on one server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::support::{Answer, Gateway, Kept, Postgres, SOON, Upstream, wait_until};
use super::{Load, config, logged, number, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_start_at_once_on_an_empty_database_all_serve() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let server = Postgres::start();
    let configuration = config(&server, upstream.address, "");
    let gateways = join_all((0..4).map(|_| Gateway::start(&configuration))).await;
    gateways[0].cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateways[1].key("acme", "k", &[]).await;
    for gateway in &gateways {
        assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    }
    let load = Load::start(&gateways.iter().collect::<Vec<_>>(), &key);
    wait_until("answers come", SOON, async || load.count() > 400).await;
    let (received, _) = load.end().await;
    logged(&server, &received).await;
    assert_eq!(number(&server, "SELECT count(*) FROM spools").await, 4, "each has a spool of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_a_key_is_in_force_on_every_gateway_within_a_second() {
    const KEYS: usize = 12;
    let upstream = Upstream::start(|_| Answer::new(200));
    let server = Postgres::start();
    let (one, _, key) = start(&server, upstream.address, "").await;
    let two = Gateway::start(&config(&server, upstream.address, "")).await;
    let load = Load::start(&[&one, &two], &key);
    let mut slowest = Duration::ZERO;
    for number in 0..KEYS {
        let (id, secret) = one.key("acme", &format!("k{number}"), &[]).await;
        let mut clients = [Kept::new(), Kept::new()];
        for (client, gateway) in clients.iter_mut().zip([&one, &two]) {
            assert_eq!(client.get(gateway.data, "/", &secret).await.unwrap().status, 200);
        }
        let verb = if number % 2 == 0 { "revoke" } else { "disable" };
        // The commands of one gateway; the other hears of it from the record.
        one.cli(&["key", verb, &id]).await;
        let told = Instant::now();
        for (client, gateway) in clients.iter_mut().zip([&two, &one]) {
            wait_until("the key has ended", SOON, async || {
                Kept::get(client, gateway.data, "/", &secret).await.unwrap().status == 401
            })
            .await;
        }
        slowest = slowest.max(told.elapsed());
    }
    load.end().await;
    println!("{KEYS} keys, two gateways: in force everywhere {slowest:?} after the command at the latest");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_left_open_is_ended_by_itself_and_by_no_other() {
    // A long answer, over which the segment of its admission is shipped and deleted.
    let upstream = Upstream::start(|seen| {
        if seen.target() == "/long" { Answer::hang() } else { Answer::new(200).body("page") }
    });
    let server = Postgres::start();
    let (mut one, id, key) = start(&server, upstream.address, "segment_bytes = \"64KiB\"").await;
    let mut two = Gateway::start(&config(&server, upstream.address, "")).await;
    let (data, secret) = (one.data, key.clone());
    let long = tokio::spawn(async move { Kept::new().get(data, "/long", &secret).await });
    wait_until("the long request arrives", SOON, async || {
        upstream.seen().iter().any(|seen| seen.target() == "/long")
    })
    .await;
    let load = Load::start(&[&one], &key);
    wait_until("its admission is carried by the record", SOON, async || {
        number(&server, "SELECT count(*) FROM open_admissions").await == 1
    })
    .await;
    let (received, _) = load.end().await;
    logged(&server, &received).await;
    // Others, whose segment ended under them, end with their rows.
    wait_until("only the long request is open", SOON, async || {
        number(&server, "SELECT count(*) FROM open_admissions").await == 1
    })
    .await;
    two.restart().await;
    assert_eq!(number(&server, "SELECT count(*) FROM open_admissions").await, 1, "it may still end");
    one.kill().await;
    assert!(long.await.unwrap().is_err());
    two.restart().await;
    assert_eq!(number(&server, "SELECT count(*) FROM open_admissions").await, 1, "its gateway may come back");
    one.start_again().await;
    assert_eq!(number(&server, "SELECT count(*) FROM open_admissions").await, 0);
    let crashed = "SELECT count(*) FROM requests WHERE code = 'gateway_crashed'";
    assert_eq!(number(&server, crashed).await, 1);
    logged(&server, &received).await;
    assert_eq!(two.cli(&["key", "show", &id]).await["requests"], received.len() + 1);
}
