//! The rows of the failure table: a process ends when its record is dropped, and another begins over the same directory.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering::SeqCst;

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::stores::counters::redis::tests::redis_server::RedisServer;
use crate::stores::keyring::index::IndexedRecord;
use crate::stores::keyring::tests::fake::{Fake, digest, grant, organization};

const FOR: Duration = Duration::from_secs(900);

struct Bed {
    place: TempDir,
    record: Arc<Fake>,
    entries_max: usize,
}

/// A process that remembers.
struct Process {
    record: RememberedRecord,
    remembered: Arc<Remembered>,
}

impl Bed {
    /// A record with the organization `acme` and its keys 0 to 9.
    fn new() -> Self {
        let record = Arc::new(Fake::default());
        record.put_organization(organization("acme", "pro"));
        (0..10).for_each(|n| record.put_key(digest(n), grant(n, "acme")));
        Self { place: tempfile::tempdir().unwrap(), record, entries_max: 100_000 }
    }

    fn start(&self) -> Process {
        self.start_of("postgres://db/gate", None)
    }

    fn start_of(&self, name: &str, index: Option<Arc<Index>>) -> Process {
        let opened = Remembered::open(self.place.path(), name, self.entries_max, FOR, index.clone());
        let remembered = Arc::new(opened.unwrap());
        let mut record: Arc<dyn GrantRecord> = self.record.clone();
        if let Some(index) = index {
            record = Arc::new(IndexedRecord::new(record, index));
        }
        Process { record: RememberedRecord::new(record, Arc::clone(&remembered)), remembered }
    }

    fn down(&self, down: bool) {
        self.record.down.store(down, SeqCst);
    }

    fn file(&self) -> std::path::PathBuf {
        self.place.path().join(journal::FILE)
    }

    /// The lines of the journal are now these.
    fn edit(&self, edit: impl Fn(Vec<String>) -> Vec<String>) {
        let text = fs::read_to_string(self.file()).unwrap();
        let lines = edit(text.split_inclusive('\n').map(str::to_owned).collect());
        fs::write(self.file(), lines.concat()).unwrap();
    }
}

impl Process {
    /// Looks for changes as the follower does, to the end; the number of the last one.
    async fn follow(&self, after: i64) -> i64 {
        let changes = self.record.changes_after(after, 1_000).await.unwrap();
        changes.last().map_or(after, |change| change.sequence)
    }

    /// Starts to follow, asks for the keys 0 to 4 and their organization, and has the record confirm them.
    async fn learn(&self) -> i64 {
        let last = self.record.last_change().await.unwrap();
        for n in 0..5 {
            assert_eq!(self.record.grant(&digest(n)).await.unwrap(), Some(grant(n, "acme")));
        }
        self.record.organization("acme").await.unwrap();
        self.follow(last).await
    }

    /// Which of the keys 0 to 9 are known.
    async fn known(&self) -> Vec<u64> {
        let mut known = Vec::new();
        for n in 0..10 {
            match self.record.grant(&digest(n)).await {
                Ok(Some(_)) => known.push(n),
                other => assert!(matches!(other, Err(RecordError::Unavailable(_))), "{other:?}"),
            }
        }
        known
    }

    /// When the record last confirmed what is lent.
    fn confirmed_at(&self) -> Timestamp {
        self.remembered.book.load().as_ref().unwrap().confirmed.unwrap().0
    }
}

#[tokio::test]
async fn what_was_known_is_lent_while_the_record_is_away_from_the_start() {
    let bed = Bed::new();
    bed.start().learn().await;
    bed.down(true);
    let process = bed.start();
    assert!(process.record.last_change().await.is_err());
    assert_eq!(process.known().await, [0, 1, 2, 3, 4], "the others are not unknown");
    assert_eq!(process.record.organization("acme").await.unwrap(), organization("acme", "pro"));
    assert!(process.record.organization("other").await.is_err());
    assert_eq!((process.remembered.lent(), process.remembered.discarded()), (6, 0));
    assert_eq!(fs::metadata(bed.file()).unwrap().permissions().mode() & 0o777, 0o600);
    // Back: the record answers.
    bed.down(false);
    bed.record.revoke(&digest(3));
    let last = process.record.last_change().await.unwrap();
    assert_eq!(process.record.grant(&digest(7)).await.unwrap(), Some(grant(7, "acme")));
    // And away again before it has confirmed anything, and after it has.
    bed.down(true);
    assert_eq!(process.known().await, [0, 1, 2, 4]);
    bed.down(false);
    process.follow(last).await;
    bed.down(true);
    assert_eq!(process.known().await, [0, 1, 2, 4, 7]);
}

