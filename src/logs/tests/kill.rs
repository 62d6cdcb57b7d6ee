//! `kill -9` at random moments: the test runs itself as a child that serves from two threads into a spool and
//! ships it to SQLite, and tells over a pipe what it promised. Then it is recovered and counted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Row as _};
use uuid::Uuid;

use super::{SMALL, admission, id, row, settings};
use crate::domain::cost::Outcome;
use crate::domain::id::KeyId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::logs::{Shipper, Spool, recover};
use crate::stores::record::UsageRecord as _;
use crate::stores::record::sqlite::SqliteRecord;

const DIR: &str = "TOLLGATE_TEST_SPOOL";
const KILLS: usize = 30;
const SEGMENTS: u64 = 32;
/// Request id, and what happened to it.
const MESSAGE_BYTES: usize = 17;
const ADMITTED: u8 = b'A';
const FINISHED: u8 = b'F';
const REFUSED: u8 = b'R';

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn record_path(dir: &Path) -> PathBuf {
    dir.join("record/tollgate.db")
}

/// The child; where the variable is not set, nothing.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let spool = Spool::open(&settings(&dir.join("log"), SMALL, SEGMENTS)).unwrap();
    let pipe = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    for thread in 0..2 {
        let (spool, pipe) = (Arc::clone(&spool), pipe.try_clone().unwrap());
        std::thread::spawn(move || serve(&spool, thread, pipe));
    }
    runtime().block_on(async {
        let record = Arc::new(SqliteRecord::open(&record_path(&dir)).await.unwrap());
        Shipper::new(spool, record).run(std::future::pending()).await;
    });
}

/// Serves as fast as it can. One request in a hundred stays open for long, one in a thousand for good, one in
/// fifty is refused.
fn serve(spool: &Arc<Spool>, thread: usize, pipe: OwnedFd) {
    let mut pipe = File::from(pipe);
    let mut tell = |what: u8, id: Uuid| {
        let mut message = [what; MESSAGE_BYTES];
        message[1..].copy_from_slice(id.as_bytes());
        pipe.write_all(&message).unwrap();
    };
    let mut writer = spool.writer(thread).unwrap();
    let mut slow = std::collections::VecDeque::new();
    for number in 0_u64.. {
        while !writer.has_room() {
            std::thread::yield_now();
        }
        let request = Uuid::now_v7();
        let request_id = id(request.as_u128());
        if number % 50 == 7 {
            let refused = Row { admitted: false, outcome: None, ..row(request_id) };
            if writer.finished(None, &refused.as_ref()).is_ok() {
                tell(REFUSED, request);
            }
            continue;
        }
        let ticket = writer.admitted(&admission(request_id)).unwrap();
        tell(ADMITTED, request);
        match number {
            _ if number % 1000 == 3 => {}
            _ if number % 100 == 5 => slow.push_back((ticket, request)),
            _ => {
                writer.finished(Some(ticket), &row(request_id).as_ref()).unwrap();
                tell(FINISHED, request);
            }
        }
        if slow.len() > 20
            && let Some((ticket, request)) = slow.pop_front()
        {
            writer.finished(Some(ticket), &row(id(request.as_u128())).as_ref()).unwrap();
            tell(FINISHED, request);
        }
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logs::tests::kill::child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child, kills it `after` its first message, and returns everything it told.
#[allow(clippy::disallowed_methods, reason = "the time slept is the moment of death that is being tried")]
fn run_and_kill(dir: &Path, after: Duration) -> Vec<u8> {
    let mut child = spawn(dir);
    let mut pipe = child.stderr.take().unwrap();
    let (first, began) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut told, mut some) = (Vec::new(), [0; 1 << 16]);
        loop {
            match pipe.read(&mut some).unwrap() {
                0 => return told,
                bytes => told.extend_from_slice(&some[..bytes]),
            }
            let _ = first.send(());
        }
    });
    began.recv_timeout(Duration::from_secs(30)).expect("the child began to serve");
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[derive(Default)]
struct Told {
    admitted: HashSet<Uuid>,
    finished: HashSet<Uuid>,
    refused: HashSet<Uuid>,
}

