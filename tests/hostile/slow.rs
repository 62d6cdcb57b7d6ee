//! Slow clients: bounded in time, and nobody else waits for them.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::start;
use super::support::{Answer, Kept, SOON, Upstream, Wire, get, metrics, wait_until};

const QUICK: &str = "head_timeout = \"500ms\"\nidle_timeout = \"1s\"\nstall_timeout = \"1s\"";
/// How late anything may be on a machine that is busy building.
const SLACK: Duration = Duration::from_millis(1_500);
const DRIPPERS: usize = 200;

/// A head that never ends, byte by byte; what came back, and when.
async fn drip(mut wire: Wire) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a')) {
        if wire.try_send([*byte]).await.is_err() || began.elapsed() > Duration::from_millis(700) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let answer = wire.rest(SOON).await;
    (answer, began.elapsed())
}

#[tokio::test]
async fn heads_that_drip_in_are_ended_in_time_and_hurt_nobody() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(upstream.address, QUICK).await;
    let mut drippers = JoinSet::new();
    for number in 0..DRIPPERS {
        let (data, key) = (gateway.data, key.clone());
        drippers.spawn(async move {
            let mut wire = Wire::connect(data).await;
            if number % 2 == 1 {
                // The bound is the same for the second request of a connection.
                wire.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await;
                assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 200 "));
            }
            drip(wire).await
        });
    }
    let (mut kept, mut slowest) = (Kept::new(), Duration::ZERO);
    while drippers.len() > DRIPPERS / 10 {
        let began = Instant::now();
        assert_eq!(kept.get(gateway.data, "/other", &key).await.unwrap().status, 200);
        slowest = slowest.max(began.elapsed());
        while drippers.try_join_next().is_some_and(|ended| check(ended.unwrap())) {}
    }
    assert!(slowest < Duration::from_secs(1), "another client waited {slowest:?}");
    drippers.join_all().await.into_iter().for_each(|ended| assert!(check(ended)));
    assert!(upstream.seen().iter().all(|seen| seen.header("x-slow").is_none()));
}

fn check((answer, after): (Vec<u8>, Duration)) -> bool {
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("\"code\":\"head_timeout\""), "{text}");
    let most = Duration::from_millis(500) + SLACK;
    assert!((Duration::from_millis(500)..most).contains(&after), "after {after:?}");
    true
}

#[tokio::test]
async fn idle_connections_are_closed_without_a_word() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(upstream.address, QUICK).await;
    let mut waiting = JoinSet::new();
    for used in [false, true] {
        let (data, key) = (gateway.data, key.clone());
        waiting.spawn(async move {
            let mut wire = Wire::connect(data).await;
            if used {
                wire.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await;
                wire.answer().await.unwrap();
            }
            let began = Instant::now();
            assert_eq!(wire.rest(SOON).await, b"", "used: {used}");
            let after = began.elapsed();
            let (least, most) = (Duration::from_millis(950), Duration::from_millis(1_100) + SLACK);
            assert!((least..most).contains(&after), "used: {used}: after {after:?}");
        });
    }
    waiting.join_all().await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_408_and_one_that_drips_on_arrives() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.body.clone()));
    let (gateway, key) = start(upstream.address, QUICK).await;
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n");

    for framing in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut wire = Wire::connect(gateway.data).await;
        let began = Instant::now();
        wire.send(format!("{head}{framing}")).await;
        let (answer, body) = wire.answer().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(String::from_utf8(body).unwrap().contains("\"code\":\"body_timeout\""));
        assert!((Duration::from_secs(1)..Duration::from_secs(1) + SLACK).contains(&began.elapsed()));
    }
    assert!(upstream.seen().iter().all(|seen| !seen.complete));

    let mut wire = Wire::connect(gateway.data).await;
    wire.send(format!("{head}Content-Length: 15\r\n\r\n")).await;
    for byte in b"slow but steady" {
        wire.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(wire.answer().await.unwrap().1, b"slow but steady");
}

#[tokio::test]
async fn whoever_does_not_read_the_answer_is_let_go() {
    let upstream = Upstream::start(|_| Answer::new(200).zeros(256 << 20));
    let (gateway, key) = start(upstream.address, QUICK).await;
    let mut wire = Wire::connect(gateway.data).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await;
    let in_flight = async || metrics(gateway.control).await["tollgate_in_flight"];
    wait_until("the request is in flight", SOON, async || in_flight().await == 1.0).await;
    let began = Instant::now();
    wait_until("it is given up", SOON, async || in_flight().await == 0.0).await;
    assert!(began.elapsed() < Duration::from_secs(2) + SLACK, "after {:?}", began.elapsed());
    assert_eq!(get(gateway.control, "/healthz", &[]).await.status, 200);
}
