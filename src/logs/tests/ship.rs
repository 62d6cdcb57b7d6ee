//! From writers to the record: once each, whatever the record does.

use std::sync::Arc;
use std::time::Duration;

use super::record::{MemoryRecord, Mood};
use super::{admission, files, id, row, spool, until, write_pair};
use crate::logs::{Shipper, Spool, Undrained, recover};

fn shipper(spool: &Arc<Spool>, record: &Arc<MemoryRecord>) -> Shipper {
    Shipper::new(Arc::clone(spool), record.clone())
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_and_every_row_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let record = MemoryRecord::new();
    let threads: Vec<_> = (0..2_u128)
        .map(|thread| {
            let mut writer = spool.writer(thread as usize).unwrap();
            std::thread::spawn(move || {
                for number in 0..5_000 {
                    write_pair(&mut writer, thread << 64 | number);
                }
            })
        })
        .collect();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut shipper = shipper(&spool, &record);
    let running = tokio::spawn(async move {
        shipper.run(async { drop(stopped.await) }).await;
        shipper
    });
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
    stop.send(()).unwrap();
    let mut shipper = running.await.unwrap();
    shipper.drain(LONG).await.unwrap();
    let counts = spool.counts();
    assert_eq!((counts.written, counts.shipped, counts.pending(), counts.lost()), (10_000, 10_000, 0, 0));
    assert_eq!(record.rows(), 10_000);
    assert!(record.state.lock().largest_batch <= 100);
    assert!(record.state.lock().cursors.is_empty());
    assert_eq!(spool.lag(), Duration::ZERO);
    drop((shipper, spool));
    assert_eq!(files(dir.path()), Vec::<std::path::PathBuf>::new(), "nothing is left on disk");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_behind_a_full_batch_waits_for_the_next_pass_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let record = MemoryRecord::new();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    // A full batch is 100 rows.
    (0..130).for_each(|number| write_pair(&mut writer, number));
    let shipped = async {
        while spool.counts().pending() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    shipper.run(shipped).await;
    assert_eq!(spool.lag(), Duration::ZERO);
    (130..260).for_each(|number| write_pair(&mut writer, number));
    shipper.drain(LONG).await.unwrap();
    let batches = record.state.lock().batches.clone();
    assert_eq!(batches.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [100, 30, 100, 30]);
    let beats = [0, 2].map(|at: usize| batches[at + 1].0 - batches[at].0);
    assert!(beats[0] >= Duration::from_millis(5), "a beat later: {beats:?}");
    assert_eq!(beats[1], Duration::ZERO, "whoever drains waits for nothing");
}

#[tokio::test]
async fn an_admission_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 4);
    let record = MemoryRecord::new();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    let (long, forever) = (id(1 << 100), id(1 << 101));
    let ticket = writer.admitted(&admission(long)).unwrap();
    let _never = writer.admitted(&admission(forever)).unwrap();
    let first = files(dir.path())[0].clone();
    let mut number = 0;
    while first.exists() {
        write_pair(&mut writer, number);
        number += 1;
        if number % 50 == 0 {
            shipper.drain(LONG).await.unwrap();
        }
    }
    assert_eq!(record.state.lock().carried.len(), 2, "both are carried");
    writer.finished(Some(ticket), &row(long).as_ref()).unwrap();
    shipper.drain(LONG).await.unwrap();
    let carried: Vec<_> = record.state.lock().carried.keys().copied().collect();
    assert_eq!(carried, [forever.0], "the one that ended is no longer carried");
    assert_eq!(record.rows() as u128, number + 1);
    // The process ends in order, and the next one finds the other.
    drop(writer);
    shipper.drain(LONG).await.unwrap();
    drop((shipper, spool));
    let spool = super::spool(&dir, 4);
    let found = recover(&spool, &*record).await.unwrap();
    assert_eq!((found.rows, found.crashed), (0, 1));
    assert_eq!(record.state.lock().rows[&forever.0], "gateway_crashed");
    assert_eq!(record.state.lock().rows[&long.0], "");
    assert!(record.state.lock().carried.is_empty());
    assert_eq!(recover(&spool, &*record).await.unwrap().crashed, 0);
}

#[tokio::test]
async fn the_record_goes_away_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 16);
    let record = MemoryRecord::new();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    write_pair(&mut writer, 0);
    shipper.drain(LONG).await.unwrap();
    record.mood(Mood::Down);
    for number in 1..1_500 {
        write_pair(&mut writer, number);
    }
    let undrained = shipper.drain(Duration::from_millis(60)).await;
    assert_eq!(undrained, Err(Undrained { pending: 1_499 }));
    assert!(record.state.lock().refused >= 1);
    assert!(spool.lag() > Duration::ZERO);
    assert_eq!(record.rows(), 1);
    record.mood(Mood::Up);
    shipper.drain(LONG).await.unwrap();
    assert_eq!(record.rows(), 1_500);
    let counts = spool.counts();
    assert_eq!((counts.written, counts.shipped, counts.lost()), (1_500, 1_500, 0));
}

