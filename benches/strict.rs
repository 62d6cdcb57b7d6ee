//! What the strict filter costs a request: the rules alone, and the stream that hyper reads from.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use tollgate::proxy::strict::{Handle, HeadLimits, Limits, StrictIo, check};

/// A client library's request through a proxy or two: 443 bytes, 11 headers.
const HEAD: &[u8] = b"POST /api/v1/scrape?render=true&country=de HTTP/1.1\r\n\
Host: gateway.example.com\r\n\
User-Agent: python-requests/2.32.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept: application/json\r\n\
Connection: keep-alive\r\n\
X-API-Key: sk_live_0123456789abcdefghijABCDEFGHIJ01\r\n\
Content-Type: application/json\r\n\
X-Request-Start: t=1732160000.123\r\n\
Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
Cookie: session=abcdef\r\n\
Content-Length: 0\r\n\r\n";

const LIMITS: Limits = Limits {
    head: HeadLimits { head_bytes_max: 32 * 1024, headers_max: 100, target_bytes_max: 8 * 1024 },
    head_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    stall_timeout: Duration::from_secs(30),
};

/// A client that sends the same request whenever it is asked.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        buf.put_slice(HEAD);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One request as hyper and the service drive it: read, in service, written, flushed.
fn request(
    mut io: Pin<&mut (impl AsyncRead + AsyncWrite)>,
    buffer: &mut [u8],
    in_service: impl FnOnce(bool) -> bool,
    done: impl FnOnce(),
) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut buf = ReadBuf::new(buffer);
    assert!(io.as_mut().poll_read(&mut cx, &mut buf).is_ready());
    assert!(in_service(buf.filled().len() == HEAD.len()));
    assert!(io.as_mut().poll_write(&mut cx, b"HTTP/1.1 200 OK\r\n\r\n").is_ready());
    done();
    assert!(io.as_mut().poll_flush(&mut cx).is_ready());
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("strict");
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    group.bench_function("head", |bencher| {
        assert!(matches!(check(HEAD, &LIMITS.head), Ok(Some(head)) if head.bytes == HEAD.len()));
        bencher.iter(|| check(black_box(HEAD), &LIMITS.head));
    });
    let mut buffer = vec![0; 8192];
    group.bench_function("request/bare", |bencher| {
        let mut io = Box::pin(Endless);
        bencher.iter(|| request(io.as_mut(), &mut buffer, |whole| whole, || ()));
    });
    group.bench_function("request/filtered", |bencher| {
        let handle = Handle::new();
        let mut io = Box::pin(StrictIo::new(Endless, LIMITS, handle.clone()));
        let begin = |whole| {
            handle.in_flight(true);
            whole
        };
        bencher.iter(|| request(io.as_mut(), &mut buffer, begin, || handle.in_flight(false)));
    });
    group.finish();
}

criterion_group!(strict, benches);
criterion_main!(strict);
