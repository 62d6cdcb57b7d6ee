//! The index over a real Redis, beside a record that can be switched off.

use super::*;
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::time::{Period, Timestamp};
use crate::stores::counters::redis::tests::redis_cluster::RedisCluster;
use crate::stores::counters::redis::tests::redis_server::RedisServer;
use crate::stores::keyring::tests::fake::{Fake, digest, grant, organization};

struct Bed {
    redis: RedisServer,
    record: Arc<Fake>,
    index: Arc<Index>,
    indexed: IndexedRecord,
}

impl Bed {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let record = Arc::new(Fake::default());
        let (index, indexed) = Self::node(&redis, &record).await;
        Self { redis, record, index, indexed }
    }

    /// A gateway's view, as of now.
    async fn node(redis: &RedisServer, record: &Arc<Fake>) -> (Arc<Index>, IndexedRecord) {
        let timeout = Duration::from_millis(400);
        let keep_for = Duration::from_secs(1_000);
        let index = Arc::new(
            Index::new(&redis.url(), timeout, keep_for, Duration::from_secs(900), Handle::current()).unwrap(),
        );
        let indexed = IndexedRecord::new(record.clone(), Arc::clone(&index));
        indexed.last_change().await.unwrap();
        (index, indexed)
    }

    /// Waits until the entry of `name` is `wanted`.
    async fn until(&self, name: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !wanted(self.redis.command(&["GET", name]).trim()) {
            assert!(std::time::Instant::now() < deadline, "{name}: {}", self.redis.command(&["GET", name]));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn down(&self, down: bool) {
        self.record.down.store(down, Ordering::SeqCst);
    }
}

fn is_kept(entry: &str) -> bool {
    entry.contains('{')
}

#[tokio::test]
async fn what_the_record_said_is_known_when_it_cannot_be_asked() {
    let bed = Bed::new().await;
    let limit = SpendLimit { requests: Some(7), microcents: None, period: Period::Weekly, enabled: false };
    let mut full = grant(1, "acme");
    full.expires_at = Some(Timestamp::from_micros(1_999_999_999_999_999));
    full.secret_until = Some(Timestamp::from_micros(1));
    full.allowed_ips = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()].into();
    full.quotas = Quotas { total: Some(u64::MAX), daily: Some(0), ..Quotas::default() };
    full.limit = Some(Box::new(limit));
    full.scopes.write = false;
    let mut acme = organization("acme", "pro");
    acme.negotiated = Caps { per_second: Some(3), ..Caps::default() };
    acme.limit = Some(SpendLimit { microcents: Some(9), enabled: true, ..limit });
    bed.record.put_key(digest(1), full.clone());
    bed.record.put_organization(acme.clone());
    assert_eq!(bed.indexed.grant(&digest(1)).await.unwrap(), Some(full.clone()));
    assert_eq!(bed.indexed.organization("acme").await.unwrap(), acme);
    assert_eq!(bed.indexed.grant(&digest(2)).await.unwrap(), None);
    bed.until(&key_name(&digest(1)), is_kept).await;
    bed.until(&organization_name(&acme.id), is_kept).await;
    let left: i64 = bed.redis.command(&["TTL", &key_name(&digest(1))]).trim().parse().unwrap();
    assert!((900..=1_000).contains(&left), "{left} s");

    // Another gateway, which never asked for it.
    let (index, indexed) = Bed::node(&bed.redis, &bed.record).await;
    index.started_at.store(0, Ordering::Relaxed);
    bed.down(true);
    for _ in 0..2 {
        assert_eq!(indexed.grant(&digest(1)).await.unwrap(), Some(full.clone()));
        assert_eq!(indexed.organization("acme").await.unwrap(), acme);
    }
    assert_eq!((index.answered(), index.discarded()), (4, 0));
    // What the index does not know is not unknown.
    let unknown = indexed.grant(&digest(2)).await;
    assert!(matches!(unknown, Err(RecordError::Unavailable(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_changed_key_is_put_out_and_nobody_brings_it_back() {
    let bed = Bed::new().await;
    bed.record.put_key(digest(1), grant(1, "acme"));
    assert_eq!(bed.indexed.changes_after(0, 10).await.unwrap().len(), 1);
    bed.indexed.grant(&digest(1)).await.unwrap();
    bed.until(&key_name(&digest(1)), is_kept).await;
    let kept = bed.redis.command(&["GET", &key_name(&digest(1))]);

    bed.record.revoke(&digest(1));
    assert_eq!(bed.indexed.changes_after(1, 10).await.unwrap().len(), 1);
    let name = key_name(&digest(1));
    assert_eq!(bed.redis.command(&["GET", &name]).trim(), "-2");
    // Somebody who read before the change, and is slow.
    bed.index.keep(name.clone(), 1, kept.trim().to_owned()).await;
    assert_eq!(bed.redis.command(&["GET", &name]).trim(), "-2");
    bed.down(true);
    assert!(bed.indexed.grant(&digest(1)).await.is_err());
}

#[tokio::test]
async fn what_is_damaged_foreign_or_outdated_is_discarded_and_counted() {
    let bed = Bed::new().await;
    bed.record.put_key(digest(1), grant(1, "acme"));
    bed.record.put_key(digest(2), grant(2, "acme"));
    for n in [1, 2] {
        bed.indexed.grant(&digest(n)).await.unwrap();
        bed.until(&key_name(&digest(n)), is_kept).await;
    }
    let (name, other) = (key_name(&digest(1)), key_name(&digest(2)));
    let good = bed.redis.command(&["GET", &name]).trim().to_owned();
    bed.down(true);
    let mut discarded = 0;
    for wrong in [
        good.replace("true", "false"),
        good.replacen(" 1 ", " 2 ", 1),
        good[..good.len() - 1].to_owned(),
        bed.redis.command(&["GET", &other]).trim().to_owned(),
        "0 1 x {}".to_owned(),
        "rubbish".to_owned(),
        String::new(),
    ] {
        bed.redis.command(&["SET", &name, &wrong]);
        let answer = bed.indexed.grant(&digest(1)).await;
        assert!(matches!(answer, Err(RecordError::Unavailable(_))), "{wrong:?}: {answer:?}");
        discarded += 1;
        assert!(bed.index.discarded() >= discarded, "{wrong:?} was not counted");
        discarded = bed.index.discarded();
    }
    bed.redis.command(&["SET", &name, &good]);
    assert!(bed.indexed.grant(&digest(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn nothing_is_trusted_while_something_could_not_be_put_out() {
    let mut bed = Bed::new().await;
    bed.record.put_key(digest(1), grant(1, "acme"));
    bed.record.put_key(digest(2), grant(2, "acme"));
    bed.indexed.changes_after(0, 10).await.unwrap();
    for n in [1, 2] {
        bed.indexed.grant(&digest(n)).await.unwrap();
        bed.until(&key_name(&digest(n)), is_kept).await;
    }
    bed.record.revoke(&digest(1));
    bed.redis.freeze();
    bed.indexed.changes_after(2, 10).await.unwrap();
    bed.redis.thaw();
    bed.down(true);
    assert!(bed.indexed.grant(&digest(2)).await.is_err(), "the revoked one may be there still");

    bed.down(false);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while bed.index.owed.lock().as_ref().is_some_and(|owed| !owed.is_empty()) {
        assert!(std::time::Instant::now() < deadline, "never put out");
        bed.indexed.changes_after(3, 10).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.down(true);
    assert!(bed.indexed.grant(&digest(2)).await.unwrap().is_some());
    assert!(bed.indexed.grant(&digest(1)).await.is_err());
    bed.redis.kill();
    assert!(bed.indexed.grant(&digest(2)).await.is_err());
}

#[tokio::test]
async fn in_a_cluster_every_master_keeps_its_part_and_one_that_falls_is_forgotten_alone() {
    let mut cluster = RedisCluster::start();
    let record = Arc::new(Fake::default());
    let (timeout, keep_for) = (Duration::from_millis(400), Duration::from_secs(1_000));
    let index = Arc::new(
        Index::new(&cluster.url(), timeout, keep_for, Duration::from_secs(900), Handle::current()).unwrap(),
    );
    let indexed = IndexedRecord::new(record.clone(), Arc::clone(&index));
    indexed.last_change().await.unwrap();
    let digests: Vec<_> = (1..=24).map(digest).collect();
    for (n, digest) in (1..).zip(&digests) {
        record.put_key(*digest, grant(n, "acme"));
        assert!(indexed.grant(digest).await.unwrap().is_some());
    }
    let held = |node: usize| -> usize { cluster.nodes[node].command(&["DBSIZE"]).trim().parse().unwrap() };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while held(0) + held(1) + held(2) < digests.len() {
        assert!(std::time::Instant::now() < deadline, "not all are kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let on_second = held(1);
    assert!((1..digests.len()).contains(&on_second), "{on_second} say nothing");

    record.down.store(true, Ordering::SeqCst);
    for digest in &digests {
        assert!(indexed.grant(digest).await.unwrap().is_some());
    }
    // With its replica gone, nobody takes its place.
    cluster.nodes[4].kill();
    cluster.nodes[1].kill();
    let mut known = 0;
    for digest in &digests {
        known += usize::from(indexed.grant(digest).await.is_ok());
    }
    assert_eq!(known, digests.len() - on_second);
}
