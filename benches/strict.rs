//! What a request's head costs: the strict rules, and reading it into a request.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use tollgate::proxy::strict::{HeadLimits, check, read};

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

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 32 * 1024, headers_max: 100, target_bytes_max: 8 * 1024 };

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("strict");
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    group.bench_function("check", |bencher| {
        assert!(matches!(check(HEAD, &LIMITS), Ok(Some(head)) if head.bytes == HEAD.len()));
        bencher.iter(|| check(black_box(HEAD), &LIMITS));
    });
    group.bench_function("read", |bencher| {
        assert_eq!(read(&Bytes::from_static(HEAD)).unwrap().headers().len(), 11);
        bencher.iter(|| read(&Bytes::copy_from_slice(black_box(HEAD))).unwrap());
    });
    group.finish();
}

criterion_group!(strict, benches);
criterion_main!(strict);
