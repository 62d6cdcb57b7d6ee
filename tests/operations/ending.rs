//! Ending: readiness falls first, what is in flight finishes, and then it is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::support::{Answer, Entries, Gateway, Kept, SOON, Upstream, Wire, get, wait_until};
use super::{config, start};

/// How long it may take to end after the last request, by the contract; the machine may be busy building.
const EXIT: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);

/// An upstream that holds `/hold` until told to go on.
fn holding() -> (Upstream, Arc<Mutex<Vec<oneshot::Sender<()>>>>) {
    let held: Arc<Mutex<Vec<oneshot::Sender<()>>>> = Arc::default();
    let holding = Arc::clone(&held);
    let upstream = Upstream::start(move |seen| {
        if seen.target() != "/hold" {
            return Answer::new(200).body("page");
        }
        let (go_on, gate) = oneshot::channel();
        holding.lock().push(go_on);
        Answer::new(200).until(gate).body("held")
    });
    (upstream, held)
}

fn request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")
}

async fn hold(gateway: &Gateway, key: &str, held: &Mutex<Vec<oneshot::Sender<()>>>) -> Wire {
    let before = held.lock().len();
    let mut wire = Wire::connect(gateway.data).await;
    wire.send(request("/hold", key)).await;
    wait_until("it is held", SOON, async || held.lock().len() > before).await;
    wire
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_nothing_new_is_taken() {
    let (upstream, held) = holding();
    let (mut gateway, key) = start(&config(upstream.address, ""), &[]).await;
    let mut in_flight = hold(&gateway, &key, &held).await;
    // Connections that only keep the gateway: never used, used, and in the middle of a head.
    let unused = Wire::connect(gateway.data).await;
    let mut used = Wire::connect(gateway.data).await;
    used.send(request("/page", &key)).await;
    used.answer().await.unwrap();
    let mut begun = Wire::connect(gateway.data).await;
    begun.send("GET /page HTTP/1.1\r\nHo").await;
    let mut kept = Kept::new();
    kept.get(gateway.data, "/page", &key).await.unwrap();

    gateway.signal(Signal::TERM);
    wait_until("readiness falls", SOON, async || get(gateway.control, "/readyz", &[]).await.status == 503)
        .await;
    let unready = get(gateway.control, "/readyz", &[]).await.json();
    assert_eq!(unready, json!({ "ready": false, "failing": { "gateway": "stopping" } }));
    assert_eq!(get(gateway.control, "/healthz", &[]).await.status, 200);
    for wire in [unused, used] {
        assert_eq!(wire.rest(EXIT + SLACK).await, b"", "an idle connection is closed");
    }
    wait_until("no new connection is taken", SOON, async || TcpStream::connect(gateway.data).await.is_err())
        .await;
    // A head that was begun may be completed, and is answered or closed; either way soon.
    begun.send(format!("st: x\r\nX-API-Key: {key}\r\n\r\n")).await;
    drop(begun.rest(SOON).await);

    held.lock().drain(..).for_each(|go_on| go_on.send(()).unwrap());
    let (head, body) = in_flight.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    assert_eq!(body, b"held");
    let last = Instant::now();
    let status = gateway.ended(SOON).await;
    assert!(last.elapsed() < EXIT + SLACK, "it ended {:?} after the last request", last.elapsed());
    assert_eq!(status.code(), Some(0));
    let rows = Entries::of(&gateway).await.all().await;
    assert_eq!(rows.iter().filter(|row| row.path == "/hold" && row.status == 200).count(), 1);
    assert!(rows.iter().all(|row| row.code != "gateway_crashed"));
}

#[tokio::test]
async fn readiness_falls_before_the_port_closes() {
    const DELAY: Duration = Duration::from_millis(800);
    let (upstream, _held) = holding();
    let (mut gateway, key) = start(&config(upstream.address, "drain_delay = \"800ms\""), &[]).await;
    let told = Instant::now();
    gateway.signal(Signal::TERM);
    wait_until("readiness falls", SOON, async || get(gateway.control, "/readyz", &[]).await.status == 503)
        .await;
    assert!(told.elapsed() < DELAY, "the machine is too busy to tell: {:?}", told.elapsed());
    // Who has not looked yet still sends clients here.
    let reply = Kept::new().get(gateway.data, "/page", &key).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (200, &b"page"[..]));
    wait_until("no new connection is taken", SOON, async || TcpStream::connect(gateway.data).await.is_err())
        .await;
    assert!(told.elapsed() >= DELAY, "{:?}", told.elapsed());
    assert_eq!(gateway.ended(SOON).await.code(), Some(0));
    assert!(told.elapsed() < DELAY + EXIT + SLACK, "{:?}", told.elapsed());
}

#[tokio::test]
async fn with_nothing_in_flight_it_ends_at_once_whoever_is_connected() {
    let (upstream, _held) = holding();
    let (mut gateway, key) = start(&config(upstream.address, ""), &[]).await;
    let mut wires = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::connect(gateway.data).await;
        wire.send(request("/page", &key)).await;
        wire.answer().await.unwrap();
        wires.push(wire);
    }
    let mut watching = Kept::new();
    watching.get(gateway.control, "/metrics", "").await.unwrap();
    let told = Instant::now();
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert!(told.elapsed() < EXIT + SLACK, "{:?}", told.elapsed());
    assert_eq!(Entries::of(&gateway).await.all().await.len(), 50, "the log was shipped before the end");
}

#[tokio::test]
async fn told_twice_it_does_not_wait() {
    let (upstream, held) = holding();
    let (mut gateway, key) = start(&config(upstream.address, "drain_delay = \"1m\""), &[]).await;
    let in_flight = hold(&gateway, &key, &held).await;
    gateway.signal(Signal::TERM);
    wait_until("readiness falls", SOON, async || get(gateway.control, "/readyz", &[]).await.status == 503)
        .await;
    let told = Instant::now();
    gateway.signal(Signal::TERM);
    gateway.ended(SOON).await;
    assert!(told.elapsed() < EXIT + SLACK, "{:?}", told.elapsed());
    assert_eq!(in_flight.rest(SOON).await, b"");
    // Cut off, and written down.
    gateway.start_again().await;
    let rows = Entries::of(&gateway).await.at_least(1, SOON).await;
    assert_eq!((rows.len(), rows[0].admitted), (1, true), "{rows:?}");
}

#[tokio::test]
async fn whoever_does_not_finish_in_time_is_cut_off() {
    let (upstream, held) = holding();
    let (mut gateway, key) =
        start(&config(upstream.address, "drain_delay = \"0s\"\ndrain_timeout = \"700ms\""), &[]).await;
    let in_flight = hold(&gateway, &key, &held).await;
    let told = Instant::now();
    gateway.signal(Signal::TERM);
    let status = gateway.ended(SOON).await;
    let took = told.elapsed();
    assert!(
        (Duration::from_millis(700)..Duration::from_millis(700) + EXIT + SLACK).contains(&took),
        "{took:?}"
    );
    assert_eq!(status.code(), Some(0));
    assert_eq!(in_flight.rest(SOON).await, b"");
}
