//! What admission costs: every check of [`Gate::admit`] over a real keyring, counters and guard, with 1,000 and
//! with 1,000,000 keys that have all been used.
//!
//! `cargo bench --bench admit`. An admitted request is settled within its round, so that what it held is free
//! again. Keys are visited in an order the processor cannot guess, as clients send them; a request's own bytes
//! are warm, as those of a request just read are.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use tollgate::config::{Config, load};
use tollgate::domain::id::ProjectId;
use tollgate::domain::limit::Quotas;
use tollgate::domain::secret::Digest;
use tollgate::domain::time::Timestamp;
use tollgate::pipeline::admit::Gate;
use tollgate::pipeline::facts::Facts;
use tollgate::pipeline::guard::Guard;
use tollgate::stores::counters::Counters;
use tollgate::stores::counters::memory::MemoryCounters;
use tollgate::stores::jobs::Jobs;
use tollgate::stores::keyring::Keyring;
use tollgate::stores::record::{JobRecord, RecordError};

use support::{Endless, secret};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
/// Quotas of every kind, far away.
const FAR: Quotas =
    Quotas { total: Some(1 << 40), daily: Some(1 << 40), weekly: Some(1 << 40), monthly: Some(1 << 40) };
/// Credentials at hand, spread over all keys.
const CREDENTIALS: u64 = 100_000;
/// Requests whose heads are written, unmeasured, before they are measured together.
const BATCH: usize = 16;

const SETTINGS: &str = r#"
keys.cache_max = 2000000
keys.cache_absent_for = "1h"
counters.keys_max = 2000000
# Guesses are counted, and never enough of them to be shut out.
ip_guard.failures = 1000000
[plans.wide]
per_second = 1000000000
per_minute = 1000000000
concurrency = 1000000
[plans.narrow]
per_second = 1
[[routes]]
path = "/api/v1/*"
upstream = "scraper"
methods = ["POST"]
[[routes]]
path = "/*"
upstream = "scraper"
"#;

/// A gate, and requests that come to it.
struct World {
    config: Config,
    gate: Gate,
    credentials: Vec<HeaderValue>,
    heads: [HeaderMap; BATCH],
    at: usize,
    now: Timestamp,
    /// Between two requests.
    step: Duration,
}

/// No route of this bench names a job.
struct Jobless;

#[async_trait::async_trait]
impl JobRecord for Jobless {
    async fn job_owner(&self, _: &str) -> Result<Option<ProjectId>, RecordError> {
        Ok(None)
    }
}

impl World {
    fn new(record: Endless) -> Self {
        let config = load::load_text(Some(("bench", SETTINGS)), &HashMap::new(), &[]).unwrap();
        let gate = Gate {
            keyring: Arc::new(Keyring::new(Arc::new(record), &config.keys)),
            counters: Arc::new(Counters::Memory(MemoryCounters::new(config.counters.keys_max))),
            guard: Guard::new(&config.ip_guard),
            jobs: Jobs::new(Arc::new(Jobless), config.systems.jobs_max),
        };
        let mut head = HeaderMap::new();
        for (name, value) in
            [("host", "a.example"), ("user-agent", "bench"), ("accept", "*/*"), ("accept-encoding", "gzip")]
        {
            head.insert(name, HeaderValue::from_static(value));
        }
        let heads = std::array::from_fn(|_| head.clone());
        Self { config, gate, credentials: Vec::new(), heads, at: 0, now: START, step: Duration::ZERO }
    }

    /// Every one of `credentials` sent once; some are kept to be sent again.
    fn used_once(mut self, count: u64, credentials: impl Iterator<Item = String>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let every = count.div_ceil(CREDENTIALS);
        for (n, text) in (0..count).zip(credentials) {
            let credential = HeaderValue::try_from(text).unwrap();
            self.heads[0].insert("x-api-key", credential.clone());
            runtime.block_on(self.request(&self.heads[0]));
            if n % every == 0 {
                self.credentials.push(credential);
            }
        }
        self
    }

