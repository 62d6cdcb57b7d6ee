//! HTTP/1 itself: framing, old and careful clients, connections that serve more than one request.

use crate::bed::Setup;
use crate::support::{Answer, SOON, Upstream, Wire, raw, send};

#[tokio::test]
async fn bodies_and_trailers_pass_in_chunks() {
    let upstream = Upstream::start(|seen| {
        let answer = Answer::new(200).header("trailer", "X-After, X-RateLimit-Left, Content-Type");
        assert_eq!(seen.body, b"hello, world", "answered once the body is whole");
        answer.chunks(&["one ", "two"], "X-After: 1\r\nX-RateLimit-Left: theirs\r\nContent-Type: evil\r\n")
    });
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    let more = "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Tollgate-Plan, X-API-Key\r\n";
    wire.send(bed.head("POST /", more)).await;
    wire.send(b"7;ext=1\r\nhello, \r\n5\r\nwor").await;
    wire.send(b"ld\r\n0\r\nX-Sum: 12\r\nX-Tollgate-Plan: evil\r\nX-API-Key: k\r\n\r\n").await;
    let (head, content) = wire.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(content, b"one two");
    let seen = &upstream.seen()[0];
    assert_eq!(seen.headers("transfer-encoding"), ["chunked"]);
    assert_eq!((seen.header("content-length"), seen.header("te")), (None, Some("trailers")));
    assert_eq!(seen.trailers, "x-sum: 12\r\n", "and no identity or credential among them");
    assert!(!String::from_utf8_lossy(&seen.raw_body).contains("ext"), "re-serialised");

    // The trailers of the answer, byte for byte.
    let more = "TE: trailers\r\nConnection: close\r\nContent-Length: 12\r\n";
    let bytes = raw(bed.gateway.data, bed.head("POST /", more) + "hello, world").await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("0\r\nx-after: 1\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/204" => Answer::new(204),
        "/304" => Answer::new(304).header("etag", "\"a\""),
        "/empty" => Answer::new(200),
        "/length" => Answer::new(200).body("12345"),
        "/until-close" => Answer::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").then_close(),
        _ => Answer::new(404).body("none"),
    });
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    for (path, status, content) in
        [("/204", "204", ""), ("/304", "304", ""), ("/empty", "200", ""), ("/x", "404", "none")]
    {
        wire.send(bed.head(&format!("GET {path}"), "")).await;
        let (head, body) = wire.answer().await.unwrap();
        assert_eq!((head.split(' ').nth(1), &*body), (Some(status), content.as_bytes()), "{head}");
    }
    // Were there a body behind a HEAD's answer, the next answer would begin with it.
    for (path, length) in [("/length", Some("content-length: 5")), ("/empty", None), ("/204", None)] {
        wire.send(bed.head(&format!("HEAD {path}"), "")).await;
        let head = wire.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        assert!(length.is_none_or(|length| head.contains(length)), "{head}");
    }
    wire.send(bed.head("GET /until-close", "")).await;
    assert_eq!(wire.answer().await.unwrap().1, b"until the end");
    assert_eq!(upstream.seen()[4].method(), "HEAD");
}

