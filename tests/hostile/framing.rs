//! Messages that two readers could take for different ones. A lenient reader would see a second request in each;
//! none ever reaches the upstream.

use tokio::task::JoinSet;

use super::start;
use super::support::{Answer, Kept, SOON, Upstream, Wire, raw};

/// What lines of a head, with what after it, must be refused. `{smuggled}` is a whole request.
const AMBIGUOUS: &[(&str, &str)] = &[
    // Both framings, in both orders, and either as others might read it.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n{smuggled}"),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked", "{smuggled}"),
    ("Content-Length: 5\r\nTransfer-Encoding: identity", "0\r\n\r\n{smuggled}"),
    // Transfer-Encoding that is not exactly `chunked`.
    ("Transfer-Encoding: identity", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: identity, chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunkedx", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: \"chunked\"", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked;q=1", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: ", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding:\u{b}chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chunked\u{0}", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding: chun\u{0}ked", "0\r\n\r\n{smuggled}"),
    // Names that some read as the real ones.
    ("Transfer-Encoding : chunked", "0\r\n\r\n{smuggled}"),
    (" Transfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer_Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer.Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding\u{0}: chunked", "0\r\n\r\n{smuggled}"),
    ("X: y\r\n Transfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("Transfer-Encoding:\r\n chunked", "0\r\n\r\n{smuggled}"),
    ("Content_Length: 5", "{smuggled}"),
    ("Content-Length : 5", "{smuggled}"),
    // Lengths.
    ("Content-Length: 5\r\nContent-Length: 6", "12345{smuggled}"),
    ("Content-Length: 5, 6", "12345{smuggled}"),
    ("Content-Length: +5", "12345{smuggled}"),
    ("Content-Length: -5", "12345{smuggled}"),
    ("Content-Length: 0x5", "12345{smuggled}"),
    ("Content-Length: 5 5", "12345{smuggled}"),
    ("Content-Length: 5;", "12345{smuggled}"),
    ("Content-Length: 1e1", "12345{smuggled}"),
    ("Content-Length: ", "12345{smuggled}"),
    ("Content-Length: \u{661}", "1{smuggled}"),
    ("Content-Length: 18446744073709551616", "12345{smuggled}"),
    ("Content-Length: 99999999999999999999999999", "12345{smuggled}"),
    // Lines.
    ("X: y\n", "{smuggled}"),
    ("X: y\r\n\tfolded", "{smuggled}"),
    ("X\u{0}: y", "{smuggled}"),
    ("X: a\u{0}b", "{smuggled}"),
    ("X: a\u{7}b", "{smuggled}"),
    ("X Y: z", "{smuggled}"),
    ("X(Y): z", "{smuggled}"),
    ("no colon", "{smuggled}"),
    (": no name", "{smuggled}"),
    // Host.
    ("Host: y", "{smuggled}"),
    ("Host: x", "{smuggled}"),
    ("Host_: y", "{smuggled}"),
];

/// What request lines must be refused, with a host behind them unless they bring one.
const REQUEST_LINES: &[&str] = &[
    "GET /a HTTP/1.1\r\nX: y",
    "GET  /a HTTP/1.1\r\nHost: x",
    "GET /a  HTTP/1.1\r\nHost: x",
    "GET\t/a HTTP/1.1\r\nHost: x",
    "GET /a HTTP/1.1 \r\nHost: x",
    "GET /a b HTTP/1.1\r\nHost: x",
    " GET /a HTTP/1.1\r\nHost: x",
    "GET /a HTTP/1.1\nHost: x",
    "GET /a HTTP/2.0\r\nHost: x",
    "GET /a HTTP/1.2\r\nHost: x",
    "GET /a HTTP/01.1\r\nHost: x",
    "GET /a http/1.1\r\nHost: x",
    "GET /a\r\nHost: x",
    "GET /a HTTP/0.9\r\nHost: x",
    "G@T /a HTTP/1.1\r\nHost: x",
    "GET a HTTP/1.1\r\nHost: x",
    "GET * HTTP/1.1\r\nHost: x",
    "GET /a#b HTTP/1.1\r\nHost: x",
    "GET /caf\u{e9} HTTP/1.1\r\nHost: x",
    "GET /a?\u{ff} HTTP/1.1\r\nHost: x",
    "GET /a\u{0} HTTP/1.1\r\nHost: x",
    "GET /a%00 HTTP/1.1\r\nHost: x",
    "GET /a%2fb HTTP/1.1\r\nHost: x",
    "GET /a%5cb HTTP/1.1\r\nHost: x",
    "GET /a/../b HTTP/1.1\r\nHost: x",
    "GET /a/%2e%2e/b HTTP/1.1\r\nHost: x",
    "GET /a/.%2E/b HTTP/1.1\r\nHost: x",
    "GET /a/./b HTTP/1.1\r\nHost: x",
    "GET /a% HTTP/1.1\r\nHost: x",
    "GET /a%zz HTTP/1.1\r\nHost: x",
    "GET http://other/a HTTP/1.1\r\nHost: x",
    "GET http://x@y/a HTTP/1.1\r\nHost: y",
    "CONNECT x:80 HTTP/1.1\r\nHost: x:80",
    "GET /a HTTP/1.1\r\nHost: x/y",
    "GET /a HTTP/1.1\r\nHost: a@b",
    "GET /a HTTP/1.1\r\nHost: x:99999",
    "GET /a HTTP/1.1\r\nHost: ",
    "GET /a HTTP/1.1\r\nHost: x, y",
    "GET /a HTTP/1.1\r\nHost: caf\u{e9}",
    "PRI * HTTP/2.0",
];

/// Chunked bodies that break off in ways that some repair.
const CHUNKS: &[&str] = &[
    "g\r\nx\r\n0\r\n\r\n{smuggled}",
    "+1\r\nx\r\n0\r\n\r\n{smuggled}",
    "-1\r\nx\r\n0\r\n\r\n{smuggled}",
    "0x1\r\nx\r\n0\r\n\r\n{smuggled}",
    " 1\r\nx\r\n0\r\n\r\n{smuggled}",
    "\r\nx\r\n0\r\n\r\n{smuggled}",
    "1\nx\r\n0\r\n\r\n{smuggled}",
    "1\rx\r\n0\r\n\r\n{smuggled}",
    "1\r\nx\n0\r\n\r\n{smuggled}",
    "1\r\nxy\r\n0\r\n\r\n{smuggled}",
    "2\r\nx\r\n0\r\n\r\n{smuggled}",
    "1;a\nb\r\nx\r\n0\r\n\r\n{smuggled}",
    "10000000000000000\r\nx\r\n0\r\n\r\n{smuggled}",
    "fffffffffffffffff\r\nx\r\n0\r\n\r\n{smuggled}",
    "0\r\nContent-Length: 5\r\n\r\n{smuggled}",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}",
    "0\r\nHost: y\r\n\r\n{smuggled}",
    "0\r\nX: y\n\r\n{smuggled}",
    "0\r\n X: y\r\n\r\n{smuggled}",
    "0\r\nno colon\r\n\r\n{smuggled}",
];

