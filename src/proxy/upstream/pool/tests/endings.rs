//! Connections that end: before, while and after a request is on them.

use super::*;

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