impl Told {
    fn add(&mut self, bytes: &[u8]) {
        // The kill may have cut the last message.
        for message in bytes.chunks_exact(MESSAGE_BYTES) {
            let id = Uuid::from_slice(&message[1..]).unwrap();
            let set = match message[0] {
                ADMITTED => &mut self.admitted,
                FINISHED => &mut self.finished,
                REFUSED => &mut self.refused,
                other => panic!("the child said {other}: {}", String::from_utf8_lossy(bytes)),
            };
            assert!(set.insert(id));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut crashed = 0;
    for _ in 0..KILLS {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let after = Duration::from_micros(u64::from(u16::from_le_bytes(random)) * 3 / 2);
        told.add(&run_and_kill(dir.path(), after));
        let spool = Spool::open(&settings(&dir.path().join("log"), SMALL, SEGMENTS)).unwrap();
        let found = runtime().block_on(async {
            let record = SqliteRecord::open(&record_path(dir.path())).await.unwrap();
            let found = recover(&spool, &record).await.unwrap();
            record.close().await;
            found
        });
        assert_eq!(found.damaged, []);
        assert!(found.segments > 0);
        assert_eq!(super::files(spool.dir()).len(), 0);
        crashed += found.crashed;
    }
    let (rows, usage) = runtime().block_on(read_record(&record_path(dir.path())));
    let outcome_of: std::collections::HashMap<Uuid, Option<i64>> = rows.iter().copied().collect();
    for id in &told.finished {
        assert_eq!(outcome_of.get(id), Some(&Some(Outcome::Success as i64)), "{id} was finished");
    }
    for id in &told.refused {
        assert_eq!(outcome_of.get(id), Some(&None), "{id} was refused");
    }
    for id in told.admitted.difference(&told.finished) {
        assert!(outcome_of[id].is_some(), "{id} was admitted");
    }
    // A request whose message the kill swallowed may be there; at most one for each thread and kill.
    let untold =
        rows.iter().filter(|(id, _)| !told.admitted.contains(id) && !told.refused.contains(id)).count();
    assert!(untold <= 2 * KILLS, "{untold} rows from nowhere");
    let admitted = rows.iter().filter(|(_, outcome)| outcome.is_some()).count() as u64;
    assert_eq!(usage, admitted, "sums count every admitted row once");
    let marked = rows.iter().filter(|(_, outcome)| *outcome == Some(Outcome::Crashed as i64)).count() as u64;
    assert_eq!(marked, crashed);
    assert!(told.finished.len() > 1000 && crashed > KILLS as u64, "the test did something");
    eprintln!(
        "{} finished, {} refused, {crashed} crashed, {untold} untold",
        told.finished.len(),
        told.refused.len()
    );
}

/// Every row's id and outcome, and the key's total.
async fn read_record(path: &Path) -> (Vec<(Uuid, Option<i64>)>, u64) {
    let mut db = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let rows = sqlx::query("SELECT id, outcome FROM requests").fetch_all(&mut db).await.unwrap();
    let rows = rows
        .iter()
        .map(|row| (Uuid::from_slice(row.get::<&[u8], _>(0)).unwrap(), row.get::<Option<i64>, _>(1)))
        .collect();
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM open_admissions) + (SELECT count(*) FROM spool_cursors)",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(left, 0);
    db.close().await.unwrap();
    let record = SqliteRecord::open(path).await.unwrap();
    let (_, totals) = record.usage_since(Timestamp::from_seconds(0)).await.unwrap();
    record.close().await;
    let total =
        totals.iter().find(|(_, key, _)| *key == KeyId(Uuid::from_u128(7))).map_or(0, |total| total.2);
    (rows, total)
}
