//! Deadlines, on a clock that only passes when nobody has anything to do.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::LIMITS;
use super::wire::{read_all, story};
use crate::proxy::strict::Violation;

const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

/// Whether `took` is `expected`, to the timer's millisecond.
fn about(took: Duration, expected: Duration) -> bool {
    took >= expected && took < expected + Duration::from_millis(20)
}

#[test]
fn a_silent_connection_is_closed_after_the_idle_time() {
    for sent in ["", "\r", "\r\n"] {
        story(4096, |mut client| async move {
            let start = Instant::now();
            client.write.write_all(sent.as_bytes()).await.unwrap();
            assert_eq!(read_all(&mut client.read).await, "");
            assert!(about(start.elapsed(), LIMITS.idle_timeout), "{:?}", start.elapsed());
            assert_eq!(client.server.await.unwrap(), None);
        });
    }
}

#[test]
fn the_idle_time_begins_anew_after_each_answer() {
    story(4096, |mut client| async move {
        for _ in 0..5 {
            sleep(LIMITS.idle_timeout - Duration::from_millis(5)).await;
            client.write.write_all(GOOD).await.unwrap();
            client.read_until("<GET /good>").await;
        }
        let start = Instant::now();
        assert_eq!(read_all(&mut client.read).await, "");
        assert!(about(start.elapsed(), LIMITS.idle_timeout), "{:?}", start.elapsed());
    });
}

#[test]
fn a_request_may_take_longer_than_the_idle_time() {
    story(4096, |mut client| async move {
        client.write.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.read_until("<GET /slow>").await;
        let start = Instant::now();
        assert_eq!(read_all(&mut client.read).await, "");
        assert!(about(start.elapsed(), LIMITS.idle_timeout), "{:?}", start.elapsed());
    });
}

/// Byte by byte, each well within any per-read timeout: the first request, then a later one on the connection.
#[test]
fn a_head_that_drips_is_refused_when_its_time_is_over() {
    story(4096, |mut client| async move {
        client.write.write_all(GOOD).await.unwrap();
        client.read_until("<GET /good>").await;
        sleep(Duration::from_secs(20)).await;
        let start = Instant::now();
        let drip = async {
            for byte in
                b"GET /good HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
            {
                if client.write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(300)).await;
            }
        };
        let refused = async {
            let mut first = [0; 12];
            client.read.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"HTTP/1.1 408");
            start.elapsed()
        };
        let ((), took) = tokio::join!(drip, refused);
        assert!(about(took, LIMITS.head_timeout), "{took:?}");
        assert_eq!(client.server.await.unwrap(), Some(Violation::HeadTimeout));
    });
}

#[test]
fn a_head_that_drips_in_time_is_served() {
    let (text, seen) = story(4096, |mut client| async move {
        for byte in GOOD {
            sleep(Duration::from_millis(250)).await;
            client.write.write_all(&[*byte]).await.unwrap();
        }
        (client.read_until("<GET /good>").await, client.seen.take())
    });
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_body_that_stands_still_fails_and_one_that_moves_does_not() {
    story(4096, |mut client| async move {
        let head = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        client.write.write_all(head).await.unwrap();
        for _ in 0..4 {
            sleep(LIMITS.stall_timeout - Duration::from_millis(5)).await;
            client.write.write_all(b"x").await.unwrap();
        }
        let start = Instant::now();
        let text = client.read_until("<POST /up>").await;
        assert!(text.starts_with("HTTP/1.1 408"), "{text}");
        assert!(about(start.elapsed(), LIMITS.stall_timeout), "{:?}", start.elapsed());
    });
}

#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    story(64, |mut client| async move {
        client.write.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let start = Instant::now();
        assert_eq!(client.server.await.unwrap(), None);
        assert!(about(start.elapsed(), LIMITS.stall_timeout), "{:?}", start.elapsed());
    });
}
