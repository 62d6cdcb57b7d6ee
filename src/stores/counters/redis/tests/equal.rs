//! The script gives the answers that memory's accounts give, on random histories of several nodes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::Script;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::central::Central;
use super::redis_cluster::RedisCluster;
use super::redis_server::RedisServer;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::time::{Period, Timestamp};
use crate::stores::counters::lease::{Call, Entry, Reply, SlotsCall, Terms};
use crate::stores::counters::redis::script::{CLAIM, RESTORE};
use crate::stores::counters::redis::{Link, redis_key, wire};

const NODES: u64 = 3;

/// A call as it is made up: what depends on earlier ones is filled in when it is made.
#[derive(Clone, Debug)]
struct Step {
    node: usize,
    key: u8,
    /// Microseconds since the step before; negative: the clock steps back.
    later: i64,
    waiting: u64,
    rate: u64,
    left: u64,
    terms: Terms,
    slots: Option<(u64, u64, u64)>,
    /// How long ago, requests counted elsewhere or taken back, microcents.
    entries: Vec<(u64, i64, i64)>,
    /// Whether the answer is lost on its way.
    lost: bool,
    /// Whether the call is the last one over again.
    again: bool,
}

fn cap(most: u64) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 3 => (0..most).prop_map(Some)]
}

fn spend_limit() -> impl Strategy<Value = Option<SpendLimit>> {
    let period = prop_oneof![Just(Period::Daily), Just(Period::Weekly), Just(Period::Monthly)];
    let limit = (cap(20), cap(2_000), period, prop::bool::weighted(0.9)).prop_map(
        |(requests, microcents, period, enabled)| SpendLimit { requests, microcents, period, enabled },
    );
    prop_oneof![3 => Just(None), 1 => limit.prop_map(Some)]
}