#[tokio::test]
async fn a_process_whose_record_was_there_reads_no_journal_when_it_goes_away() {
    let bed = Bed::new();
    let process = bed.start();
    process.learn().await;
    bed.down(true);
    assert!(process.known().await.is_empty(), "the keyring has what was asked for");
    assert_eq!(process.remembered.lent(), 0);
}

#[tokio::test]
async fn it_is_lent_for_its_time_and_no_longer() {
    let bed = Bed::new();
    bed.start().learn().await;
    bed.down(true);
    let process = bed.start();
    let end = process.confirmed_at().plus(FOR + LATE);
    let past = end.plus(Duration::from_micros(1));
    assert!(process.remembered.lends(end).await && !process.remembered.lends(past).await);
    let lend = async |now| process.remembered.lend(key_name(&digest(1)), now, encoding::decode_grant).await;
    assert_eq!((lend(end).await, lend(past).await), (Some(grant(1, "acme")), None));
    // A process that starts in the middle of it confirms nothing.
    assert!(process.record.changes_after(0, 10).await.is_err());
    assert_eq!(bed.start().confirmed_at(), process.confirmed_at());
}

#[tokio::test]
async fn a_key_whose_end_was_read_is_not_lent_nor_brought_back_by_who_read_before() {
    let bed = Bed::new();
    let process = bed.start();
    let last = process.learn().await;
    bed.record.held.store(true, SeqCst);
    let revoked = digest(1);
    let slow = process.record.grant(&revoked);
    let revoke = async {
        while bed.record.grants_read.load(SeqCst) < 6 {
            tokio::task::yield_now().await;
        }
        bed.record.revoke(&digest(1));
        bed.record.revoke(&digest(2));
        let last = process.follow(last).await;
        bed.record.held.store(false, SeqCst);
        bed.record.gate.open(1);
        last
    };
    let (slow, last) = tokio::join!(slow, revoke);
    assert!(slow.unwrap().is_some(), "it was read before");
    bed.record.put_organization(organization("acme", "free"));
    process.record.grant(&digest(3)).await.unwrap();
    process.follow(last).await;
    bed.down(true);
    let process = bed.start();
    assert_eq!(process.known().await, [0, 3, 4]);
    assert!(
        process.record.organization("acme").await.is_err(),
        "its plan has changed, and nobody asked for it"
    );
}

#[tokio::test]
async fn what_changed_while_nobody_looked_is_in_force_when_the_record_is_back() {
    let bed = Bed::new();
    bed.start().learn().await;
    bed.record.revoke(&digest(4));
    bed.down(true);
    let away = bed.start();
    assert_eq!(away.known().await, [0, 1, 2, 3, 4], "nobody here can know");
    bed.down(false);
    let last = away.record.last_change().await.unwrap();
    assert!(away.record.grant(&digest(4)).await.unwrap().is_none());
    away.follow(last).await;
    bed.down(true);
    assert_eq!(bed.start().known().await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_cannot_be_read_and_what_it_may_have_ended_is_discarded_and_counted() {
    let bed = Bed::new();
    let process = bed.start();
    let last = process.learn().await;
    bed.record.revoke(&digest(3));
    process.follow(last).await;
    bed.down(true);
    let kept = fs::read(bed.file()).unwrap();
    let text = String::from_utf8(kept.clone()).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("tollgate:")).count(), 6, "{text}");

    // Torn at the end: the rest counts.
    fs::write(bed.file(), [&kept, &b"-tollgate:key:0123"[..]].concat()).unwrap();
    let process = bed.start();
    assert_eq!((process.known().await.as_slice(), process.remembered.discarded()), (&[0, 1, 2, 4][..], 1));
    assert_eq!(fs::read(bed.file()).unwrap(), kept, "cut off");

    // The line that says that a key was revoked.
    bed.edit(|lines| lines.into_iter().map(|line| line.replacen("-tollgate", "-t0llgate", 1)).collect());
    let process = bed.start();
    assert_eq!((process.known().await.as_slice(), process.remembered.discarded()), (&[][..], 7));

    // One in the middle: what comes after it counts.
    fs::write(bed.file(), &kept).unwrap();
    bed.edit(|lines| {
        let damaged = |(n, line): (usize, String)| if n == 3 { line.replace("acme", "acm3") } else { line };
        lines.into_iter().enumerate().map(damaged).collect()
    });
    let process = bed.start();
    let known = process.known().await;
    assert!(known.len() < 4 && !known.contains(&3), "{known:?}");
    assert_eq!(process.remembered.discarded(), 3);

    // Of another record, and no journal at all.
    fs::write(bed.file(), &kept).unwrap();
    let process = bed.start_of("postgres://other/gate", None);
    assert_eq!((process.known().await.as_slice(), process.remembered.discarded()), (&[][..], 1));
    fs::write(bed.file(), [0; 5_000]).unwrap();
    assert!(bed.start().known().await.is_empty());
}