    /// One request from its facts to its end; the refusal's code or `admitted`.
    async fn request(&self, headers: &HeaderMap) -> &'static str {
        let query = Some("url=https%3A%2F%2Fa.example&render=true");
        let facts = Facts { method: &Method::GET, path: "/api/v1/scrape", query, headers, peer: PEER };
        match self.gate.admit(&self.config, &facts, self.now).await {
            Ok(mut permit) => {
                let hold = permit.claim.take().unwrap();
                let estimate = hold.claimed().estimate;
                hold.settle(estimate);
                black_box(permit);
                "admitted"
            }
            Err(refused) => black_box(refused).refusal.code(),
        }
    }

    /// Measures requests that must all end as `code` says.
    fn measure(&mut self, b: &mut Bencher<'_>, code: &str) {
        let mut context = Context::from_waker(Waker::noop());
        b.iter_custom(|requests| {
            let (mut left, mut spent) = (requests, Duration::ZERO);
            while left > 0 {
                let batch = BATCH.min(left as usize);
                for head in &mut self.heads[..batch] {
                    // A prime step through a number of credentials that is a power of ten.
                    self.at = (self.at + 7_368_787) % self.credentials.len();
                    // Copied, not shared: its bytes are to be as warm as those just read from a socket.
                    let text = self.credentials[self.at].as_bytes();
                    head.insert("x-api-key", HeaderValue::from_bytes(text).unwrap());
                }
                let began = Instant::now();
                for n in 0..batch {
                    self.now = self.now.plus(self.step);
                    let ended = pin!(self.request(black_box(&self.heads[n]))).poll(&mut context);
                    assert_eq!(ended, Poll::Ready(code), "nothing here is waited for");
                }
                spent += began.elapsed();
                left -= batch as u64;
            }
            spent
        });
    }
}

/// The secrets of keys, or well-formed ones that belong to nobody.
fn secrets(known: bool) -> impl Iterator<Item = String> {
    (0..).map(secret).filter(move |secret| support::is_known(secret) == known)
}

fn admission(c: &mut Criterion) {
    for keys in [1_000, 1_000_000] {
        let mut world = World::new(Endless { plan: "wide", quotas: FAR, organizations: 10_000 })
            .used_once(keys, secrets(true));
        world.step = Duration::from_micros(10);
        c.bench_function(&format!("admit, {keys} keys: admitted and settled"), |b| {
            world.measure(b, "admitted");
        });

        // Slow enough that the guard's window holds fewer than would block.
        world.step = Duration::from_micros(100);
        world.credentials.clear();
        let mut world = world.used_once(1_000, secrets(false));
        // Two that share a place in the keyring's memory drive each other out.
        let World { credentials, gate, now, .. } = &mut world;
        credentials.retain(|text| gate.keyring.cached(&Digest::of(text.as_bytes()), *now).is_some());
        c.bench_function(&format!("admit, {keys} keys: unknown, and remembered as unknown"), |b| {
            world.measure(b, "invalid_api_key");
        });
        for credential in &mut world.credentials {
            let mut text = credential.to_str().unwrap().to_owned();
            let last = if text.pop() == Some('a') { 'b' } else { 'a' };
            text.push(last);
            *credential = HeaderValue::try_from(text).unwrap();
        }
        c.bench_function(&format!("admit, {keys} keys: malformed"), |b| world.measure(b, "invalid_api_key"));
        drop(world);

        let spent = Quotas { monthly: Some(1), ..FAR };
        let mut world = World::new(Endless { plan: "wide", quotas: spent, organizations: 10_000 })
            .used_once(keys, secrets(true));
        world.step = Duration::from_micros(10);
        c.bench_function(&format!("admit, {keys} keys: refused, quota used up"), |b| {
            world.measure(b, "quota_monthly");
        });
        drop(world);

        // Time stands still: the one request that the second holds was the first.
        let mut world = World::new(Endless { plan: "narrow", quotas: FAR, organizations: 10_000 })
            .used_once(keys, secrets(true));
        c.bench_function(&format!("admit, {keys} keys: refused, rate limited"), |b| {
            world.measure(b, "rate_limited_second");
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = admission
}
criterion_main!(benches);
