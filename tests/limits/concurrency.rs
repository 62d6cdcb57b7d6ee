//! Requests in flight: a slot is held exactly as long as its request, however that ends.

use std::time::Duration;

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

use super::start;
use super::support::{Answer, Gateway, Kept, SOON, Upstream, Wire, wait_until};

const CAP: usize = 3;

/// Requests that are held by the upstream until told to go on.
type Held = Arc<Mutex<Vec<oneshot::Sender<()>>>>;

fn upstream() -> (Upstream, Held) {
    let held = Held::default();
    let holding = Arc::clone(&held);
    let upstream = Upstream::start(move |seen| match seen.target() {
        "/hold" => {
            let (go_on, gate) = oneshot::channel();
            holding.lock().push(go_on);
            Answer::new(200).until(gate).body("held")
        }
        "/hang" => Answer::hang(),
        "/close" => Answer::close(),
        "/cut" => Answer::new(200).header("content-length", "9").body("half").then_close(),
        _ => Answer::new(200).body("page"),
    });
    (upstream, held)
}

fn request(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")
}

/// `CAP` requests are held, one more is refused; then all are let go.
async fn all_slots_are_there(gateway: &Gateway, held: &Held, key: &str, after: &str) {
    // The slot of a request that has just been answered is free before its last byte is handed on; that of one that
    // broke off is free when the gateway has noticed.
    let mut wires = Vec::new();
    for number in 1..=CAP {
        let mut wire = Wire::connect(gateway.data).await;
        wait_until(&format!("{after}: slot {number} is free"), Duration::from_secs(3), async || {
            let before = held.lock().len();
            wire.send(request("/hold", key)).await;
            tokio::select! {
                refused = wire.answer() => {
                    assert!(refused.unwrap().0.starts_with("HTTP/1.1 429 "));
                    false
                }
                () = wait_until("held", SOON, async || held.lock().len() > before) => true,
            }
        })
        .await;
        wires.push(wire);
    }
    let refused = Kept::new().get(gateway.data, "/", key).await.unwrap();
    assert_eq!((refused.status, &*refused.code()), (429, "concurrency_limited"), "{after}");
    assert_eq!(refused.header("x-concurrency-limit"), Some("3"));
    assert_eq!(refused.header("x-concurrency-current"), Some("3"));
    held.lock().drain(..).for_each(|go_on| go_on.send(()).unwrap());
    for wire in &mut wires {
        assert_eq!(wire.answer().await.unwrap().1, b"held");
    }
}

#[tokio::test]
async fn a_slot_is_released_however_its_request_ends() {
    let (upstream, held) = upstream();
    let gateway = start(upstream.address, &format!("[plans.narrow]\nconcurrency = {CAP}"), "narrow").await;
    let (_, key) = gateway.key("acme", "k", &[]).await;
    all_slots_are_there(&gateway, &held, &key, "at first").await;
    all_slots_are_there(&gateway, &held, &key, "whole answers").await;

    for (path, status) in [("/hang", 504), ("/close", 502), ("/page", 200)] {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CAP {
            let (key, data) = (key.clone(), gateway.data);
            clients.spawn(async move { Kept::new().get(data, path, &key).await.unwrap().status });
        }
        assert_eq!(clients.join_all().await, [status; CAP], "{path}");
        all_slots_are_there(&gateway, &held, &key, path).await;
    }
    for _ in 0..CAP {
        assert!(Kept::new().get(gateway.data, "/cut", &key).await.is_err(), "half an answer is none");
    }
    all_slots_are_there(&gateway, &held, &key, "an answer cut short").await;

    // A body over the limit, found on the way.
    for _ in 0..CAP {
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        let head =
            format!("POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut wire = Wire::connect(gateway.data).await;
        wire.send(format!("{head}{chunk}{chunk}{chunk}")).await;
        assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 413 "));
    }
    all_slots_are_there(&gateway, &held, &key, "a body over the limit").await;

    // Clients that hang up: while waiting for the answer, and in the middle of their own body.
    for _ in 0..CAP {
        let before = upstream.count();
        let mut wire = Wire::connect(gateway.data).await;
        wire.send(request("/hang", &key)).await;
        wait_until("it arrives", SOON, async || upstream.count() > before).await;
    }
    all_slots_are_there(&gateway, &held, &key, "clients that hung up").await;
    for _ in 0..CAP {
        let before = upstream.count();
        let mut wire = Wire::connect(gateway.data).await;
        wire.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 10\r\n\r\nhalf"
        ))
        .await;
        wait_until("it arrives", SOON, async || upstream.count() > before).await;
    }
    all_slots_are_there(&gateway, &held, &key, "bodies broken off").await;
}
