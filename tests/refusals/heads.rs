//! Checks 1 and 2, which precede everything, and the route: on a gateway for each dialect, as a head that cannot be
//! read names no route.

use std::time::Duration;

use crate::escapes::unescape;
use crate::support::{Answer, Gateway, SOON, Upstream, Wire, send};
use crate::table::{DIALECTS, assert_refused, assert_refused_to_head, one_answer, parse};

const HEAD_BYTES_MAX: usize = 8192;
const TARGET_BYTES_MAX: usize = 1024;

async fn gateway(upstream: &Upstream, dialect: &str) -> Gateway {
    let address = upstream.address;
    let config = format!(
        r#"
        [data]
        head_timeout = "400ms"
        head_bytes_max = {HEAD_BYTES_MAX}
        target_bytes_max = {TARGET_BYTES_MAX}
        stall_timeout = "400ms"
        [[upstreams]]
        name = "any"
        targets = ["{address}"]
        health = {{ every = "0s" }}
        [[routes]]
        path = "/a/*"
        methods = ["GET", "HEAD", "POST"]
        upstream = "any"
        auth = "none"
        dialect = "{dialect}"
        "#
    );
    Gateway::start(&config).await
}

/// Requests that are refused as soon as they are read: the row, and the bytes in the escapes of the strict
/// filter's case files.
const REFUSED: &[(&str, &str)] = &[
    ("head_too_large", r"GET /a/ HTTP/1.1\nHost: a\nX: \*8200(y)\n\n"),
    ("head_too_large", r"GET /a/ HTTP/1.1\nHost: a\nX: \*8200(y)"),
    ("head_too_large", r"GET /a/ HTTP/1.1\nHost: a\n\*100(x: y\n)\n"),
    ("uri_too_long", r"GET /a/\*1024(b) HTTP/1.1\nHost: a\n\n"),
    ("uri_too_long", r"GET /a/?\*1024(b)"),
    // Framing that two readers could take in two ways.
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nContent-Length: 6\nTransfer-Encoding: chunked\n\n0\n\nG"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, identity\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nTransfer-Encoding: \x0bchunked\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nContent-Length: +1\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nTransfer_Encoding: chunked\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.1\nHost: a\nContent-Length : 1\n\n"),
    ("bad_request", r"POST /a/ HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n"),
    ("bad_request", r"GET /a/ HTTP/1.1\n\n"),
    ("bad_request", r"GET /a/ HTTP/1.1\nHost: a\nHost: b\n\n"),
    ("bad_request", r"GET /a/ HTTP/1.1\nHost: a\nX: y\n z\n\n"),
    ("bad_request", r"GET /a/ HTTP/1.1\lHost: a\l\l"),
    ("bad_request", r"GET /a/ HTTP/1.1\nHost: a\nX: \x00\n\n"),
    ("bad_request", r"GET /a/ HTTP/2.0\nHost: a\n\n"),
    ("bad_request", r"CONNECT a:80 HTTP/1.1\nHost: a:80\n\n"),
    ("bad_request", r"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    // What comes behind a refused head is never read as a request.
    ("bad_request", r"GET /a/ HTTP/1.1\nHost: a b\n\nGET /a/ok HTTP/1.1\nHost: a\n\n"),
    // Paths that two programs read in two ways.
    ("bad_request", r"GET /a/../b HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/%2e%2E/b HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/./b HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/b%2fc HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/b%5cc HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/b\\c HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/b%00 HTTP/1.1\nHost: a\n\n"),
    ("bad_request", r"GET /a/b%zz HTTP/1.1\nHost: a\n\n"),
    // A body whose framing breaks after the head was good, before the upstream has answered.
    ("bad_request", r"POST /a/b HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nx\n"),
    ("bad_request", r"POST /a/b HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n1\nab\n0\n\n"),
];

#[tokio::test]
async fn heads_are_refused_in_every_dialect() {
    let upstream = Upstream::start(|_| Answer::new(200).body("ok"));
    for dialect in DIALECTS {
        let gateway = gateway(&upstream, dialect).await;
        let at = gateway.data;
        for (label, escaped) in REFUSED {
            let answer = one_answer(at, unescape(escaped)).await;
            assert_refused(&answer, label, dialect, escaped);
            assert_eq!(answer.header("connection"), Some("close"), "{escaped}");
            if let Some(rest) = escaped.strip_prefix("GET ") {
                let head = format!("HEAD {rest}");
                assert_refused_to_head(&one_answer(at, unescape(&head)).await, label, dialect, &head);
            }
        }
        assert_refused(&send(at, "GET", "/b", &[], "").await, "no_route", dialect, "GET /b");
        assert_refused(&send(at, "DELETE", "/a/b", &[], "").await, "no_route", dialect, "DELETE /a/b");
        let head = "HEAD /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_refused_to_head(&one_answer(at, head).await, "no_route", dialect, head);
        timeouts(&gateway, dialect).await;
        assert_eq!(send(at, "GET", "/a/b", &[], "").await.text(), "ok", "and what is good passes");
    }
    let passed: Vec<_> = upstream.seen().into_iter().filter(|seen| seen.complete).collect();
    assert_eq!(passed.len(), DIALECTS.len(), "nothing refused was passed on whole: {passed:?}");
}

/// What takes too long, on the first request of a connection and on a later one.
async fn timeouts(gateway: &Gateway, dialect: &str) {
    let half = "GET /a/b HTTP/1.1\r\nHost: a\r\n";
    let (first, later, dripped, body) = tokio::join!(
        one_answer(gateway.data, half),
        async {
            let mut wire = Wire::connect(gateway.data).await;
            wire.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 404 "));
            wire.send(half).await;
            parse(&wire.rest(SOON).await)
        },
        drip(gateway),
        one_answer(gateway.data, "POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"),
    );
    assert_refused(&first, "head_timeout", dialect, "half a head");
    assert_refused(&later, "head_timeout", dialect, "half a head on a kept connection");
    assert_refused(&dripped, "head_timeout", dialect, "a head byte by byte");
    assert_refused(&body, "body_timeout", dialect, "half a body");
    for answer in [first, later, dripped, body] {
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

/// Sends a byte now and then: no silence is as long as the deadline, the whole head is longer.
async fn drip(gateway: &Gateway) -> crate::support::Response {
    let mut wire = Wire::connect(gateway.data).await;
    for byte in "GET /a/dripped HTTP/1.1\r\n".bytes() {
        drop(wire.try_send([byte]).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    parse(&wire.rest(SOON).await)
}

/// Every case of the strict filter that ends in a 400, over a real socket.
#[tokio::test]
async fn every_ambiguous_head_is_a_400_and_closed() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = gateway(&upstream, "native").await;
    let cases = include_str!("../../src/proxy/strict/tests/heads.txt").lines();
    let mut number = 0;
    for (head, _) in cases.filter_map(|line| line.split_once(" => 400 ")) {
        let answer = one_answer(gateway.data, unescape(head)).await;
        assert_refused(&answer, "bad_request", "native", head);
        number += 1;
    }
    assert!(number > 150, "{number}");
    assert_eq!(upstream.count(), 0);
}