/// Every character one byte, as the corpus is written in Latin-1.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn corpus(key: &str) -> Vec<(bool, String)> {
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n");
    let fill = |text: &str| text.replace("{smuggled}", &smuggled);
    let mut corpus = Vec::new();
    for (lines, after) in AMBIGUOUS {
        let head = format!("POST /a HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{lines}\r\n\r\n");
        corpus.push((false, head + &fill(after)));
    }
    for line in REQUEST_LINES {
        corpus.push((false, format!("{line}\r\nX-API-Key: {key}\r\n\r\n{smuggled}")));
    }
    for chunks in CHUNKS {
        let head =
            format!("POST /a HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n");
        corpus.push((true, head + &fill(chunks)));
    }
    corpus
}

#[tokio::test]
async fn no_second_request_is_smuggled_past_the_gateway() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(upstream.address, "").await;
    let mut cases = JoinSet::new();
    for (begun, case) in corpus(&key) {
        for piecemeal in [false, true] {
            let (data, case) = (gateway.data, case.clone());
            cases.spawn(async move {
                let answer = if piecemeal {
                    let mut wire = Wire::connect(data).await;
                    for part in bytes(&case).chunks(7) {
                        if wire.try_send(part).await.is_err() {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    wire.rest(SOON).await
                } else {
                    raw(data, bytes(&case)).await
                };
                (begun, case, String::from_utf8_lossy(&answer).into_owned())
            });
        }
    }
    let mut whole = 0;
    for (begun, case, answer) in cases.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{case:?} was answered {answer:?}");
        assert!(answer.contains("\"code\":\"bad_request\""), "{case:?} was answered {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{case:?} was answered {answer:?}");
        whole += usize::from(!begun);
    }
    assert!(whole > 150, "{whole}");
    // Of a body whose chunks turn out to be broken the head has gone; it is never complete.
    for seen in upstream.seen() {
        assert!(seen.target() == "/a" && !seen.complete, "{seen:?}");
    }
    // Had there been a second request, it would have been let through.
    assert_eq!(Kept::new().get(gateway.data, "/smuggled", &key).await.unwrap().status, 200);
}

