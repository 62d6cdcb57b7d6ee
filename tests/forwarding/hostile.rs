//! Clients and upstreams that mean no good: nobody gets what was meant for somebody else.

use crate::bed::Setup;
use crate::support::{Answer, SOON, Upstream, Wire, raw, wait_until};

/// A refused request's body is not read as the next request, whatever it looks like.
#[tokio::test]
async fn a_refused_body_is_never_a_request() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let bed = Setup { route: "body_max = \"1MiB\"", ..Setup::default() }.start(&[&upstream]).await;
    let smuggled = bed.head("GET /smuggled", "");
    let length = smuggled.len();
    let chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
    let refused =
        |more: &str| format!("POST /refused HTTP/1.1\r\nHost: x\r\nX-API-Key: sk_live_x\r\n{more}\r\n");
    for bytes in [
        refused(&format!("Content-Length: {length}\r\n")) + &smuggled,
        refused("Transfer-Encoding: chunked\r\n") + &chunk,
        refused(&format!("Content-Length: {length}\r\nExpect: 100-continue\r\n")) + &smuggled,
        bed.head("POST /refused", "Content-Length: 2000000\r\n") + &smuggled,
        // Half of the body, and then another request: that is the other half.
        refused(&format!("Content-Length: {}\r\n", length + 4)) + "half" + &smuggled,
    ] {
        let all = bytes + &bed.head("GET /next", "Connection: close\r\n");
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(&all).await;
        let (head, _) = wire.answer().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 4"), "{head}");
        wire.finish().await;
        drop(wire.rest(SOON).await);
        assert!(upstream.seen().iter().all(|seen| seen.target() == "/next"), "{all}: {:?}", upstream.seen());
    }
}

/// Answers of an upstream that is broken or worse, and how they begin for the client.
const ANSWERS: &[(&[u8], &str)] = &[
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "502"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", "502"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab", "502"),
    (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 1\r\n\r\na", "502"),
    (b"HTTP/1.1 99 No\r\nContent-Length: 1\r\n\r\na", "502"),
    (b"HTTP/3.0 200 OK\r\n\r\n", "502"),
    (b"200 OK\r\n\r\n", "502"),
    (b"\x00\x01\x02", "502"),
    (b"", "502"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5", "502"),
    (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "200"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "200"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na", "502"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "502"),
    (b"HTTP/1.0 200 OK\r\n\r\nto the end", "200"),
    (b"HTTP/1.1 200 OK\r\nX-Odd: caf\xe9\r\nContent-Length: 1\r\n\r\na", "200"),
];

#[tokio::test]
async fn broken_answers_are_errors_or_whole() {
    let upstream = Upstream::start(|seen| match seen.target().strip_prefix("/broken/") {
        Some("huge") => Answer::new(200).header("x-huge", "x".repeat(300_000)),
        Some(number) => Answer::raw(ANSWERS[number.parse::<usize>().unwrap()].0).then_close(),
        None => Answer::new(200).body("fine"),
    });
    let bed = Setup::default().start(&[&upstream]).await;
    for (number, (answer, status)) in ANSWERS.iter().enumerate() {
        let shown = String::from_utf8_lossy(answer);
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(bed.head(&format!("GET /broken/{number}"), "")).await;
        let (head, content) = wire.answer().await.unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert_eq!(head.split(' ').nth(1), Some(*status), "{shown:?}: {head}");
        assert_eq!(head.contains("X-Odd") || head.contains("x-odd"), shown.contains("X-Odd"));
        if *status == "502" {
            assert!(String::from_utf8(content).unwrap().contains("upstream_unreachable"), "{shown:?}");
        }
        // What follows on the same connection is answered as ever. A kept connection that the upstream closes in
        // the very moment in which it is used again costs a 502, as a request that was sent is not sent again.
        wait_until(&format!("an answer after {shown:?}"), SOON, async || {
            wire.send(bed.head("GET /fine", "")).await;
            let (head, content) = wire.answer().await.unwrap();
            assert!(content == b"fine" || head.split(' ').nth(1) == Some("502"), "after {shown:?}: {head}");
            content == b"fine"
        })
        .await;
    }
    assert_eq!(bed.get("/broken/huge").await.status, 502);
}

/// Bytes behind an answer are nobody's answer: not the next client's on the same connection to the upstream.
#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let upstream = Upstream::start(move |seen| match seen.target() {
        "/length" => Answer::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{evil}")),
        "/chunks" => Answer::raw(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n{evil}"
        )),
        "/none" => Answer::raw(format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        "/head" => Answer::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n{evil}")),
        _ => Answer::new(200).body("mine"),
    });
    let bed = Setup::default().start(&[&upstream]).await;
    for round in 0..25 {
        for line in ["GET /length", "GET /chunks", "GET /none", "HEAD /head"] {
            let close = "Connection: close\r\n";
            let (first, next) = (bed.head(line, ""), bed.head("GET /mine", close));
            // The next comes at once, on the same connection and on another.
            let (both, other) =
                tokio::join!(raw(bed.gateway.data, first + &next), raw(bed.gateway.data, next.clone()));
            for answers in [both, other] {
                let text = String::from_utf8_lossy(&answers);
                assert!(!text.contains("evil"), "round {round}, {line}: {text}");
                let last = text.ends_with("mine") || text.contains("upstream_unreachable");
                assert!(last, "round {round}, {line}: {text}");
            }
        }
    }
}
