//! The counters under threads, at their bound, over a sweep and over a restart.

use std::sync::Barrier;
use std::thread;

use uuid::Uuid;

use super::*;
use crate::domain::limit::{Caps, Limit, Quotas};

fn org(number: usize) -> OrgId {
    OrgId::parse(&format!("org-{number}")).unwrap()
}

fn key(number: usize) -> KeyId {
    KeyId(Uuid::from_u128(number as u128))
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn claim(number: usize, caps: Caps, quotas: Quotas) -> Claim<'static> {
    Claim {
        key: Some(key(number)),
        caps,
        quotas,
        key_limit: None,
        org_limit: None,
        estimate: Cost::default(),
    }
}

fn uncapped(number: usize) -> Claim<'static> {
    claim(number, Caps::default(), Quotas::default())
}

/// Runs `work` on `threads` threads that start together, and adds up what they return.
fn together(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> u64 {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let run = |number| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(number)
            })
        };
        let handles: Vec<_> = (0..threads).map(run).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    })
}

#[test]
fn of_500_at_once_exactly_the_100_that_are_left_are_admitted() {
    let now = at("2026-11-21");
    for quotas in [
        Quotas { total: Some(250), ..Quotas::default() },
        Quotas { daily: Some(250), ..Quotas::default() },
        Quotas { weekly: Some(250), ..Quotas::default() },
        Quotas { monthly: Some(250), ..Quotas::default() },
    ] {
        let counters = MemoryCounters::new(10);
        let claim = claim(1, Caps::default(), quotas);
        for _ in 0..150 {
            let (claimed, _) = counters.claim(&org(1), &claim, now).unwrap();
            counters.settle(&org(1), &claimed, Cost::default());
        }
        let admitted = together(500, |_| u64::from(counters.claim(&org(1), &claim, now).is_ok()));
        assert_eq!(admitted, 100);
        assert_eq!(counters.standing(&org(1), &claim, now).in_flight, 100);
    }
}

#[test]
fn the_organizations_and_the_keys_limits_hold_together_under_64_threads() {
    let now = at("2026-11-21");
    let counters = MemoryCounters::new(100);
    let caps = Caps { per_minute: Some(1_000), per_second: None, concurrency: Some(20) };
    let quotas = Quotas { daily: Some(90), ..Quotas::default() };
    // 16 keys of 90 would be 1,440: the plan stops them at 1,000, and no key passes its 90 meanwhile.
    let counts: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
    let admitted = together(64, |thread| {
        let (number, mut admitted) = (thread % 16, 0);
        loop {
            match counters.claim(&org(1), &claim(number, caps, quotas), now) {
                Ok((claimed, standing)) => {
                    assert!(standing.in_flight <= 20);
                    admitted += 1;
                    counts[number].fetch_add(1, Ordering::Relaxed);
                    counters.settle(&org(1), &claimed, Cost::default());
                }
                Err(Unclaimed::Denied(denial)) if denial.limit == Limit::Concurrency => thread::yield_now(),
                Err(Unclaimed::Denied(denial)) => {
                    assert!(matches!(denial.limit, Limit::Minute | Limit::Daily));
                    return admitted;
                }
                Err(other) => panic!("16 keys of 100: {other:?}"),
            }
        }
    });
    assert_eq!(admitted, 1_000);
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) <= 90));
    assert_eq!(counters.standing(&org(1), &uncapped(0), now).in_flight, 0);
}

#[test]
fn one_key_too_many_is_refused_and_leaves_no_trace() {
    let now = at("2026-11-21");
    let counters = MemoryCounters::new(100);
    let admitted = together(64, |thread| {
        let admitted = |n: &usize| counters.claim(&org(thread % 4), &uncapped(thread * 10 + n), now).is_ok();
        (0..10).filter(admitted).count() as u64
    });
    assert_eq!((admitted, counters.keys(), counters.refused_full()), (100, 100, 540));
    let in_flight: u64 = (0..4).map(|n| counters.standing(&org(n), &uncapped(0), now).in_flight).sum();
    assert_eq!(in_flight, 100);

    let counters = MemoryCounters::new(1);
    counters.claim(&org(1), &uncapped(1), now).unwrap();
    for _ in 0..2 {
        assert_eq!(counters.claim(&org(1), &uncapped(2), now), Err(Unclaimed::Full));
    }
    assert_eq!(counters.claim(&org(2), &uncapped(1), now), Err(Unclaimed::Full));
    counters.claim(&org(1), &uncapped(1), now).unwrap();
}

