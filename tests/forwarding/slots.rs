//! How a request in flight ends, and that its slot is free then.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Setup};
use crate::support::{Answer, SOON, Upstream, Wire, feed, raw, row_of, rows, wait_until};

const ONE_SLOT: &str = "per_minute = 100000\nconcurrency = 1";

async fn one_slot(upstream: &Upstream, lines: &str) -> Bed {
    Setup { plan: Some(ONE_SLOT), upstream: lines, ..Setup::default() }.start(&[upstream]).await
}

/// The slot is free at once: the next request has it.
async fn assert_free(bed: &Bed) {
    let next = bed.get("/ok").await;
    assert_eq!((next.status, next.header("x-concurrency-current")), (200, Some("1")));
}

/// How the log says that a request ended.
async fn ended(bed: &Bed, id: &str) -> Value {
    let row = row_of(&bed.gateway, id).await;
    json!([row["status"], row["code"], row["outcome"], row["credits"], row["cost_source"]])
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_frees_the_slot() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/ok" => Answer::new(200),
        "/close" => Answer::close(),
        "/cut" => Answer::new(200).header("content-length", "9").body("half").then_close(),
        "/stall" => Answer::new(200).header("content-length", "9").body("half").then_hang(),
        _ => Answer::hang(),
    });
    let bed = one_slot(&upstream, "answer_timeout = \"200ms\"\nstall_timeout = \"200ms\"").await;
    let started = std::time::Instant::now();
    let late = bed.get("/hang").await;
    assert_eq!((late.status, late.json()["code"].as_str()), (504, Some("upstream_timeout")));
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_free(&bed).await;
    let id = late.header("x-request-id").unwrap();
    assert_eq!(ended(&bed, id).await, json!([504, "upstream_timeout", "upstream_error", 0, "free"]));

    let closed = bed.get("/close").await;
    assert_eq!(closed.status, 502);
    assert_free(&bed).await;

    // An answer that breaks off is one that the client can tell from a whole one.
    for path in ["/cut", "/stall"] {
        let answer =
            String::from_utf8(raw(bed.gateway.data, bed.head(&format!("GET {path}"), "")).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhalf"), "{path}: {answer}");
        assert_free(&bed).await;
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert_eq!(ended(&bed, id).await, json!([200, "", "upstream_error", 0, "free"]), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_slot() {
    let (_held, fed) = feed();
    let fed = parking_lot::Mutex::new(Some(fed));
    let upstream = Upstream::start(move |seen| match seen.target() {
        "/ok" => Answer::new(200),
        "/events" => Answer::events(fed.lock().take().unwrap()),
        "/large" => Answer::new(200).zeros(1 << 30),
        _ => Answer::hang(),
    });
    let bed = one_slot(&upstream, "").await;
    for (path, head_comes) in [("/hang", false), ("/events", true), ("/large", true)] {
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(bed.head(&format!("GET {path}"), "")).await;
        wait_until("it arrives", SOON, async || upstream.seen().iter().any(|seen| seen.target() == path))
            .await;
        if head_comes {
            assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(bed.get("/ok").await.status, 429, "{path}: the slot is taken");
        drop(wire);
        wait_until("the slot is free", SOON, async || bed.get("/ok").await.status == 200).await;
        assert_free(&bed).await;
        let mut found = Value::Null;
        wait_until("the log has it", SOON, async || {
            let row = rows(&bed.gateway).await.into_values().find(|row| row["path"] == path);
            found = row.unwrap_or_default();
            !found.is_null()
        })
        .await;
        let status = if head_comes { 200 } else { 0 };
        let told = json!([found["status"], found["outcome"], found["credits"], found["admitted"]]);
        assert_eq!(told, json!([status, "client_aborted", 0, 1]), "{path}");
    }
}

/// Whose body stops short, because it leaves or stands still, has aborted its request: the upstream did nothing wrong.
#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_to_blame() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let setup = Setup { plan: Some(ONE_SLOT), data: "stall_timeout = \"300ms\"", ..Setup::default() };
    let bed = setup.start(&[&upstream]).await;
    for (path, leaves) in [("/leaves", true), ("/stands", false)] {
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(bed.head(&format!("POST {path}"), "Content-Length: 10\r\n") + "half").await;
        if leaves {
            wait_until("it is admitted", SOON, async || bed.get("/ok").await.status == 429).await;
            drop(wire);
        }
        let mut row = Value::Null;
        wait_until("the log has it", SOON, async || {
            row = rows(&bed.gateway).await.into_values().find(|row| row["path"] == path).unwrap_or_default();
            !row.is_null()
        })
        .await;
        assert_eq!(
            json!([row["outcome"], row["credits"], row["bytes_in"]]),
            json!(["client_aborted", 0, 4]),
            "{row}"
        );
        assert_free(&bed).await;
    }
}

/// A client that stops in the middle of its body, and one that never takes its answer.
#[tokio::test]
async fn a_client_that_stands_still_frees_the_slot() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/large" => Answer::new(200).zeros(1 << 30),
        _ => Answer::new(200),
    });
    let setup = Setup { plan: Some(ONE_SLOT), data: "stall_timeout = \"300ms\"", ..Setup::default() };
    let bed = setup.start(&[&upstream]).await;
    let answer = raw(bed.gateway.data, bed.head("POST /", "Content-Length: 10\r\n") + "half").await;
    assert!(String::from_utf8_lossy(&answer).contains("body_timeout"));
    assert_free(&bed).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("GET /large", "")).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200 "));
    wait_until("the slot is free", SOON, async || bed.get("/ok").await.status == 200).await;
}
