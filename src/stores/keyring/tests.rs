pub(super) mod fake;
mod sqlite;

use self::fake::{Fake, digest, grant, organization};
use super::follow::follow;
use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn settings(cache_max: usize) -> config::Keys {
    config::Keys {
        prefix: "sk_live_".to_owned(),
        sources: Vec::new(),
        cache_max,
        cache_absent_max: 6_400,
        cache_absent_for: Duration::from_secs(10),
        follow_every: Duration::from_millis(5),
        index_for: Duration::ZERO,
        remember_for: Duration::ZERO,
        reveal_key: None,
    }
}

/// A record with the organization `acme` and its keys 0 to 9, and a keyring over it.
fn acme(cache_max: usize) -> (Arc<Fake>, Arc<Keyring>) {
    let record = Arc::new(Fake::default());
    record.put_organization(organization("acme", "free"));
    (0..10).for_each(|n| record.put_key(digest(n), grant(n, "acme")));
    let keyring = Arc::new(Keyring::new(record.clone(), &settings(cache_max)));
    (record, keyring)
}

fn is_key(known: &Known) -> bool {
    matches!(known, Known::Key(_))
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain");
}

fn spawn_find(keyring: &Arc<Keyring>, n: u64) -> tokio::task::JoinHandle<Result<Known, RecordError>> {
    let keyring = keyring.clone();
    tokio::spawn(async move { keyring.find(&digest(n), NOW).await })
}

