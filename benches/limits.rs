//! What a limit costs: one claim and its settlement, admitted and refused, over few and many keys.
//!
//! `cargo bench --bench limits`. Keys are visited in an order the processor cannot guess, so that a million of
//! them are paid for in cache misses, as they would be in service. Before the timings it prints the growth of
//! resident memory per key.

use std::hint::black_box;
use std::io::{Write, stdout};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::domain::account::Claim;
use tollgate::domain::cost::Cost;
use tollgate::domain::id::{KeyId, OrgId};
use tollgate::domain::limit::{Caps, Quotas};
use tollgate::domain::time::Timestamp;
use tollgate::stores::counters::memory::MemoryCounters;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_SECONDS: u64 = 1_795_219_200;
const KEYS_PER_ORG: usize = 100;

/// Caps of every kind, far away.
const CAPS: Caps = Caps { per_second: Some(1 << 40), per_minute: Some(1 << 40), concurrency: Some(1 << 40) };
const QUOTAS: Quotas =
    Quotas { total: Some(1 << 40), daily: Some(1 << 40), weekly: Some(1 << 40), monthly: Some(1 << 40) };

fn claim(number: usize, quotas: Quotas) -> Claim<'static> {
    // As random as real ids.
    let id = Uuid::from_u128((number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
    let estimate = Cost { credits: 1, microcents: 1_000 };
    Claim { key: Some(KeyId(id)), caps: CAPS, quotas, key_limit: None, org_limit: None, estimate }
}

/// Organizations and keys, in an order that visits every key once in a round.
struct Population {
    organizations: Vec<OrgId>,
    keys: usize,
    at: usize,
}

impl Population {
    fn new(keys: usize, keys_per_org: usize) -> Self {
        let org = |number| OrgId::parse(&format!("organization-{number}")).expect("an id");
        Self { organizations: (0..keys.div_ceil(keys_per_org)).map(org).collect(), keys, at: 0 }
    }

    fn next(&mut self) -> (&OrgId, usize) {
        // A prime step through a number of keys that is a power of ten.
        self.at = (self.at + 7_368_787) % self.keys;
        (&self.organizations[self.at % self.organizations.len()], self.at)
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

/// Every key used `times`, `apart` seconds from one another.
fn filled(population: &mut Population, times: u64, apart: u64) -> (MemoryCounters, Timestamp) {
    let counters = MemoryCounters::new(10_000_000);
    for time in 0..times {
        let now = Timestamp::from_seconds(START_SECONDS + time * apart);
        for _ in 0..population.keys {
            let (org, number) = population.next();
            let (claimed, _) = counters.claim(org, &claim(number, QUOTAS), now).expect("room");
            counters.settle(org, &claimed, claimed.estimate);
        }
    }
    (counters, Timestamp::from_seconds(START_SECONDS + times * apart))
}

fn memory(_: &mut Criterion) {
    // Kept until the end: what an allocator has been given back would hide the next growth.
    let mut kept = Vec::new();
    for (what, keys, keys_per_org, times) in [
        ("used once, 100 keys per organization", 200_000, 100, 1),
        ("used once, 1 key per organization", 200_000, 1, 1),
        ("used in 8 cells, 100 keys per organization", 200_000, 100, 8),
        ("used in every cell of 31 days, 100 keys per organization", 5_000, 100, 31 * 288),
    ] {
        let mut population = Population::new(keys, keys_per_org);
        let before = resident_bytes();
        let (counters, _) = filled(&mut population, times, 300);
        let bytes = resident_bytes().saturating_sub(before) / keys;
        let _ = writeln!(stdout(), "memory: {bytes} B per key ({} {what})", counters.keys());
        kept.push(counters);
    }
}

fn claims(c: &mut Criterion) {
    for keys in [1_000, 1_000_000] {
        let mut population = Population::new(keys, KEYS_PER_ORG);
        let (counters, mut now) = filled(&mut population, 3, 300);
        c.bench_function(&format!("claim + settle, admitted, {keys} keys"), |b| {
            b.iter(|| {
                now = now.plus(std::time::Duration::from_micros(10));
                let (org, number) = population.next();
                let (claimed, standing) = counters.claim(org, &claim(number, QUOTAS), now).expect("room");
                black_box(standing);
                counters.settle(org, &claimed, claimed.estimate);
            });
        });
        let used_up = Quotas { monthly: Some(1), ..QUOTAS };
        c.bench_function(&format!("claim, refused by the month, {keys} keys"), |b| {
            b.iter(|| {
                now = now.plus(std::time::Duration::from_micros(10));
                let (org, number) = population.next();
                black_box(counters.claim(org, &claim(number, used_up), now)).expect_err("no room");
            });
        });
    }
    // The worst refusal: a cap lowered below a month of full cells, all of which are added up to say until when.
    let mut population = Population::new(1, 1);
    let (counters, now) = filled(&mut population, 31 * 288, 300);
    let lowered = Quotas { monthly: Some(1), ..QUOTAS };
    c.bench_function("claim, refused by a lowered cap over 288 cells", |b| {
        b.iter(|| {
            let (org, number) = population.next();
            black_box(counters.claim(org, &claim(number, lowered), now)).expect_err("no room");
        });
    });
}

fn sweeps(c: &mut Criterion) {
    let keys = 1_000_000;
    let (counters, now) = filled(&mut Population::new(keys, keys), 1, 300);
    let mut group = c.benchmark_group("sweep");
    group.sample_size(10);
    group.bench_function("1000000 keys of one organization", |b| b.iter(|| counters.sweep(now)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = memory, claims, sweeps
}
criterion_main!(benches);
