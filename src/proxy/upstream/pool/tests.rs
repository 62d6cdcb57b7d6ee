//! Over real sockets: what a connection goes through, and what becomes of its request.

mod endings;

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use crate::config::Health;
use crate::proxy::upstream::answer::AnswerBody;

use super::*;

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

const SECOND: Duration = Duration::from_secs(1);

/// A target that does as `script` says with each connection, which it numbers from 0.
struct Peer {
    target: Target,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    fn start(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::new(listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(stream.unwrap(), number));
            }
        });
        Self { target, connections }
    }

    /// Answers every request on every connection with `answer`.
    fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream, _| {
            while read_head(&mut stream).is_some() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A head up to its empty line; `None` where the other side has closed.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn upstream() -> Upstream {
    Upstream {
        name: "scraper".into(),
        targets: Vec::new(),
        credential: None,
        connect_timeout: SECOND,
        answer_timeout: SECOND,
        stall_timeout: SECOND,
        idle_max: 2,
        idle_timeout: 60 * SECOND,
        retries: 0,
        health: Health { every: Duration::ZERO, timeout: SECOND, path: None, rise: 1, fall: 1 },
    }
}

fn request(method: &Method, body: &'static str) -> Outbound<TestBody> {
    let body = (!body.is_empty()).then(|| Full::from(body).map_err(unfailing).boxed_unsync());
    outbound(method, &[], body)
}

fn outbound(
    method: &Method,
    headers: &[(&'static str, &'static str)],
    body: Option<TestBody>,
) -> Outbound<TestBody> {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    Outbound::new(method, "/page", &headers, |_| {}, body)
}

fn get() -> Outbound<TestBody> {
    request(&Method::GET, "")
}

fn unfailing(never: Infallible) -> io::Error {
    match never {}
}

/// Runs `story` as an I/O thread would.
async fn on_one_thread(story: impl AsyncFnOnce(Pool)) {
    LocalSet::new().run_until(async { story(Pool::new()).await }).await;
}

type Sent = Result<Response<AnswerBody<TestBody>>, SendError>;

async fn send(pool: &Pool, peer: &Peer, mut request: Outbound<TestBody>) -> Sent {
    pool.send(&peer.target, &upstream(), &mut request, false).await.map(Reply::into_response)
}

/// Sends and reads the answer whole.
async fn fetch(pool: &Pool, peer: &Peer, request: Outbound<TestBody>) -> (StatusCode, Bytes) {
    let response = send(pool, peer, request).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    for (method, answer, body) in [
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", ""),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", ""),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", ""),
        (Method::GET, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
    ] {
        let peer = Peer::answering(answer);
        on_one_thread(async |pool| {
            for _ in 0..20 {
                assert_eq!(fetch(&pool, &peer, request(&method, "")).await.1, body, "{answer}");
                assert_eq!(pool.idle(), 1, "{answer}");
            }
        })
        .await;
        assert_eq!(peer.connections(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_its_connection_is_used_again() {
    const BYTES: usize = 1 << 20;
    let peer = Peer::start(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n").unwrap();
            stream.write_all(&vec![b'x'; BYTES]).unwrap();
        }
    });
    on_one_thread(async |pool| {
        for _ in 0..3 {
            assert_eq!(fetch(&pool, &peer, get()).await.1.len(), BYTES);
        }
    })
    .await;
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn what_is_sent_is_http_1_1_with_a_host() {
    let (heads, seen) = mpsc::channel();
    let heads = parking_lot::Mutex::new(heads);
    let peer = Peer::start(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            heads.lock().send(head).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
    })
    .await;
    assert_eq!(seen.recv().unwrap(), format!("GET /page HTTP/1.1\r\nhost: {}\r\n\r\n", peer.target.text()));
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let peer = Peer::answering("HTTP/1.1 204 No Content\r\n\r\n");
    on_one_thread(async |pool| {
        let five = [(); 5].map(|()| send(&pool, &peer, get()));
        for answer in futures_util::future::join_all(five).await {
            assert_eq!(answer.unwrap().status(), 204);
        }
        assert_eq!(pool.idle(), upstream().idle_max);
        pool.clear();
        assert_eq!(pool.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_end_after_their_time() {
    let peer = Peer::answering("HTTP/1.1 204 No Content\r\n\r\n");
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
        pool.shelves.sweep(Instant::now() + 59 * SECOND);
        assert_eq!(pool.idle(), 1);
        pool.shelves.sweep(Instant::now() + 60 * SECOND);
        assert_eq!(pool.idle(), 0);
        assert!(pool.shelves.0.borrow().is_empty(), "a target without connections takes no room");

        fetch(&pool, &peer, get()).await;
        assert!(pool.shelves.take(peer.target.address(), Instant::now() + 60 * SECOND).is_none());
    })
    .await;
}
