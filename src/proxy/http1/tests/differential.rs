//! Whatever is served, hyper must read exactly as we did: the same requests, the same bodies, no more.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::LIMITS;
use super::wire::{Seen, story};
use crate::proxy::strict::chunked::Chunked;
use crate::proxy::strict::tests::escapes::unescape;
use crate::proxy::strict::{Framing, check, check_trailers};

/// The requests in `bytes` as our own rules read them, up to the first refusal. A body that is refused or not
/// complete is `None`.
fn believed(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Ok(Some(head)) = check(bytes, &LIMITS.head) {
        let (text, rest) = bytes.split_at(head.bytes);
        let line = String::from_utf8_lossy(text);
        let mut words = line.trim_start().split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let body = match head.framing {
            Framing::Empty => Some((Vec::new(), rest)),
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                rest.split_at_checked(length).map(|(body, rest)| (body.to_vec(), rest))
            }
            Framing::Chunked => unchunk(rest),
        };
        let Some((body, rest)) = body else {
            seen.push(Seen { method, target, body: None });
            break;
        };
        seen.push(Seen { method, target, body: Some(body) });
        if ends_connection(text) {
            break;
        }
        bytes = rest;
    }
    seen
}

/// Whether the client wants no further request on the connection (RFC 9112 section 9.3).
fn ends_connection(head: &[u8]) -> bool {
    let lines: Vec<&str> =
        head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let says = |word: &str| {
        let mut values = lines
            .iter()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| name.eq_ignore_ascii_case("connection").then_some(value));
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let is_1_0 = lines.iter().any(|line| line.ends_with(" HTTP/1.0\r"));
    says("close") || is_1_0 && !says("keep-alive")
}

/// Where our state machine lets a chunked body end, and what the plainest of decoders takes out of it.
fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut chunked = Chunked::new();
    let taken = chunked.advance(bytes).ok().filter(|_| chunked.is_at_trailers())?;
    let (mut chunks, rest) = bytes.split_at(taken);
    let trailers = check_trailers(rest, &LIMITS.head).ok()??;
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n")?;
        let size = chunks[..end].split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            return Some((body, &rest[trailers..]));
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

/// What is spelled a little differently by one of both in absolute form; only its meaning is compared.
fn same_target(one: &str, other: &str) -> bool {
    one == other || one.parse::<http::Uri>().is_ok_and(|uri| uri == *other)
}

fn alike(one: &Seen, other: &Seen) -> bool {
    one.method == other.method && same_target(&one.target, &other.target) && one.body == other.body
}

/// The connection serves what our rules read, however the stream is cut.
fn agree(bytes: &[u8], pieces: &[usize]) -> Result<(), TestCaseError> {
    let ours = believed(bytes);
    let pieces = pieces.to_vec();
    let sent = bytes.to_vec();
    let (text, served) = story(1 << 16, |mut client| async move {
        let mut from = 0;
        for at in pieces.into_iter().chain([sent.len()]) {
            let at = at.clamp(from, sent.len());
            if client.write.write_all(&sent[from..at]).await.is_err() {
                break;
            }
            from = at;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let (text, seen, _) = client.exchange(b"").await;
        (text, seen)
    });
    prop_assert!(
        ours.len() == served.len() && ours.iter().zip(&served).all(|(ours, served)| alike(ours, served)),
        "{:?}\nread:   {ours:?}\nserved: {served:?}\n{text}",
        String::from_utf8_lossy(bytes)
    );
    Ok(())
}

/// What hyper reads of the stream when nothing stands before it.
fn hypers(bytes: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(async |request: Request<Incoming>| {
        let (method, target) = (request.method().to_string(), request.uri().to_string());
        let body = request.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
        seen.borrow_mut().push(Seen { method, target, body });
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(far), service).await;
    });
    seen.take()
}