#[tokio::test]
async fn an_http_1_0_client_is_answered_in_its_terms() {
    let upstream = Upstream::start(|_| Answer::new(200).chunks(&["one ", "two"], ""));
    let bed = Setup::default().start(&[&upstream]).await;
    let head = format!("GET /old HTTP/1.0\r\nX-API-Key: {}\r\n\r\n", bed.key);
    let text = String::from_utf8(raw(bed.gateway.data, head).await).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 ") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, "one two");
    let seen = &upstream.seen()[0];
    assert!(seen.head.starts_with("GET /old HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.headers("host"), [upstream.address.to_string()], "a host is named for it");
    assert_eq!(seen.header("x-forwarded-host"), None);
    let head =
        format!("GET / HTTP/1.0\r\nX-API-Key: {}\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", bed.key);
    assert_eq!(raw(bed.gateway.data, head).await.split(|byte| *byte == b' ').nth(1), Some(&b"200"[..]));
}

#[tokio::test]
async fn a_careful_client_is_told_to_go_on() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.body.clone()));
    let bed = Setup { route: "body_max = 10", ..Setup::default() }.start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("POST /", "Expect: 100-continue\r\nContent-Length: 5\r\n")).await;
    assert_eq!(wire.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("12345").await;
    assert_eq!(wire.answer().await.unwrap().1, b"12345");
    assert_eq!(upstream.seen()[0].header("expect"), None, "it was met here");
    // One that is refused is told at once, and never to go on.
    wire.send(bed.head("POST /", "Expect: 100-continue\r\nContent-Length: 11\r\n")).await;
    assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 413 "));
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 401 "));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn connections_are_used_again_and_requests_may_come_ahead() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(format!("{}:", seen.target())));
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    for number in 0..10 {
        wire.send(bed.head(&format!("GET /{number}"), "")).await;
        assert_eq!(wire.answer().await.unwrap().1, format!("/{number}:").as_bytes());
    }
    assert_eq!(upstream.connections(), 1, "ten requests, one after the other");

    // Three at once, one of them with a body, and one that is refused: answered in their order.
    let ahead = [
        bed.head("GET /a", ""),
        bed.head("POST /b", "Content-Length: 4\r\n") + "body",
        "GET /c HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        bed.head("GET /d", "Connection: close\r\n"),
        bed.head("GET /never", ""),
    ];
    wire.send(ahead.concat()).await;
    for (status, body) in [("200", "/a:"), ("200", "/b:"), ("401", ""), ("200", "/d:")] {
        let (head, content) = wire.answer().await.unwrap();
        assert_eq!(head.split(' ').nth(1), Some(status));
        assert!(body.is_empty() || content == body.as_bytes(), "{body}");
    }
    assert_eq!(wire.rest(SOON).await, b"", "closed as asked, and what came behind was not read");
    let targets: Vec<String> = upstream.seen()[10..].iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(targets, ["/a", "/b", "/d"]);
    assert_eq!(upstream.seen()[11].body, b"body");
}

/// What may stand in a target arrives as it was sent; an absolute one (RFC 9112 section 3.2.2) as its path.
#[tokio::test]
async fn targets_arrive_as_they_were_sent() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let bed = Setup { route: "encoded_slashes = true", ..Setup::default() }.start(&[&upstream]).await;
    for (sent, passed) in [
        ("/", "/"),
        ("//a//b/", "//a//b/"),
        ("/a%20b/%7Ec~/;p=1,2", "/a%20b/%7Ec~/;p=1,2"),
        ("/?", "/?"),
        ("/a?b=c?d&e=%zz&[f]={g}|h", "/a?b=c?d&e=%zz&[f]={g}|h"),
        ("/caf%C3%A9/a%2fb", "/caf%C3%A9/a%2fb"),
        ("http://x/a?b", "/a?b"),
        ("http://x", "/"),
    ] {
        upstream.forget();
        let answer = raw(bed.gateway.data, bed.head(&format!("GET {sent}"), "Connection: close\r\n")).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{sent}: {}", String::from_utf8_lossy(&answer));
        let seen = &upstream.seen()[0];
        assert_eq!((seen.target(), seen.headers("host")), (passed, vec!["x"]), "{sent}");
    }
    let options = send(bed.gateway.data, "OPTIONS", "*", &[("x-api-key", &bed.key)], "").await;
    assert_eq!((options.status, upstream.seen().last().unwrap().target()), (200, "*"));
    let odd = bed.send("PROPFIND", "/a", &[], "").await;
    assert_eq!((odd.status, upstream.seen().last().unwrap().method()), (200, "PROPFIND"));
}