#[tokio::test]
async fn a_batch_whose_fate_is_unknown_is_sent_again_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 16);
    let record = MemoryRecord::new();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    let long = id(1 << 100);
    let ticket = writer.admitted(&admission(long)).unwrap();
    record.mood(Mood::Mute);
    for number in 0..600 {
        write_pair(&mut writer, number);
    }
    shipper.drain(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(spool.counts().shipped, 0, "no batch was acknowledged");
    assert!(record.rows() > 0, "though some were taken");
    record.mood(Mood::Up);
    shipper.drain(LONG).await.unwrap();
    writer.finished(Some(ticket), &row(long).as_ref()).unwrap();
    shipper.drain(LONG).await.unwrap();
    assert_eq!((record.rows(), spool.counts().shipped), (601, 601));
    assert!(record.state.lock().carried.is_empty());
}

#[tokio::test]
async fn recovery_interrupted_anywhere_and_begun_again_ends_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let before = MemoryRecord::new();
    let spool = spool(&dir, 16);
    let mut shipper = shipper(&spool, &before);
    let mut writer = spool.writer(0).unwrap();
    let _never = writer.admitted(&admission(id(1 << 100))).unwrap();
    for number in 0..200 {
        write_pair(&mut writer, number);
    }
    shipper.drain(LONG).await.unwrap();
    assert_eq!(before.state.lock().carried.len(), 0);
    let _never = writer.admitted(&admission(id(1 << 101))).unwrap();
    for number in 200..500 {
        write_pair(&mut writer, number);
    }
    let mut interrupted = 0;
    for left in 0.. {
        let dir = as_killed(dir.path());
        let record = MemoryRecord::new();
        {
            let (mut to, from) = (record.state.lock(), before.state.lock());
            (to.rows, to.cursors) = (from.rows.clone(), from.cursors.clone());
            to.left = Some(left);
        }
        let spool = super::spool(&dir, 16);
        let first = recover(&spool, &*record).await;
        drop(spool);
        record.state.lock().left = None;
        let spool = super::spool(&dir, 16);
        let again = recover(&spool, &*record).await.unwrap();
        assert_eq!((record.rows(), record.crashed()), (502, 2), "interrupted after {left} batches");
        assert!(record.state.lock().carried.is_empty() && record.state.lock().cursors.is_empty());
        assert_eq!(files(dir.path()).len(), 0);
        assert_eq!(spool.counts().pending(), 0);
        if let Ok(found) = first {
            assert_eq!((found.rows, found.crashed), (300, 2));
            assert_eq!((again.rows, again.crashed), (0, 0));
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted >= 4, "there were {interrupted} places to interrupt");
}

/// A directory as it would be left if the process that writes to `dir` were killed now.
fn as_killed(dir: &std::path::Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    for file in files(dir) {
        std::fs::copy(&file, left.path().join(file.file_name().unwrap())).unwrap();
    }
    left
}

#[tokio::test]
async fn damage_under_a_running_gateway_is_counted() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let record = MemoryRecord::new();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    for number in 0..10 {
        write_pair(&mut writer, number);
    }
    shipper.drain(LONG).await.unwrap();
    let (path, at) = {
        let segments = spool.shared.segments.lock();
        let segment = segments.values().next().unwrap();
        (segment.path.clone(), segment.written())
    };
    for number in 10..15 {
        write_pair(&mut writer, number);
    }
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"?", at + 12).unwrap();
    shipper.drain(Duration::from_millis(30)).await.unwrap_err();
    // The stream goes on with the next segment once this one is closed.
    let mut number = 15;
    until("the next segment", || {
        write_pair(&mut writer, number);
        number += 1;
        spool.shared.segments.lock().values().next().unwrap().is_closed()
    });
    drop(writer);
    shipper.drain(LONG).await.unwrap();
    let counts = spool.counts();
    assert_eq!(counts.written as u128, number);
    assert!(counts.damaged >= 5);
    assert_eq!(counts.shipped + counts.damaged, counts.written);
    assert_eq!(record.rows() as u64, counts.shipped);
    assert!(files(dir.path())[0].to_str().unwrap().ends_with(".damaged"));
    assert_eq!(spool.bytes(), super::SMALL, "what is set aside still counts");
}

#[tokio::test]
async fn a_row_that_the_record_refuses_is_lost_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let record = MemoryRecord::new();
    record.state.lock().poison = [0, 17, 18, 250].map(|number| id(number).0).into();
    let mut shipper = shipper(&spool, &record);
    let mut writer = spool.writer(0).unwrap();
    for number in 0..300 {
        write_pair(&mut writer, number);
    }
    shipper.drain(LONG).await.unwrap();
    let counts = spool.counts();
    assert_eq!((counts.written, counts.shipped, counts.refused, counts.lost()), (300, 296, 4, 4));
    assert_eq!(record.rows(), 296);
    // Nor does it hold up a start.
    record.state.lock().poison.insert(id(301).0);
    for number in 300..303 {
        write_pair(&mut writer, number);
    }
    let left = as_killed(dir.path());
    let spool = super::spool(&left, 8);
    assert_eq!(recover(&spool, &*record).await.unwrap().damaged, []);
    let counts = spool.counts();
    assert_eq!((counts.written, counts.shipped, counts.refused), (3, 2, 1));
    assert!(record.state.lock().rows.contains_key(&id(302).0));
    assert!(record.state.lock().cursors.is_empty() && files(left.path()).is_empty());
}