#[tokio::test]
async fn the_record_is_asked_once() {
    let (record, keyring) = acme(100);
    assert!(keyring.cached(&digest(1), NOW).is_none());
    assert!(is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
    assert!(is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
    assert!(is_key(&keyring.cached(&digest(1), NOW).unwrap()));
    assert_eq!(record.grants_read.load(Ordering::SeqCst), 1);
    assert_eq!(keyring.lookups(), Lookups { l1: 2, absent: 0, record: 1 });
}

#[tokio::test]
async fn an_unknown_digest_is_remembered_for_its_time() {
    let (record, keyring) = acme(100);
    assert!(!is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
    let end = NOW.plus(Duration::from_secs(10));
    assert!(!is_key(&keyring.cached(&digest(99), end.minus(Duration::from_micros(1))).unwrap()));
    assert!(keyring.cached(&digest(99), end).is_none());
    assert_eq!(keyring.lookups(), Lookups { l1: 0, absent: 1, record: 1 });
    // Made meanwhile: known as soon as the change is followed.
    assert!(!is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
    record.put_key(digest(99), grant(99, "acme"));
    keyring.forget(&digest(99));
    assert!(is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
}

#[tokio::test]
async fn many_who_ask_together_are_one_question() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let asking: Vec<_> = (0..50).map(|_| spawn_find(&keyring, 1)).collect();
    until(|| record.grants_read.load(Ordering::SeqCst) == 1 && waiting(&keyring, 1) == Some(50)).await;
    record.gate.open(2);
    for asked in asking {
        assert!(is_key(&asked.await.unwrap().unwrap()));
    }
    assert_eq!(record.grants_read.load(Ordering::SeqCst), 1);
    assert_eq!(waiting(&keyring, 1), None);
}

/// How many wait for the answer to key `n`; `None` where nobody asks.
fn waiting(keyring: &Keyring, n: u64) -> Option<usize> {
    let digest = digest(n);
    let state = keyring.shard(keyring.hash(&digest)).state.read();
    state.flights.get(&digest).map(|flight| flight.waiting.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_cancelled_leader_leaves_the_question_to_the_next() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let leader = spawn_find(&keyring, 1);
    until(|| record.grants_read.load(Ordering::SeqCst) == 1).await;
    let follower = spawn_find(&keyring, 1);
    until(|| waiting(&keyring, 1) == Some(2)).await;
    leader.abort();
    until(|| record.grants_read.load(Ordering::SeqCst) == 2).await;
    record.gate.open(2);
    assert!(is_key(&follower.await.unwrap().unwrap()));

    let alone = spawn_find(&keyring, 2);
    until(|| record.grants_read.load(Ordering::SeqCst) == 3).await;
    alone.abort();
    until(|| waiting(&keyring, 2).is_none()).await;
}

#[tokio::test]
async fn a_fill_that_began_before_a_revocation_is_not_kept() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let early = spawn_find(&keyring, 1);
    until(|| record.grants_read.load(Ordering::SeqCst) == 1).await;
    record.revoke(&digest(1));
    keyring.forget(&digest(1));
    // Whoever comes after the revocation asks anew, although the old question is still under way.
    let late = spawn_find(&keyring, 1);
    until(|| record.grants_read.load(Ordering::SeqCst) == 2).await;
    record.gate.open(3);
    assert!(is_key(&early.await.unwrap().unwrap()), "it was asked before the revocation");
    assert!(!is_key(&late.await.unwrap().unwrap()));
    assert!(!is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
    assert_eq!(keyring.len(), 0);
}

#[tokio::test]
async fn an_unknown_answer_that_a_new_key_overtook_is_not_kept() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let early = spawn_find(&keyring, 99);
    until(|| record.grants_read.load(Ordering::SeqCst) == 1).await;
    record.put_key(digest(99), grant(99, "acme"));
    keyring.forget(&digest(99));
    record.gate.open(3);
    assert!(!is_key(&early.await.unwrap().unwrap()));
    assert!(is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
}

fn plan_of(known: &Known) -> String {
    match known {
        Known::Key(entry) => entry.organization.0.load().plan.clone(),
        Known::Absent => panic!("no key"),
    }
}

#[tokio::test]
async fn all_keys_of_an_organization_share_its_slot() {
    let (record, keyring) = acme(100);
    let mut found = Vec::new();
    for n in 0..10 {
        found.push(keyring.find(&digest(n), NOW).await.unwrap());
    }
    assert_eq!(record.organizations_read.load(Ordering::SeqCst), 1);
    record.put_organization(organization("acme", "pro"));
    keyring.refresh(&OrgId::parse("acme").unwrap()).await.unwrap();
    assert!(found.iter().all(|known| plan_of(known) == "pro"));

    // Nobody uses it any more: the slot is gone with the last key.
    drop(found);
    keyring.forget_all();
    assert_eq!((keyring.len(), keyring.organizations.len()), (0, 0));
    keyring.refresh(&OrgId::parse("acme").unwrap()).await.unwrap();
    assert_eq!(record.organizations_read.load(Ordering::SeqCst), 2, "nothing to read anew");
}

#[tokio::test]
async fn an_organization_that_changes_while_it_is_read_is_read_again() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let early = spawn_find(&keyring, 1);
    record.gate.open(1);
    until(|| record.organizations_read.load(Ordering::SeqCst) == 1).await;
    record.put_organization(organization("acme", "pro"));
    keyring.refresh(&OrgId::parse("acme").unwrap()).await.unwrap();
    record.gate.open(2);
    assert_eq!(plan_of(&early.await.unwrap().unwrap()), "pro");
    assert_eq!(plan_of(&keyring.cached(&digest(1), NOW).unwrap()), "pro");
}

#[tokio::test]
async fn without_the_record_the_known_keep_working() {
    let (record, keyring) = acme(100);
    assert!(is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
    record.down.store(true, Ordering::SeqCst);
    let days_later = NOW.plus(Duration::from_secs(3 * 86_400));
    assert!(is_key(&keyring.find(&digest(1), days_later).await.unwrap()));
    for n in [2, 99] {
        let answer = keyring.find(&digest(n), NOW).await;
        assert!(matches!(answer, Err(RecordError::Unavailable(_))), "{answer:?}");
    }
    record.down.store(false, Ordering::SeqCst);
    assert!(is_key(&keyring.find(&digest(2), NOW).await.unwrap()), "a failure is not remembered");
    assert!(!is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
}

#[tokio::test]
async fn a_failure_is_shared_by_all_who_waited() {
    let (record, keyring) = acme(100);
    record.down.store(true, Ordering::SeqCst);
    record.held.store(true, Ordering::SeqCst);
    let asking: Vec<_> = (0..20).map(|_| spawn_find(&keyring, 1)).collect();
    until(|| waiting(&keyring, 1) == Some(20)).await;
    record.gate.open(1);
    for asked in asking {
        assert!(matches!(asked.await.unwrap(), Err(RecordError::Unavailable(_))));
    }
    assert_eq!(record.grants_read.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_record_that_does_not_answer_is_not_waited_for() {
    let (record, keyring) = acme(100);
    record.held.store(true, Ordering::SeqCst);
    let began = std::time::Instant::now();
    assert!(matches!(keyring.find(&digest(1), NOW).await, Err(RecordError::Unavailable(_))));
    assert!(began.elapsed() >= RECORD_WAIT_MAX);
    assert_eq!(waiting(&keyring, 1), None);
}

#[tokio::test]
async fn a_key_without_its_organization_is_an_error_and_not_unknown() {
    let (record, keyring) = acme(100);
    record.put_key(digest(50), grant(50, "nobody"));
    assert!(matches!(keyring.find(&digest(50), NOW).await, Err(RecordError::Corrupt(_))));
}

#[tokio::test]
async fn memory_is_bounded_and_the_used_stay() {
    let (record, keyring) = acme(1_000);
    for n in 100..10_000 {
        record.put_key(digest(n), grant(n, "acme"));
    }
    for n in 100..10_000 {
        for steady in 0..10 {
            keyring.find(&digest(steady), NOW).await.unwrap();
        }
        keyring.find(&digest(n), NOW).await.unwrap();
        assert!(keyring.len() <= 1_000);
    }
    assert_eq!(keyring.len(), 1_000);
    assert_eq!(keyring.lookups().record, 10 + 9_900, "those in steady use were never let go");
    assert_eq!(keyring.evicted(), 10 + 9_900 - 1_000);
}

#[tokio::test]
async fn no_room_at_all_still_answers() {
    let (record, _) = acme(1);
    let nothing = config::Keys { cache_absent_max: 0, ..settings(0) };
    let keyring = Keyring::new(record.clone(), &nothing);
    for _ in 0..2 {
        assert!(is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
        assert!(!is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
    }
    assert_eq!((keyring.len(), keyring.lookups().record), (0, 4));
}

/// The heap of a cached key: its slot in a table that has just grown, and its entry with the two counts of an
/// [`Arc`], rounded up to what an allocator hands out. Organization and project are shared.
#[test]
fn a_cached_key_is_small() {
    let entry = (size_of::<Entry>() + 16).next_multiple_of(32);
    let bytes = Cache::SLOT_BYTES_MAX + entry;
    assert!(bytes <= 400, "{} + {entry}", Cache::SLOT_BYTES_MAX);
}

#[tokio::test]
async fn neighbours_share_their_ids() {
    let (_record, keyring) = acme(100);
    let ids = |known: Known| match known {
        Known::Key(entry) => {
            (entry.grant.organization.as_str().as_ptr(), entry.grant.project.as_str().as_ptr())
        }
        Known::Absent => panic!("no key"),
    };
    // The fake made each grant with texts of its own.
    let one = ids(keyring.find(&digest(1), NOW).await.unwrap());
    let two = ids(keyring.find(&digest(2), NOW).await.unwrap());
    assert_eq!(one, two);
}

/// Follows until dropped.
struct Follower(tokio::task::JoinHandle<()>);

impl Follower {
    async fn of(record: &Arc<Fake>, keyring: &Arc<Keyring>) -> Self {
        let never = std::future::pending();
        let task = follow(keyring.clone(), record.clone(), Duration::from_millis(5), |_| {}, never);
        let follower = Self(tokio::spawn(task));
        until(|| keyring.following().is_up()).await;
        follower
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn changes_made_elsewhere_are_followed() {
    let (record, keyring) = acme(100);
    let _follower = Follower::of(&record, &keyring).await;
    for n in [1, 2, 99] {
        keyring.find(&digest(n), NOW).await.unwrap();
    }
    record.revoke(&digest(1));
    record.put_key(digest(99), grant(99, "acme"));
    record.put_organization(organization("acme", "pro"));
    until(|| keyring.following().sequence() == 14).await;
    assert!(!is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
    assert_eq!(plan_of(&keyring.cached(&digest(2), NOW).unwrap()), "pro");
    assert!(is_key(&keyring.find(&digest(99), NOW).await.unwrap()));
    assert_eq!(keyring.following().changes(), 3);
    assert!(keyring.following().lag() > Duration::from_secs(1_000_000), "the fake's changes are of 1970");
    assert!(keyring.following().read_at().is_some());
}

#[tokio::test]
async fn an_outage_loses_no_change() {
    let (record, keyring) = acme(100);
    let _follower = Follower::of(&record, &keyring).await;
    keyring.find(&digest(1), NOW).await.unwrap();
    record.down.store(true, Ordering::SeqCst);
    until(|| !keyring.following().is_up()).await;
    // More than one batch, the revocation first.
    record.revoke(&digest(1));
    (1_000..4_000).for_each(|n| record.put_key(digest(n), grant(n, "acme")));
    assert!(is_key(&keyring.cached(&digest(1), NOW).unwrap()), "known keys keep working");
    record.down.store(false, Ordering::SeqCst);
    until(|| keyring.following().is_up() && keyring.following().sequence() == 3_012).await;
    assert!(keyring.cached(&digest(1), NOW).is_none());
}

#[tokio::test]
async fn an_organization_that_cannot_be_read_holds_up_no_revocation() {
    let (record, keyring) = acme(100);
    let _follower = Follower::of(&record, &keyring).await;
    let slot = keyring.find(&digest(1), NOW).await.unwrap();
    record.held.store(true, Ordering::SeqCst);
    record.put_organization(organization("acme", "pro"));
    record.revoke(&digest(1));
    until(|| keyring.cached(&digest(1), NOW).is_none()).await;
    assert_eq!(keyring.following().sequence(), 11, "the batch is not done yet");
    record.gate.open(1);
    until(|| keyring.following().sequence() == 13).await;
    assert_eq!(plan_of(&slot), "pro");
}

#[tokio::test]
async fn what_was_cached_before_following_is_read_again() {
    let (record, keyring) = acme(100);
    keyring.find(&digest(1), NOW).await.unwrap();
    record.revoke(&digest(1));
    let _follower = Follower::of(&record, &keyring).await;
    assert!(!is_key(&keyring.find(&digest(1), NOW).await.unwrap()));
}

#[tokio::test]
async fn following_begins_when_the_record_comes() {
    let (record, keyring) = acme(100);
    record.down.store(true, Ordering::SeqCst);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let task =
        tokio::spawn(follow(keyring.clone(), record.clone(), Duration::from_millis(1), |_| {}, async {
            let _ = ended.await;
        }));
    until(|| record.refused.load(Ordering::SeqCst) > 3).await;
    assert!(!keyring.following().is_up());
    assert_eq!(keyring.following().read_at(), None);
    record.down.store(false, Ordering::SeqCst);
    until(|| keyring.following().is_up()).await;
    end.send(()).unwrap();
    task.await.unwrap();
}