#[tokio::test]
async fn a_journal_that_is_ahead_of_its_record_or_too_old_is_begun_anew() {
    for (ahead, old) in [(1, Duration::ZERO), (0, CATCH_UP_MAX * 2)] {
        let bed = Bed::new();
        let last = bed.start().learn().await;
        let at = clock::now().minus(old);
        let line = Line::Confirmed { at, number: last + ahead }.text();
        bed.edit(|lines| [lines, vec![line.clone()]].concat());
        let process = bed.start();
        let last = process.record.last_change().await.unwrap();
        process.follow(last).await;
        bed.down(true);
        assert!(bed.start().known().await.is_empty());
    }
}

#[tokio::test]
async fn the_file_is_written_anew_and_says_the_same_of_what_there_is_room_for() {
    let mut bed = Bed::new();
    bed.entries_max = 2_000;
    let process = bed.start();
    let last = process.learn().await;
    process.remembered.nodes_are(Nodes { count: 3, place: 1 }).await;
    (10..6_000).for_each(|n| bed.record.put_key(digest(n), grant(n, "acme")));
    bed.record.revoke(&digest(0));
    let mut last = last;
    for _ in 0..7 {
        last = process.follow(last).await;
    }
    for n in (10..6_000).chain([1, 2]) {
        process.record.grant(&digest(n)).await.unwrap();
    }
    while process.remembered.overflown() == 0 {
        // A later instant is all that is new.
        process.remembered.confirmed_at.store(0, SeqCst);
        last = process.follow(last).await;
    }
    assert_eq!(process.remembered.overflown(), 5_990 + 2 + 3 - 2_000);
    let bytes = fs::metadata(bed.file()).unwrap().len();
    assert!(bytes < 2_500_000, "{bytes} bytes, of at least 3_500_000");
    bed.down(true);
    let process = bed.start();
    assert_eq!(process.remembered.nodes(), Some(Nodes { count: 3, place: 1 }));
    assert_eq!(process.known().await, [1, 2], "the ones that were read last");
    assert!(process.record.grant(&digest(5_999)).await.unwrap().is_some());
    assert_eq!(process.remembered.discarded(), 0);
}

#[tokio::test]
async fn without_room_on_disk_nothing_is_lent_and_everything_goes_on() {
    let bed = Bed::new();
    let process = bed.start();
    let last = process.learn().await;
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    process.remembered.journal.exchange(full);
    bed.record.revoke(&digest(1));
    let last = process.follow(last).await;
    assert!(process.remembered.overflown() > 0);
    assert!(process.record.grant(&digest(2)).await.unwrap().is_some());
    process.follow(last).await;
    bed.down(true);
    assert!(bed.start().known().await.is_empty(), "what could not be revoked is not there");
    let nowhere = bed.place.path().join("missing");
    assert!(Remembered::open(&nowhere, "r", 10, FOR, None).is_err());
}

#[tokio::test]
async fn an_index_that_others_have_kept_up_is_believed_more() {
    let bed = Bed::new();
    let redis = RedisServer::start();
    let index = || {
        let (timeout, keep_for) = (Duration::from_millis(400), Duration::from_secs(1_000));
        Arc::new(Index::new(&redis.url(), timeout, keep_for, FOR, Handle::current()).unwrap())
    };
    bed.start().learn().await;
    bed.down(true);
    // Nobody has kept the index up.
    let process = bed.start_of("postgres://db/gate", Some(index()));
    assert_eq!(process.known().await, [0, 1, 2, 3, 4]);
    bed.down(false);
    // Another gateway has, and has seen what this one has not.
    bed.record.revoke(&digest(1));
    let other = IndexedRecord::new(bed.record.clone(), index());
    let last = other.last_change().await.unwrap();
    for n in [2, 7] {
        other.grant(&digest(n)).await.unwrap();
    }
    other.changes_after(last, 10).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let is_there = |name: &str| redis.command(&["EXISTS", name]).trim() == "1";
    while !["tollgate:keys:followed", &key_name(&digest(2)), &key_name(&digest(7))].into_iter().all(is_there)
    {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bed.down(true);
    let process = bed.start_of("postgres://db/gate", Some(index()));
    assert_eq!(process.known().await, [2, 7]);
    assert_eq!(process.remembered.lent(), 0);
    // When none has followed for long it is believed no more, and the journal again, as long as that is.
    redis.command(&["DEL", "tollgate:keys:followed"]);
    let process = bed.start_of("postgres://db/gate", Some(index()));
    assert_eq!(process.known().await, [0, 1, 2, 3, 4]);
}
