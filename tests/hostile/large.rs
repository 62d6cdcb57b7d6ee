//! Bodies without end: passed on in constant memory, or refused at the limit.
//!
//! `TOLLGATE_LARGE_GIB` sets their size; the default is 10.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::start;
use super::support::{Answer, Gateway, Kept, SOON, Upstream, raw};

const MIB: u64 = 1 << 20;
/// How much more memory a body may take on its way, whatever its size.
const GROWTH_MAX: u64 = 32 * MIB;
/// Bytes written at a time.
const PIECE: usize = 1 << 20;

fn size() -> u64 {
    let gib: u64 = std::env::var("TOLLGATE_LARGE_GIB").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    gib * 1024 * MIB
}

/// The memory of its own that a process has now; files mapped are not its own.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Runs `transfer` and returns what it does, with the most that memory grew meanwhile.
async fn watched<T>(gateway: &Gateway, transfer: impl Future<Output = T>) -> (T, u64) {
    let before = memory(gateway);
    let mut most = before;
    let mut transfer = std::pin::pin!(transfer);
    loop {
        tokio::select! {
            done = &mut transfer => return (done, most.max(memory(gateway)) - before),
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(memory(gateway)),
        }
    }
}

async fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.data).await.unwrap()
}

async fn status_of(stream: &mut TcpStream) -> String {
    let mut head = vec![0; 12];
    tokio::time::timeout(SOON, stream.read_exact(&mut head)).await.unwrap().unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_huge_body_goes_upstream_in_constant_memory() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.length.to_string()));
    let (gateway, key) = start(upstream.address, "").await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let size = size();
    for chunked in [false, true] {
        let size = if chunked { size / 4 } else { size };
        let mut stream = connect(&gateway).await;
        let framing =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {size}") };
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{framing}\r\n\r\n");
        let began = Instant::now();
        let (status, grown) = watched(&gateway, async {
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut piece = vec![0; PIECE];
            if chunked {
                piece = [format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
            }
            for _ in 0..size / PIECE as u64 {
                stream.write_all(&piece).await.unwrap();
            }
            if chunked {
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
            status_of(&mut stream).await
        })
        .await;
        let rate = size as f64 / MIB as f64 / began.elapsed().as_secs_f64();
        println!(
            "{} MiB up, chunked: {chunked}: {rate:.0} MiB/s, {} KiB more memory",
            size / MIB,
            grown >> 10
        );
        assert_eq!(status, "HTTP/1.1 200");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.length, seen.complete), (size, true));
        assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
    }
}

#[tokio::test]
async fn a_huge_answer_goes_to_the_client_in_constant_memory() {
    let size = size();
    let upstream = Upstream::start(move |_| Answer::new(200).zeros(size));
    let (gateway, key) = start(upstream.address, "").await;
    let mut stream = connect(&gateway).await;
    let began = Instant::now();
    let (received, grown) = watched(&gateway, async {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut received, mut piece) = (0, vec![0; PIECE]);
        loop {
            match stream.read(&mut piece).await.unwrap() {
                0 => return received,
                some => received += some as u64,
            }
        }
    })
    .await;
    let rate = size as f64 / MIB as f64 / began.elapsed().as_secs_f64();
    println!("{} MiB down: {rate:.0} MiB/s, {} KiB more memory", size / MIB, grown >> 10);
    assert!((size..size + 4_096).contains(&received), "{received}");
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn a_huge_body_is_refused_at_the_limit() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let (gateway, key) = start(upstream.address, "").await;
    let head = format!("POST /limited/a HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n");
    // By what it says of itself, before anything is forwarded.
    let answer = raw(gateway.data, format!("{head}Content-Length: {}\r\n\r\n", size())).await;
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("\"code\":\"body_too_large\""), "{text}");
    assert_eq!(upstream.count(), 0);
    // And where it says nothing, on the way: the rest is not even read.
    let mut stream = connect(&gateway).await;
    let ((status, sent), grown) = watched(&gateway, async {
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
        let piece = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
        let mut sent = 0;
        while sent < size() && stream.write_all(&piece).await.is_ok() {
            sent += MIB;
        }
        (status_of(&mut stream).await, sent)
    })
    .await;
    assert_eq!(status, "HTTP/1.1 413");
    assert!(sent < 64 * MIB, "{sent} bytes were taken");
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
    // What was forwarded of it, if anything was by then, is no request.
    assert!(upstream.seen().iter().all(|seen| !seen.complete && seen.length <= MIB));
}