#[test]
fn a_sweep_frees_what_is_idle_and_keeps_every_total() {
    let counters = MemoryCounters::new(100);
    let then = at("2026-01-01");
    let quotas = Quotas { total: Some(1), ..Quotas::default() };
    for number in 0..50 {
        let (claimed, _) =
            counters.claim(&org(number), &claim(number, Caps::default(), quotas), then).unwrap();
        counters.settle(&org(number), &claimed, Cost::default());
    }
    let (aborted, _) = counters.claim(&org(77), &uncapped(77), then).unwrap();
    counters.release(&org(77), &aborted);
    let (in_flight, _) = counters.claim(&org(88), &uncapped(88), then).unwrap();
    counters.sweep(at("2026-06-01"));
    assert_eq!(counters.keys(), 51, "50 totals, and that of the request in flight");
    assert!(counters.shard(&org(77)).lock().get(&org(77)).is_none());
    for number in 0..50 {
        let answer = counters.claim(&org(number), &claim(number, Caps::default(), quotas), at("2026-06-01"));
        assert!(matches!(answer, Err(Unclaimed::Denied(denial)) if denial.limit == Limit::Total));
    }
    counters.release(&org(88), &in_flight);
    assert_eq!(counters.standing(&org(88), &uncapped(88), at("2026-06-01")).in_flight, 0);
}

#[test]
fn sweeping_while_claiming_loses_nothing() {
    let counters = MemoryCounters::new(1_000);
    let quotas = Quotas { total: Some(50), ..Quotas::default() };
    // Every claim lies a year after the last, so that the sweeper finds the key idle each time.
    let clock = AtomicU64::new(1);
    let admitted = together(8, |thread| {
        let mut admitted = 0;
        for _ in 0..200 {
            let now = Timestamp::from_seconds(clock.fetch_add(1, Ordering::Relaxed) * 31_536_000);
            match thread {
                0 => counters.sweep(now),
                _ => {
                    admitted += u64::from(
                        counters
                            .claim(&org(1), &claim(1, Caps::default(), quotas), now)
                            .map(|(claimed, _)| counters.settle(&org(1), &claimed, Cost::default()))
                            .is_ok(),
                    );
                }
            }
        }
        admitted
    });
    assert_eq!(admitted, 50);
    assert_eq!(counters.keys(), 1);
}

#[test]
fn a_restart_admits_what_was_left() {
    let (now, caps) = (at("2026-11-21T12:00:30Z"), Caps { per_minute: Some(70), ..Caps::default() });
    let quotas = Quotas { total: Some(1_000), daily: Some(60), weekly: Some(500), monthly: Some(900) };
    let cell = |organization: usize, number: usize, time: &str, admitted| UsageCell {
        organization: org(organization),
        key: Some(key(number)),
        at: at(time),
        admitted,
        cost: Cost::default(),
    };
    let counters = MemoryCounters::new(2);
    counters.restore(
        &[
            cell(1, 1, "2026-10-21T12:00:00Z", 1_000), // out of every window
            cell(1, 1, "2026-11-20T12:00:00Z", 20),    // the last that the day still counts
            cell(1, 1, "2026-11-21T12:00:00Z", 30),
        ],
        &[(org(1), key(1), 990), (org(1), key(2), 1_000), (org(2), key(3), 7)],
        &vec![(org(1), Some(key(1)), at("2026-11-21T12:00:20Z")); 30],
        now,
    );
    assert_eq!(counters.keys(), 3, "more than the bound: what is known is never dropped");
    let claim = claim(1, caps, quotas);
    let left = |standing: Standing| standing.quotas.map(|gauge| gauge.unwrap().remaining);
    let standing = counters.standing(&org(1), &claim, now);
    assert_eq!(left(standing), [10, 10, 450, 850]);
    assert_eq!(standing.minute.unwrap().remaining, 40);
    let admitted = together(64, |_| u64::from(counters.claim(&org(1), &claim, now).is_ok()));
    assert_eq!(admitted, 10);
    assert_eq!(counters.claim(&org(1), &uncapped(9), now), Err(Unclaimed::Full));
    let quotas = Quotas { total: Some(1_000), ..Quotas::default() };
    let used_up = counters.claim(&org(1), &self::claim(2, caps, quotas), now);
    assert!(matches!(used_up, Err(Unclaimed::Denied(denial)) if denial.limit == Limit::Total));
}

#[test]
fn organizations_spread_over_the_locks() {
    let counters = MemoryCounters::new(10_000);
    for number in 0..10_000 {
        counters.claim(&org(number), &uncapped(number), at("2026-11-21")).unwrap();
    }
    let fullest = counters.shards.iter().map(|shard| shard.0.lock().len()).max().unwrap();
    assert!(fullest < 3 * 10_000 / SHARDS, "{fullest} of 10,000 organizations behind one lock");
}
