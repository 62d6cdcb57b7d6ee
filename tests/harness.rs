//! The parts that integration tests are made of must themselves not lie: what the upstream says it saw is what
//! was sent, and what a client says it got is what was answered.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::json;
use support::{Answer, Gateway, SOON, Upstream, Wire, feed, get, post, raw, send, wait_until};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn an_upstream_remembers_every_byte() {
    let upstream = Upstream::start(|seen| Answer::new(200).json(&json!({ "path": seen.target() })));
    let sent = "POST /a?b=c HTTP/1.1\r\nhost: x\r\nX-Odd:  caf\u{e9} \r\nx-odd: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent: Vec<u8> = sent.chars().map(|c| c as u8).collect();
    let body = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n";
    let mut wire = Wire::connect(upstream.address).await;
    wire.send([&sent[..], body].concat()).await;
    assert_eq!(wire.answer().await.unwrap().1, b"{\"path\":\"/a?b=c\"}");
    wire.send("GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (head, content) = wire.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{head}");
    assert_eq!(content, b"{\"path\":\"/second\"}");
    assert_eq!(wire.rest(SOON).await, b"");

    let seen = upstream.seen();
    assert_eq!((seen.len(), upstream.connections()), (2, 1));
    let first = &seen[0];
    assert_eq!(first.head.chars().map(|c| c as u8).collect::<Vec<_>>(), sent);
    assert_eq!(
        (first.method(), first.target(), first.header("x-odd")),
        ("POST", "/a?b=c", Some("caf\u{e9}"))
    );
    assert_eq!(first.headers("X-ODD"), ["caf\u{e9}", "2"]);
    assert_eq!(first.header_names(), ["host", "X-Odd", "x-odd", "Transfer-Encoding"]);
    assert_eq!((first.body.as_slice(), first.raw_body.as_slice()), (&b"abcde"[..], &body[..]));
    assert_eq!((first.length, first.trailers.as_str(), first.complete), (5, "X-Trailer: t\r\n", true));
}

#[tokio::test]
async fn a_request_that_breaks_off_is_seen_and_not_complete() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let mut wire = Wire::connect(upstream.address).await;
    wire.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    wire.finish().await;
    assert_eq!(wire.rest(SOON).await, b"");
    let seen = upstream.seen();
    assert_eq!((seen.len(), seen[0].complete), (1, false));
}

#[tokio::test]
async fn clients_get_what_was_answered() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/chunks" => Answer::new(201).chunks(&["ab", "c"], "X-After: 1\r\n"),
        "/none" => Answer::new(204),
        "/close" => Answer::close(),
        "/cut" => Answer::new(200).header("content-length", "9").body("half").then_close(),
        "/zeros" => Answer::new(200).zeros(300_000),
        _ => Answer::new(418).header("x-method", seen.method()).body(seen.body.clone()),
    });
    let at = upstream.address;
    let echoed = post(at, "/", &[("x-a", "1")], "hello").await;
    assert_eq!(
        (echoed.status, echoed.header("x-method"), echoed.text()),
        (418, Some("POST"), "hello".into())
    );
    let head = send(at, "HEAD", "/zeros", &[], "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("300000"), 0));
    assert_eq!(get(at, "/chunks", &[]).await.text(), "abc");
    assert_eq!(get(at, "/none", &[]).await.status, 204);
    assert_eq!(get(at, "/zeros", &[]).await.body.len(), 300_000);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(raw(at, request("/close")).await, b"");
    assert!(raw(at, request("/cut")).await.ends_with(b"\r\n\r\nhalf"));
    let chunks = raw(at, request("/chunks")).await;
    assert!(chunks.ends_with(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-After: 1\r\n\r\n"));
}

#[tokio::test]
async fn an_answer_is_fed_piece_by_piece() {
    let (pieces, fed) = feed();
    let fed = Mutex::new(Some(fed));
    let upstream = Upstream::start(move |_| Answer::events(fed.lock().take().unwrap()));
    let mut wire = Wire::connect(upstream.address).await;
    wire.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(wire.head().await.unwrap().contains("text/event-stream"));
    for event in ["data: one\n\n", "data: two\n\n"] {
        pieces.send(event.into()).unwrap();
        assert_eq!(wire.until("\n\n\r\n").await, format!("b\r\n{event}\r\n").as_bytes());
    }
    drop(pieces);
    assert_eq!(wire.rest(SOON).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn an_upstream_that_answers_by_the_head_reads_no_body() {
    let upstream = Upstream::by_head(|_| Answer::new(413).body("no"));
    let sent = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n";
    let answer = raw(upstream.address, sent).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 ") && answer.ends_with(b"no"));
    assert!(!upstream.seen()[0].complete);
}

#[tokio::test]
async fn a_websocket_echoes() {
    let upstream = Upstream::start(|_| Answer::websocket());
    let stream = Wire::connect(upstream.address).await.into_stream();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{}/ws", upstream.address), stream).await.unwrap();
    for message in [Message::text("hi"), Message::binary(vec![0, 159, 146])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_gone_and_may_come_back() {
    let upstream = Upstream::start(|_| Answer::hang());
    let address = upstream.address;
    let mut wire = Wire::connect(address).await;
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    wait_until("the request arrives", SOON, async || upstream.count() == 1).await;
    drop(upstream);
    assert_eq!(wire.rest(SOON).await, b"");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let back = Upstream::at(address, |_| Answer::new(200).body("back"));
    assert_eq!(get(back.address, "/", &[]).await.text(), "back");
}

#[tokio::test]
#[should_panic(expected = "not within 50ms: pigs fly")]
async fn waiting_in_vain_says_for_what() {
    wait_until("pigs fly", Duration::from_millis(50), async || false).await;
}

#[tokio::test]
async fn a_gateway_is_killed_stopped_reloaded_and_started_again_in_one_directory() {
    let upstream = Upstream::start(|_| Answer::new(200).body("here"));
    let config = |header: &str| {
        let upstream = upstream.address;
        format!(
            "[keys]\nsources = [\"header:{header}\"]\n[[upstreams]]\nname = \"u\"\ntargets = [\"{upstream}\"]\n\
             [[routes]]\npath = \"/*\"\nupstream = \"u\"\n"
        )
    };
    let mut gateway = Gateway::start(&config("x-first")).await;
    gateway.cli(&["org", "create", "acme", "--plan", "enterprise"]).await;
    let made = gateway.cli(&["key", "create", "--org", "acme", "--name", "k"]).await;
    let key = made["key"].as_str().unwrap();
    assert_eq!(get(gateway.data, "/", &[("x-first", key)]).await.text(), "here");
    let pid = gateway.pid();
    gateway.kill().await;
    assert!(tokio::net::TcpStream::connect(gateway.data).await.is_err());
    gateway.start_again().await;
    assert_ne!(gateway.pid(), pid);
    assert_eq!(get(gateway.data, "/", &[("x-first", key)]).await.text(), "here");
    gateway.reload(&config("x-second"));
    wait_until("the reload is in force", SOON, async || {
        get(gateway.data, "/", &[("x-second", key)]).await.status == 200
    })
    .await;
    assert_eq!(gateway.stop().await.code(), Some(0), "{}", gateway.stderr());
    gateway.start_again().await;
    assert_eq!(get(gateway.data, "/", &[("x-second", key)]).await.text(), "here");
    let failed = gateway.run(&["key", "show", "00000000-0000-4000-8000-000000000000"], "").await;
    assert!(failed.code == Some(1) && failed.stdout.is_empty() && !failed.stderr.is_empty(), "{failed:?}");
}
