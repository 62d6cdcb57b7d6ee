//! What a key costs: time per lookup with 1,000 and with 1,000,000 keys in memory, and bytes per key.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "bytes per key are a result, too")]
#![allow(unsafe_code, reason = "an allocator that counts is one")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use tollgate::config::{self, Source};
use tollgate::domain::limit::Quotas;
use tollgate::domain::secret::{Digest, Secret};
use tollgate::domain::time::Timestamp;
use tollgate::pipeline::credentials::{find, strip};
use tollgate::pipeline::guard::Guard;
use tollgate::stores::keyring::Keyring;

use support::{Endless, key, unknown};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const QUOTAS: Quotas = Quotas { total: Some(1), daily: Some(1), weekly: Some(1), monthly: Some(1) };

/// Counts the bytes that are allocated.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings() -> config::Keys {
    config::Keys {
        prefix: "sk_live_".to_owned(),
        sources: vec![Source::Header("x-api-key".parse().unwrap()), Source::Bearer],
        cache_max: 2_000_000,
        cache_absent_max: 100_000,
        cache_absent_for: Duration::from_secs(3_600),
        follow_every: Duration::from_millis(200),
        index_for: Duration::ZERO,
        remember_for: Duration::ZERO,
        reveal_key: None,
    }
}

fn lookups(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for keys in [1_000, 1_000_000] {
        let record = Endless { plan: "free", quotas: QUOTAS, organizations: 1 };
        let keyring = Keyring::new(Arc::new(record), &settings());
        let before = BYTES.load(Ordering::Relaxed);
        runtime.block_on(async {
            for n in 0..keys {
                keyring.find(&key(n), NOW).await.unwrap();
            }
        });
        let bytes = (BYTES.load(Ordering::Relaxed) - before) as u64 / keys;
        println!("{keys} keys: {bytes} bytes per key");
        // Far apart in memory, by a stride that shares no factor with their number; the digests themselves one
        // after the other, as a request brings its own.
        let digests: Vec<Digest> = (0..keys).map(|n| key(n * 611_953 % keys)).collect();
        let mut any = digests.iter().cycle();
        c.bench_function(&format!("{keys} keys: any of them"), |b| {
            b.iter(|| any.next().map(|digest| black_box(keyring.cached(digest, NOW))));
        });
        let hot = key(7);
        c.bench_function(&format!("{keys} keys: the same one"), |b| {
            b.iter(|| black_box(keyring.cached(black_box(&hot), NOW)));
        });
        let nobody = unknown(7);
        runtime.block_on(keyring.find(&nobody, NOW)).unwrap();
        c.bench_function(&format!("{keys} keys: known to be unknown"), |b| {
            b.iter(|| black_box(keyring.cached(black_box(&nobody), NOW)));
        });
        let stranger = unknown(8);
        c.bench_function(&format!("{keys} keys: not known here"), |b| {
            b.iter(|| black_box(keyring.cached(black_box(&stranger), NOW)));
        });
        let mut n = keys;
        c.bench_function(&format!("{keys} keys: asked of the record"), |b| {
            b.iter_batched(
                || {
                    n += 1;
                    key(n)
                },
                |digest| runtime.block_on(keyring.find(&digest, NOW)).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
}

fn credentials(c: &mut Criterion) {
    let settings = settings();
    let secret = Secret::from_entropy("sk_live_", &std::array::from_fn(|n| n as u8)).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("host", "a.example"), ("accept", "*/*"), ("user-agent", "bench"), ("accept-encoding", "gzip")]
    {
        headers.insert(name, value.parse().unwrap());
    }
    let mut with_key = headers.clone();
    with_key.insert("x-api-key", secret.expose().parse().unwrap());
    c.bench_function("find a credential", |b| {
        b.iter(|| {
            black_box(find(black_box(&with_key), Some("url=https%3A%2F%2Fa.example"), &settings, false))
        });
    });
    c.bench_function("digest a key", |b| b.iter(|| Digest::of(black_box(secret.expose().as_bytes()))));
    let found = find(&with_key, None, &settings, false).unwrap();
    c.bench_function("strip a credential", |b| {
        b.iter_batched_ref(
            || with_key.clone(),
            |headers| black_box(strip(headers, Some("url=https%3A%2F%2Fa.example"), &settings, Some(&found))),
            BatchSize::SmallInput,
        );
    });
    let (one, other) = (Digest::of(b"one"), Digest::of(b"one"));
    c.bench_function("compare digests", |b| b.iter(|| black_box(&one) == black_box(&other)));
}

fn guard(c: &mut Criterion) {
    let rules = config::IpGuard {
        failures: 20,
        within: Duration::from_secs(60),
        block_for: Duration::from_secs(900),
        addresses_max: 100_000,
    };
    let guard = Guard::new(&rules);
    let client = "203.0.113.7".parse().unwrap();
    c.bench_function("guard: nobody blocked", |b| b.iter(|| black_box(guard.check(black_box(client), NOW))));
    (0..20).for_each(|_| guard.failed("203.0.113.8".parse().unwrap(), NOW));
    c.bench_function("guard: somebody blocked", |b| {
        b.iter(|| black_box(guard.check(black_box(client), NOW)));
    });
    let mut n = 0_u32;
    c.bench_function("guard: failures of many addresses", |b| {
        b.iter(|| {
            n = n.wrapping_add(0x9e37_79b9);
            guard.failed(std::net::Ipv4Addr::from(n).into(), NOW);
        });
    });
}

criterion_group!(benches, lookups, credentials, guard);
criterion_main!(benches);