fn terms() -> impl Strategy<Value = Terms> {
    let caps = (cap(8), cap(15), cap(30)).prop_map(|(concurrency, per_second, per_minute)| Caps {
        concurrency,
        per_second,
        per_minute,
    });
    let quotas = (cap(60), cap(40), cap(50), cap(60)).prop_map(|(total, daily, weekly, monthly)| Quotas {
        total,
        daily,
        weekly,
        monthly,
    });
    (caps, quotas, spend_limit(), spend_limit(), 0..200_u64).prop_map(
        |(caps, quotas, key_limit, org_limit, estimate)| Terms {
            caps,
            quotas,
            key_limit,
            org_limit,
            estimate,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let later = prop_oneof![
        3 => 0..60_000_i64,
        3 => 0..2_000_000_i64,
        2 => 0..120_000_000_i64,
        1 => 0..100_000_000_000_i64,
        1 => 0..3_000_000_000_000_i64,
        1 => -5_000_000..0_i64,
    ];
    let entries = prop::collection::vec((0..4_000_000_u64, -3..4_i64, -300..300_i64), 0..3);
    let slots = prop::option::of((0..8_u64, 0..6_u64, 0..4_u64));
    let counts = (0..3_usize, 0..3_u8, 0..6_u64, prop_oneof![Just(0), 0..40_u64], 0..3_u64);
    (counts, later, terms(), slots, entries, prop::bool::weighted(0.1), prop::bool::weighted(0.05)).prop_map(
        |((node, key, waiting, rate, left), later, terms, slots, entries, lost, again)| Step {
            node,
            key,
            later,
            waiting,
            rate,
            left,
            terms,
            slots,
            entries,
            lost,
            again,
        },
    )
}

type Sent = (u64, u64, Vec<(u64, Entry)>, Option<Call>);

/// Both stores, and what the nodes know.
struct Both<'a> {
    central: Central,
    link: &'a Link,
    runtime: &'a Runtime,
    org: OrgId,
    /// By node and key: the last number, the last one answered, entries of those in between, and the last call.
    calls: HashMap<(usize, u8), Sent>,
    slots: [u64; 3],
    now: Timestamp,
}

impl<'a> Both<'a> {
    fn new(link: &'a Link, runtime: &'a Runtime, org: &str) -> Self {
        let now = Timestamp::parse("2026-11-21T23:58:00Z").unwrap();
        let org = OrgId::parse(org).unwrap();
        let keys = ["o", "r", "b"].map(|what| redis_key(&org, what));
        let lock = Script::new("return redis.call('SET', KEYS[1], 'token')");
        runtime.block_on(link.try_run(&lock, &keys[1..2], &[])).unwrap();
        let nothing = serde_json::json!([[], [], [], [], [], [0, 0]]);
        let argument = serde_json::json!(["token", now.micros(), true, [], nothing]).to_string();
        let done = runtime.block_on(link.run(&RESTORE, &keys, &[&argument])).unwrap();
        assert!(matches!(wire::decode_restored(&done), Some(Some((_, true)))), "{done:?}");
        Self { central: Central::new(now), link, runtime, org, calls: HashMap::new(), slots: [0; 3], now }
    }

    /// Makes the call of both, and holds their answers against each other.
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let micros = self.now.micros().saturating_add_signed(step.later);
        self.now = Timestamp::from_micros(micros);
        let key = (step.key > 0).then(|| KeyId(Uuid::from_u128(u128::from(step.key))));
        let (seq, acked, unacked, last) = self.calls.entry((step.node, step.key)).or_default();
        let call = match last {
            Some(last) if step.again => last.clone(),
            _ => {
                *seq += 1;
                let clock = self.central.clock().max(self.now);
                let entry = |(ago, requests, microcents): &(u64, i64, i64)| Entry {
                    // Memory counts what was admitted before in the newest cell there is.
                    at: if *requests > 0 { clock } else { Timestamp::from_micros(micros - ago) },
                    requests: *requests,
                    // What is admitted costs something, or nothing.
                    microcents: if *requests > 0 { microcents.abs() } else { *microcents },
                };
                unacked.extend(step.entries.iter().map(|made| (*seq, entry(made))));
                let slots = step.slots.map(|(spare, used, waiting)| {
                    self.slots[step.node] += 1;
                    SlotsCall { seq: self.slots[step.node], wanted: used + waiting + spare, used, waiting }
                });
                Call {
                    key,
                    epoch: 0,
                    seq: *seq,
                    acked: *acked,
                    waiting: step.waiting,
                    rate: step.rate,
                    left: step.left,
                    terms: step.terms,
                    slots,
                    entries: unacked.clone(),
                }
            }
        };
        *last = Some(call.clone());
        if !step.lost && !step.again {
            *acked = call.seq;
            unacked.clear();
        }
        let expected = self.central.call(step.node, NODES, &call, self.now);
        let answer = self.ask_redis(step, &call);
        let without_quotas = |reply: Reply| match reply {
            // A session counts for the organization only.
            Reply::Done(mut done) if call.key.is_none() => {
                done.counts[2..].fill(Default::default());
                Reply::Done(done)
            }
            other => other,
        };
        prop_assert_eq!(without_quotas(answer), without_quotas(expected), "{:?}", call);
        Ok(())
    }

    fn ask_redis(&mut self, step: &Step, call: &Call) -> Reply {
        let node = format!("node{}", step.node);
        let argument = wire::encode(call, &node, NODES, Some(self.now));
        let keys = wire::keys(&self.org, call, &node);
        let answer = self.runtime.block_on(self.link.run(&CLAIM, &keys, &[&argument])).unwrap();
        wire::decode(&answer, call).unwrap()
    }
}

fn give_the_same_answers(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let link = Link::new(url, Duration::from_secs(5)).unwrap();
    let number = AtomicU64::new(0);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    runner
        .run(&prop::collection::vec(step(), 1..60), |history| {
            let org = format!("org-{}", number.fetch_add(1, Ordering::Relaxed));
            let mut both = Both::new(&link, &runtime, &org);
            history.iter().try_for_each(|step| both.take(step))
        })
        .unwrap();
}

#[test]
fn redis_and_memory_give_the_same_answers() {
    give_the_same_answers(&RedisServer::start().url());
}

#[test]
fn a_redis_cluster_and_memory_give_the_same_answers() {
    give_the_same_answers(&RedisCluster::start().url());
}