const REQUESTS: &[&str] = &[
    r"GET /a?b=c HTTP/1.1\nHost: a\n\n",
    r"\nGET / HTTP/1.1\nHost: a:80\nUser-Agent: curl/8\nAccept: */*\n\n",
    r"GET http://a/b HTTP/1.1\nHost: a\n\n",
    r"OPTIONS * HTTP/1.1\nHost: a\n\n",
    r"POST /l HTTP/1.1\nHost: a\nContent-Length: 11\n\nhello world",
    r"POST /l HTTP/1.1\nContent-Length: 4\nHost: a\n\n\n\n",
    r"PUT /c HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
    r"PUT /c HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n5;a=b\nhello\n00c;c\n world\n now\n0\nX: y\nZ: w\n\n",
    r"POST /e HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 2\n\nab",
    r"HEAD /h HTTP/1.1\nHost: [::1]:8080\nCookie: a=b; c=d\nConnection: keep-alive\n\n",
];

/// Pieces that mutations put into streams.
const PIECES: &[&str] = &[
    r"\n",
    r"\l",
    r"\r",
    r"\n\n",
    r"\s",
    r"\t",
    ":",
    ";",
    ",",
    "0",
    "5",
    "f",
    r"\x00",
    r"\x7f",
    r"\x0b",
    r"\xff",
    "_",
    "-",
    r"Host: b\n",
    r"Content-Length: 5\n",
    r"Content-Length: 0\n",
    r"Transfer-Encoding: chunked\n",
    r"Content_Length: 3\n",
    r"Transfer-Encoding: identity\n",
    "chunked",
    "gzip, ",
    r"Connection: close\n",
    r"Expect: 100-continue\n",
    "HTTP/1.0",
    r"HTTP/1.1",
    r"\nX: ",
    r"\n Y: z",
    r"0\n\n",
    r"5\nhello\n",
    r"GET /x HTTP/1.1\nHost: a\n\n",
    "#",
    "?",
    "//",
    "%0a",
    "@",
    "\"",
    "`",
    "<",
    "{",
    "[",
    "]",
    ";a=b",
    ";a=\"b\"",
    "ffffffffffffffff",
    "00000",
    r"Upgrade: h2c\n",
    r"Upgrade: websocket\n",
];

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let requests = prop::collection::vec(prop::sample::select(REQUESTS), 1..4);
    requests.prop_map(|requests| requests.iter().flat_map(|request| unescape(request)).collect())
}

/// One change: what, where (as a share of the length), and with which piece.
fn mutations() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, &'static str, usize)>> {
    prop::collection::vec(
        (0..7_u8, any::<prop::sample::Index>(), prop::sample::select(PIECES), 1..6_usize),
        1..4,
    )
}

fn mutate(bytes: &mut Vec<u8>, changes: &[(u8, prop::sample::Index, &str, usize)]) {
    for (kind, at, piece, some) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + some).min(bytes.len());
        match kind {
            0 | 1 => drop(bytes.splice(at..at, unescape(piece))),
            2 => drop(bytes.splice(at..end, unescape(piece))),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let version = bytes.windows(9).position(|word| word == b"HTTP/1.1\r");
                version.map(|at| bytes[at + 7] = b'0').unwrap_or_default();
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (some % 8);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_what_we_read(stream in streams(), changes in mutations()) {
        let mut stream = stream;
        mutate(&mut stream, &changes);
        agree(&stream, &[])?;
        let (ours, hypers) = (believed(&stream), hypers(&stream));
        // hyper forgives more, so it may go on where we end.
        let whole = ours.iter().filter(|request| request.body.is_some());
        prop_assert!(
            whole.clone().count() <= hypers.len() && whole.zip(&hypers).all(|(ours, hypers)| alike(ours, hypers)),
            "{:?}\nours:    {ours:?}\nhyper's: {hypers:?}",
            String::from_utf8_lossy(&stream)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_how_a_stream_is_cut(stream in streams(), cuts in prop::collection::vec(0..800_usize, 0..6)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert!(believed(&stream).iter().all(|request| request.body.is_some()));
        agree(&stream, &cuts)?;
    }
}

#[test]
fn every_single_cut_of_every_request_is_read_alike() {
    for first in REQUESTS {
        let stream = [unescape(first), unescape(REQUESTS[0])].concat();
        assert_eq!(believed(&stream).len(), 2);
        for cut in 0..=stream.len() {
            agree(&stream, &[cut]).unwrap();
        }
        let every: Vec<usize> = (0..stream.len()).collect();
        agree(&stream, &every).unwrap();
    }
}