#[tokio::test]
async fn what_looks_like_a_request_inside_a_body_is_a_body() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.body.clone()));
    let (gateway, key) = start(upstream.address, "").await;
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n");
    let head = format!("Host: x\r\nX-API-Key: {key}\r\n");
    let (length, hex) = (inner.len(), format!("{:x}", inner.len()));
    let mut wire = Wire::connect(gateway.data).await;
    let requests = [
        format!("POST /1 HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{inner}"),
        format!("POST /2 HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{inner}\r\n0\r\n\r\n"),
        format!(
            "POST /3 HTTP/1.1\r\n{head}transfer-encoding: CHUNKED\r\n\r\n0{hex};ext=1\r\n{inner}\r\n000\r\n\r\n"
        ),
        format!("GET /4 HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{inner}"),
        format!(
            "DELETE /5 HTTP/1.1\r\n{head}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{inner}"
        ),
    ];
    // All in one go: the second is looked at when the first has been answered.
    wire.send(requests[..4].concat()).await;
    for number in 1..=4 {
        let (answer, body) = wire.answer().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{number}: {answer}");
        assert_eq!(String::from_utf8(body).unwrap(), inner, "{number}");
    }
    // The same length twice is one length or none (RFC 9112 section 6.3): either way not a second request.
    wire.send(&requests[4]).await;
    wire.answer().await.unwrap();
    let targets: Vec<_> = upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert!(targets.starts_with(&["/1".into(), "/2".into(), "/3".into(), "/4".into()]), "{targets:?}");
    assert!(!targets.contains(&"/smuggled".to_owned()));
    for seen in upstream.seen().iter().take(4) {
        let framings = seen.headers("content-length").len() + seen.headers("transfer-encoding").len();
        assert_eq!(framings, 1, "one framing goes on: {}", seen.head);
    }
}

#[tokio::test]
async fn an_upstream_that_says_more_than_it_was_asked_poisons_nobody() {
    let upstream = Upstream::start(|seen| {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Of: {}\r\n\r\nok", seen.target());
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Of: poison\r\n\r\npoison";
        Answer::raw(answer + poison)
    });
    let (gateway, key) = start(upstream.address, "").await;
    let mut kept = Kept::new();
    for number in 0..50 {
        let path = format!("/{number}");
        let reply = kept.get(gateway.data, &path, &key).await.unwrap();
        // Whatever the gateway makes of such an upstream, nobody is given an answer that is not his.
        assert!(reply.status == 502 || reply.header("x-of") == Some(&path), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_in_values_as_they_are() {
    let upstream = Upstream::start(|_| Answer::new(200).header("x-back", "caf\u{e9}"));
    let (gateway, key) = start(upstream.address, "").await;
    let request = format!(
        "GET /a?b HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nUser-Agent: \u{80}\u{ff}\u{c3}\u{28}\r\nX-High: caf\u{e9}\u{fe}\r\n\r\n"
    );
    let reply = Kept::new().ask(gateway.data, bytes(&request)).await.unwrap();
    assert_eq!(reply.status, 200);
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header("x-high"), Some("caf\u{e9}\u{fe}"));
    assert_eq!(seen.header("user-agent"), Some("\u{80}\u{ff}\u{c3}\u{28}"));
    // A key in bytes that are no text is none, and neither is an empty one: it was sent, so no other counts.
    for (value, code) in [("\u{ff}\u{fe}", "invalid_api_key"), ("", "invalid_api_key")] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {value}\r\n\r\n");
        let reply = Kept::new().ask(gateway.data, bytes(&request)).await.unwrap();
        assert_eq!((reply.status, &*reply.code()), (401, code), "{value:?}");
    }
}
