//! Answers over real sockets, cut everywhere and bent in every way, beside hyper's client as a second reader.

use std::convert::Infallible;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Empty};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

/// Whole answers, and their bodies.
const ANSWERS: &[(&str, &str)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", "hello"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
        "hello world",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n", "a"),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
        "no",
    ),
    ("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
    ("HTTP/1.0 200 OK\r\nX: y\r\n\r\nto the end", "to the end"),
];

/// What a reader made of an answer: `None` where it was none, or broke off.
#[derive(Debug, PartialEq)]
struct Understood {
    status: StatusCode,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Serves `pieces` to one connection, one after the other, then closes.
async fn connected(pieces: Vec<Vec<u8>>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut served, _) = listener.accept().await.unwrap();
    served.set_nodelay(true).unwrap();
    tokio::spawn(async move {
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            served.write_all(piece).await.unwrap();
        }
        served.shutdown().await.unwrap();
        // The request is read, or closing would be a reset.
        let _ = tokio::io::copy(&mut served, &mut tokio::io::sink()).await;
    });
    stream
}

async fn understood<B>(answer: Response<B>) -> Option<Understood>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = answer.into_parts();
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    // Told twice by hyper, once by us.
    headers.dedup();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().filter(|trailers| !trailers.is_empty()).cloned();
    Some(Understood { status: parts.status, headers, body: body.to_bytes(), trailers })
}

async fn ours(pieces: Vec<Vec<u8>>) -> Option<Understood> {
    let connection = Connection { stream: connected(pieces).await, read: BytesMut::new() };
    let mut request = Outbound::new(&Method::GET, "/", &HeaderMap::new(), |_| {}, None::<Empty<Bytes>>);
    let reply = ask(connection, None, "a", &mut request).await.ok()?;
    understood(reply.into_response()).await
}

async fn hypers(pieces: Vec<Vec<u8>>) -> Option<Understood> {
    let stream = hyper_util::rt::TokioIo::new(connected(pieces).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
    understood(sender.send_request(request).await.ok()?).await
}

fn on_a_runtime<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story)
}

#[test]
fn every_cut_of_every_answer_is_read_alike() {
    on_a_runtime(async {
        for (answer, body) in ANSWERS {
            let whole = ours(vec![answer.as_bytes().to_vec()]).await.unwrap();
            assert_eq!(whole.body, body, "{answer}");
            assert_eq!(Some(&whole), hypers(vec![answer.as_bytes().to_vec()]).await.as_ref(), "{answer}");
            for cut in 1..answer.len() {
                let (front, back) = answer.as_bytes().split_at(cut);
                let found = ours(vec![front.to_vec(), back.to_vec()]).await;
                assert_eq!(found.as_ref(), Some(&whole), "{answer:?} cut at {cut}");
            }
            let every = answer.bytes().map(|byte| vec![byte]).collect();
            assert_eq!(ours(every).await, Some(whole), "{answer:?} byte by byte");
        }
    });
}

/// An answer that was cut short is not taken for a whole one; one that ends with its connection cannot be told.
#[test]
fn no_front_of_an_answer_is_whole() {
    on_a_runtime(async {
        for (answer, _) in ANSWERS.iter().filter(|(answer, _)| !answer.ends_with("to the end")) {
            for cut in 0..answer.len() {
                assert_eq!(
                    ours(vec![answer.as_bytes()[..cut].to_vec()]).await,
                    None,
                    "{answer:?} until {cut}"
                );
            }
        }
    });
}

/// Pieces that mutations put into answers.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "0",
    "5",
    "f",
    "\0",
    "\x7f",
    "_",
    "-",
    "0\r\n\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content_Length: 3\r\n",
    "Transfer-Encoding: gzip\r\n",
    "chunked",
    "gzip, ",
    "Connection: close\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "\r\nX: ",
    "\r\n Y: z",
    "ffffffffffffffff",
    "5\r\nhello\r\n",
    ";a=\"b\"",
    "304",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// Whatever we take for an answer, hyper reads as the same: we only refuse more.
    #[test]
    fn hyper_reads_what_we_read(
        answer in prop::sample::select(ANSWERS),
        changes in prop::collection::vec(
            (0..4_u8, any::<prop::sample::Index>(), prop::sample::select(PIECES), 1..6_usize),
            0..4,
        ),
    ) {
        let mut bytes = answer.0.as_bytes().to_vec();
        for (kind, at, piece, some) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + some).min(bytes.len());
            match kind {
                0 => drop(bytes.splice(at..at, piece.bytes())),
                1 => drop(bytes.splice(at..end, piece.bytes())),
                2 => drop(bytes.drain(at..end)),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << some),
            }
        }
        let (ours, hypers) = on_a_runtime(async { (ours(vec![bytes.clone()]).await, hypers(vec![bytes.clone()]).await) });
        if ours.is_some() {
            prop_assert_eq!(ours, hypers, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

/// A body in pieces that never waits.
struct Pieces(Vec<Frame<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

/// Asks with this body: what is written, up to `end`, and what comes of it. A piece `name: value` is a trailer.
async fn asked(length: Option<usize>, pieces: &[&str], end: &str) -> (String, Result<StatusCode, SendError>) {
    use tokio::io::AsyncReadExt as _;
    let frame = |piece: &&str| match piece.split_once(": ") {
        None => Frame::data(Bytes::copy_from_slice(piece.as_bytes())),
        Some((name, value)) => Frame::trailers(HeaderMap::from_iter([(
            name.parse::<HeaderName>().unwrap(),
            value.parse::<HeaderValue>().unwrap(),
        )])),
    };
    let body = Pieces(pieces.iter().rev().map(frame).collect());
    let headers = length.map(|length| (CONTENT_LENGTH, length.into())).into_iter().collect();
    let mut request = Outbound::new(&Method::POST, "/a?b", &headers, |_| {}, Some(body));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut served, _) = listener.accept().await.unwrap();
    let connection = Connection { stream, read: BytesMut::new() };
    let asking = async { ask(connection, None, "a", &mut request).await.map(|reply| reply.status) };
    let serving = async {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) && served.read_buf(&mut text).await.unwrap() > 0 {}
        let _ = served.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        String::from_utf8(text).unwrap()
    };
    let (answer, text) = tokio::join!(asking, serving);
    (text, answer)
}

#[tokio::test]
async fn a_body_is_framed_anew() {
    let large = "x".repeat(300_000);
    let pieces = ["one", "", &*large, "two", "x-sum: 1"];
    let (text, answer) = asked(None, &pieces, "0\r\nx-sum: 1\r\n\r\n").await;
    assert_eq!(answer.unwrap(), 204);
    let head = "POST /a?b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = format!("3\r\none\r\n493E0\r\n{large}\r\n3\r\ntwo\r\n0\r\nx-sum: 1\r\n\r\n");
    assert!(text == format!("{head}{body}"), "{text:.300}");

    for pieces in [&["one", &*large][..], &[&*large, "one"], &["one", "two"]] {
        let body = pieces.concat();
        let (text, answer) = asked(Some(body.len()), pieces, &body).await;
        assert_eq!(answer.unwrap(), 204);
        let head = format!("POST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        assert!(text == format!("{head}{body}"), "{text:.300}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_never_a_request() {
    for (length, pieces) in [(4, &["one", "GET /"][..]), (9, &["one"]), (0, &["GET /"])] {
        let (text, answer) = asked(Some(length), pieces, "GET /").await;
        assert!(matches!(answer, Err(SendError::Sent(Broken::Body))), "{length}: {answer:?}");
        assert!(!text.ends_with("GET /"), "{text}");
    }
}
