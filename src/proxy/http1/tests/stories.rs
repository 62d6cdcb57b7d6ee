//! What a client sees of a connection, request after request.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::LIMITS;
use super::wire::{Seen, read_all, story};
use crate::proxy::http1::wire::Wire;
use crate::proxy::http1::{Socket, refuse, serve};
use crate::proxy::server::Drain;
use crate::proxy::strict::Violation;

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
const BAD: &str = "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";

fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect()
}

#[test]
fn a_refusal_follows_the_answers_before_it() {
    let sent = [GOOD, GOOD, BAD, GOOD].concat();
    let (text, seen, end) = story(4096, |client| async move { client.exchange(sent.as_bytes()).await });
    assert_eq!(statuses(&text), ["200", "200", "400"], "{text}");
    assert!(text.ends_with("\r\n\r\nbad_request"), "{text}");
    assert_eq!(seen.len(), 2);
    assert_eq!(end, Some(Violation::BadRequest("more than one Host")));
}

#[test]
fn what_is_refused_at_once_is_answered_in_our_words_only() {
    for (sent, status, code) in [
        ("\x16\x03\x01\x02\x00\x01\x00", "400", "bad_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", "bad_request"),
        (&format!("GET /{} HTTP/1.1\r\n", "a".repeat(300)), "414", "uri_too_long"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(3000)), "431", "head_too_large"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX", "408", "head_timeout"),
    ] {
        let (text, seen, _) = story(64, |client| async move { client.exchange(sent.as_bytes()).await });
        assert_eq!(text, format!("HTTP/1.1 {status} refused\r\n\r\n{code}"));
        assert_eq!(seen, []);
    }
}

#[test]
fn a_broken_body_fails_in_the_service_which_answers_itself() {
    let sent = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    let (text, seen, end) =
        story(4096, |client| async move { client.exchange([sent, GOOD].concat().as_bytes()).await });
    assert_eq!(statuses(&text), ["400"], "{text}");
    assert!(text.ends_with("<POST /up>"));
    assert_eq!(seen, [Seen { method: "POST".into(), target: "/up".into(), body: None }]);
    assert_eq!(end, None);
}

#[test]
fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    story(64, |mut client| async move {
        let head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        let (_, text) = tokio::join!(
            async {
                client.write.write_all(head).await.unwrap();
                client.write.write_all(&[b'x'; 100_000]).await
            },
            read_all(&mut client.read),
        );
        assert!(text.ends_with("early"), "{text}");
        assert_eq!(client.server.await.unwrap(), None);
    });
}

#[test]
fn a_large_head_passes_in_pieces() {
    let many = "X: ".to_owned() + &"y".repeat(1900) + "\r\n\r\n";
    let sent = "GET /good HTTP/1.1\r\nHost: a\r\n".to_owned() + &many + GOOD;
    let (text, seen, _) = story(16, |client| async move { client.exchange(sent.as_bytes()).await });
    assert_eq!(statuses(&text), ["200", "200"], "{text}");
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on() {
    story(4096, |mut client| async move {
        let head = b"POST /up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.write.write_all(head).await.unwrap();
        assert_eq!(client.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write.write_all(b"ab").await.unwrap();
        client.read_until("<POST /up>").await;
        assert_eq!(client.seen.borrow()[0].body.as_deref(), Some(&b"ab"[..]));
    });
}

#[test]
fn a_tunnel_is_not_read_and_has_no_deadline() {
    story(4096, |mut client| async move {
        let head = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        // The first bytes of the other protocol come with the head, and are no HTTP.
        client.write.write_all(&[head, &b"\0ahead"[..]].concat()).await.unwrap();
        assert!(client.read_until("\r\n\r\n").await.contains("101 Switching Protocols"));
        assert_eq!(client.read_until("ahead").await, "\0ahead");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        client.write.write_all(b"HTTP/1.1\n\n").await.unwrap();
        assert_eq!(client.read_until("\n\n").await, "HTTP/1.1\n\n");
    });
}

#[test]
fn draining_ends_an_idle_connection_and_no_other() {
    story(4096, |mut client| async move {
        client.write.write_all(GOOD.as_bytes()).await.unwrap();
        client.read_until("<GET /good>").await;
        client.write.write_all(&GOOD.as_bytes()[..9]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.drain.send(Drain::Gracefully).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.write.write_all(&GOOD.as_bytes()[9..]).await.unwrap();
        let text = client.read_until("<GET /good>").await;
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        let start = Instant::now();
        assert_eq!(client.read.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(start.elapsed() < Duration::from_millis(10));
    });
    story(4096, |mut client| async move {
        client.write.write_all(GOOD.as_bytes()).await.unwrap();
        client.read_until("<GET /good>").await;
        let start = Instant::now();
        client.drain.send(Drain::Gracefully).unwrap();
        assert_eq!(client.read.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(start.elapsed() < Duration::from_millis(10));
    });
}

#[test]
fn a_client_that_is_gone_ends_the_connection_without_a_word() {
    for sent in ["", "\r\n", "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", GOOD] {
        let (seen, end) = story(4096, |client| async move {
            let super::wire::Client { mut write, read, server, seen, .. } = client;
            write.write_all(sent.as_bytes()).await.unwrap();
            drop((write, read));
            let end = server.await.unwrap();
            (seen.take(), end)
        });
        assert_eq!(end, None, "{sent}");
        assert!(seen.iter().all(|seen| seen.target == "/good" || seen.body.is_none()));
    }
}

/// Closing a socket with unread bytes resets it, and a reset overtakes what was written. The client here sends
/// more than it is heard before it reads.
#[test]
fn a_refusal_survives_what_the_client_goes_on_sending() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let server = async {
            let (_drain, draining) = tokio::sync::watch::channel(Drain::No);
            let service = async |_, _| http::Response::new(http_body_util::Empty::new());
            let ended = serve(Socket::Plain(socket), LIMITS, draining, service).await;
            refuse(ended.unwrap().socket, b"ours").await;
        };
        let client = async move {
            client.write_all(&[BAD.as_bytes(), &[b'x'; 100_000]].concat()).await.unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).await.map(|_| text)
        };
        tokio::join!(server, client).1
    });
    assert_eq!(text.unwrap(), "ours");
}

#[test]
fn a_connection_costs_little_memory() {
    assert!(size_of::<Wire>() <= 384, "{}", size_of::<Wire>());
}
