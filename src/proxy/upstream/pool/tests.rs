//! Over real sockets: what a connection goes through, and what becomes of its request.

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

/// Answers one request per connection and closes it when told to.
fn peer_closing_when_told() -> (Peer, mpsc::Sender<()>, mpsc::Receiver<usize>) {
    let (close, closing) = mpsc::channel();
    let (closed, seen_closed) = mpsc::channel();
    let shared = parking_lot::Mutex::new((closing, closed));
    let peer = Peer::start(move |mut stream, number| {
        read_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").unwrap();
        let (closing, closed) = &*shared.lock();
        closing.recv().unwrap();
        drop(stream);
        closed.send(number).unwrap();
    });
    (peer, close, seen_closed)
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the thread is to stand still, as one busy elsewhere does")]
async fn a_post_on_a_connection_closed_unseen_is_sent_on_a_new_one() {
    let (peer, close, closed) = peer_closing_when_told();
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
        // This thread does not run the event loop while the other side closes: nobody has told it.
        close.send(()).unwrap();
        closed.recv().unwrap();
        std::thread::sleep(LOOK_AFTER);
        assert_eq!(pool.idle(), 1);
        assert!(pool.shelves.0.borrow()[&peer.target.address()][0].is_good(Instant::now(), false));

        assert_eq!(fetch(&pool, &peer, request(&Method::POST, "once")).await.0, 200);
    })
    .await;
    assert_eq!(peer.connections(), 2);
    close.send(()).unwrap();
}

#[tokio::test]
async fn a_connection_seen_closed_is_passed_over() {
    let (peer, close, closed) = peer_closing_when_told();
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
        close.send(()).unwrap();
        closed.recv().unwrap();
        while pool.shelves.0.borrow()[&peer.target.address()][0].is_good(Instant::now(), false) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(fetch(&pool, &peer, get()).await.0, 200);
        assert_eq!(pool.idle(), 1);
    })
    .await;
    assert_eq!(peer.connections(), 2);
    close.send(()).unwrap();
}

#[tokio::test]
async fn a_post_that_was_partly_read_is_not_sent_again() {
    // The first connection serves one request, then takes half of the next and closes.
    let peer = Peer::start(|mut stream, _| {
        read_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        read_head(&mut stream).unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
    });
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
        let sent = send(&pool, &peer, request(&Method::POST, "once")).await;
        assert!(matches!(sent, Err(SendError::Sent(_))), "{sent:?}");
        assert_eq!(pool.idle(), 0);
    })
    .await;
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_refused_connection_gives_the_request_back() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    on_one_thread(async |pool| {
        let mut request = request(&Method::POST, "whole");
        let sent = pool.send(&Target::new(gone), &upstream(), &mut request, false).await;
        let Err(SendError::Unsent(cause)) = sent else { panic!("{sent:?}") };
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(request.into_body().unwrap().collect().await.unwrap().to_bytes(), "whole");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_does_not_accept_is_given_up() {
    // Linux drops further handshakes once the queue of a listener that accepts nothing is full.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _filling = TcpStream::connect(address).unwrap();
    on_one_thread(async |pool| {
        let slow = Upstream { connect_timeout: Duration::from_millis(50), ..upstream() };
        let sent = pool.send(&Target::new(address), &slow, &mut get(), false).await;
        let Err(SendError::Unsent(cause)) = sent else { panic!("{sent:?}") };
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_target_ends_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let peer = Peer::answering(answer);
        on_one_thread(async |pool| {
            assert_eq!(fetch(&pool, &peer, get()).await.1, "x");
            assert_eq!(pool.idle(), 0, "{answer}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_half_read_answer_takes_its_connection_with_it() {
    let (ended, has_ended) = mpsc::channel();
    let ended = parking_lot::Mutex::new(ended);
    let peer = Peer::start(move |mut stream, _| {
        read_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").unwrap();
        while stream.write_all(&[0; 1000]).is_ok() {}
        ended.lock().send(()).unwrap();
    });
    on_one_thread(async |pool| {
        let mut body = send(&pool, &peer, get()).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        let waited = tokio::task::spawn_blocking(move || has_ended.recv_timeout(10 * SECOND));
        waited.await.unwrap().expect("the target sees the connection end");
        assert_eq!(pool.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_answer_before_the_whole_request_ends_the_connection() {
    let peer = Peer::answering("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
    on_one_thread(async |pool| {
        let endless = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, io::Error>>());
        let request = outbound(&Method::POST, &[], Some(endless.boxed_unsync()));
        assert_eq!(fetch(&pool, &peer, request).await.0, 413);
        assert_eq!(pool.idle(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_fails_is_told_from_a_connection_that_fails() {
    let peer = Peer::start(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    on_one_thread(async |pool| {
        let failing = futures_util::stream::iter([
            Ok(Frame::data(Bytes::from_static(b"part"))),
            Err(io::Error::other("the client left")),
        ]);
        let request = outbound(&Method::POST, &[], Some(StreamBody::new(failing).boxed_unsync()));
        let sent = send(&pool, &peer, request).await;
        assert!(matches!(sent, Err(SendError::Sent(Broken::Body))), "{sent:?}");
    })
    .await;
}

#[tokio::test]
async fn an_answers_head_is_bounded() {
    let peer = Peer::start(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"x-more: and more\r\n").is_ok() {}
    });
    on_one_thread(async |pool| {
        let sent = send(&pool, &peer, get()).await;
        assert!(matches!(sent, Err(SendError::Sent(_))), "{sent:?}");
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_and_never_kept() {
    let peer = Peer::start(|mut stream, _| {
        let head = read_head(&mut stream).unwrap();
        if !head.contains("upgrade: websocket") {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            read_head(&mut stream);
            return;
        }
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi",
            )
            .unwrap();
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    });
    on_one_thread(async |pool| {
        fetch(&pool, &peer, get()).await;
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        let mut asking = outbound(&Method::GET, &upgrade, None);
        let reply = pool.send(&peer.target, &upstream(), &mut asking, true).await.unwrap();
        assert_eq!(reply.status, 101);
        let (mut tunnel, mut heard) = reply.body.into_tunnel().unwrap();
        assert_eq!(pool.idle(), 1, "only the one of the request before");

        while heard.len() < 2 {
            tunnel.read_buf(&mut heard).await.unwrap();
        }
        assert_eq!(heard, "hi");
        tunnel.write_all(b"ping").await.unwrap();
        let mut heard = Vec::new();
        tunnel.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"ping");
    })
    .await;
}
