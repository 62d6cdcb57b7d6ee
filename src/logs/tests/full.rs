//! No room: nothing promised is broken, nothing is lost uncounted, and it ends when room is back.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::record::MemoryRecord;
use super::{SMALL, admission, files, id, row, settings, spool, until, write_pair};
use crate::domain::row::Row;
use crate::logs::{Shipper, Spool, SpoolFull};

/// A row of the longest kind.
fn longest(number: u128) -> Row<'static> {
    let long = || Some(Cow::Owned("x".repeat(600)));
    Row {
        path: Cow::Owned("/".repeat(600)),
        tier: long(),
        domain: long(),
        target: long(),
        user_agent: long(),
        job: long(),
        ..row(id(number))
    }
}

/// Whether all segments of the budget are made, and each is with its writer: begun, closed, or a spare.
fn is_handed_out(spool: &Spool, segments: usize) -> bool {
    let closed = spool.shared.segments.lock().values().filter(|segment| segment.is_closed()).count();
    let slots = spool.shared.slots.lock();
    closed + slots.iter().map(|slot| 1 + slot.spares()).sum::<usize>() == segments
}

#[test]
fn whoever_was_admitted_has_room_for_the_longest_row() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 4);
    let mut writer = spool.writer(0).unwrap();
    let mut open = Vec::new();
    // Admit all that is allowed, then some: until the budget of four segments is promised away.
    until("the spool to be full", || {
        while writer.has_room() {
            open.push(writer.admitted(&admission(id(open.len() as u128))).unwrap());
        }
        is_handed_out(&spool, 4) && !writer.has_room()
    });
    let admitted = open.len() as u128;
    assert!(admitted >= 4 * 16, "{admitted}");
    assert_eq!(writer.admitted(&admission(id(admitted))), Err(SpoolFull));
    // A refused request has no claim to the room: its row may have what is left over, which is less than two.
    let refused = |number: u128| Row { admitted: false, ..longest(1 << 100 | number) };
    let fit = (0..).take_while(|number| writer.finished(None, &refused(*number).as_ref()).is_ok()).count();
    assert!(fit <= 1, "{fit}");
    for (ticket, number) in open.into_iter().zip(0..) {
        writer.finished(Some(ticket), &longest(number).as_ref()).unwrap();
    }
    assert_eq!(writer.open(), 0);
    let counts = spool.counts();
    assert_eq!((u128::from(counts.written), counts.dropped, counts.lost()), (admitted + fit as u128, 1, 1));
    assert!(spool.bytes() <= 4 * SMALL);
}

#[tokio::test]
async fn a_full_spool_has_room_again_once_it_is_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 3);
    let record = MemoryRecord::new();
    let mut shipper = Shipper::new(Arc::clone(&spool), record.clone());
    let mut writer = spool.writer(0).unwrap();
    let mut written = 0;
    for _ in 0..3 {
        until("the spool to be full", || {
            while writer.has_room() {
                write_pair(&mut writer, written);
                written += 1;
            }
            is_handed_out(&spool, 3) && !writer.has_room()
        });
        shipper.drain(Duration::from_secs(10)).await.unwrap();
        until("room", || writer.has_room());
    }
    assert_eq!(record.rows() as u128, written);
    assert_eq!(spool.counts().lost(), 0);
}

#[test]
fn a_thread_with_many_open_requests_does_not_starve_another() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let mut greedy = spool.writer(0).unwrap();
    let mut modest = spool.writer(1).unwrap();
    let mut open = Vec::new();
    until("the spool to be full", || {
        while greedy.has_room() {
            open.push(greedy.admitted(&admission(id(open.len() as u128))).unwrap());
        }
        is_handed_out(&spool, 8) && !greedy.has_room()
    });
    // Two segments are its own: some hundreds of rows.
    for number in 0..200 {
        assert!(modest.has_room(), "after {number} rows");
        let ticket = modest.admitted(&admission(id(1 << 64 | number))).unwrap();
        modest.finished(Some(ticket), &row(id(1 << 64 | number)).as_ref()).unwrap();
    }
}

#[test]
fn a_disk_that_stands_still_turns_nobody_away() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 40);
    let mut writer = spool.writer(0).unwrap();
    let first = spool.shared.segments.lock().values().next().cloned().unwrap();
    let still = first.stand_still();
    let segments = || spool.shared.segments.lock().len();
    let mut number = 0;
    // As fast as spares are made, which is all that may be waited for: through twenty segments.
    until("twenty segments", || {
        while writer.has_room() {
            write_pair(&mut writer, number);
            number += 1;
        }
        segments() >= 20
    });
    assert_eq!((spool.counts().dropped, first.unsynced()), (0, true));
    drop(still);
    until("the disk to have it", || !first.unsynced());
}

#[test]
fn too_small_a_budget_is_said_before_anything_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 3);
    let _first = spool.writer(0).unwrap();
    let error = spool.writer(1).unwrap_err().to_string();
    assert!(error.contains("logs.spool_bytes_max") && error.contains(&(4 * SMALL).to_string()), "{error}");
    let tiny = Spool::open(&settings(&dir.path().join("other"), 4096, 100)).unwrap_err().to_string();
    assert!(tiny.contains("logs.segment_bytes"), "{tiny}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_writer_never_breaks_a_promise(
        steps in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<prop::sample::Index>()), 1..1500),
        segments in 2_u64..6,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir, segments);
        let mut writer = spool.writer(0).unwrap();
        let (mut open, mut written, mut dropped) = (Vec::new(), 0, 0);
        for (number, (begin, long, which)) in steps.into_iter().enumerate() {
            let number = number as u128;
            if begin || open.is_empty() {
                let room = writer.has_room();
                let admitted = writer.admitted(&admission(id(number)));
                prop_assert!(admitted.is_ok() || !room);
                open.extend(admitted.ok().map(|ticket| (ticket, number)));
            } else {
                let (ticket, number) = open.swap_remove(which.index(open.len()));
                let row = if long { longest(number) } else { row(id(number)) };
                prop_assert_eq!(writer.finished(Some(ticket), &row.as_ref()), Ok(()));
                written += 1;
            }
            let refused = Row { admitted: false, ..row(id(1 << 100 | number)) };
            if long {
                match writer.finished(None, &refused.as_ref()) { Ok(()) => written += 1, Err(SpoolFull) => dropped += 1 }
            }
            prop_assert_eq!(writer.open(), open.len());
        }
        for (ticket, number) in open {
            prop_assert_eq!(writer.finished(Some(ticket), &longest(number).as_ref()), Ok(()));
            written += 1;
        }
        let counts = spool.counts();
        prop_assert_eq!((counts.written, counts.dropped), (written, dropped));
        prop_assert!(spool.bytes() <= segments * SMALL);
    }
}

/// A file system of one mebibyte; `None` where this user may not mount.
pub(super) struct SmallDisk(pub PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).output();
        mount.ok().filter(|output| output.status.success()).map(|_| Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_no_signal() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk")) else {
        eprintln!("not run: mounting a tmpfs needs root");
        return;
    };
    let spool = Spool::open(&settings(&disk.0.join("log"), SMALL, 1000)).unwrap();
    let mut writer = spool.writer(0).unwrap();
    let mut written = 0;
    until("the disk to be full", || {
        while writer.has_room() {
            write_pair(&mut writer, written);
            written += 1;
        }
        spool.counts().segment_failures > 0 && !writer.has_room()
    });
    assert!(written > 1000, "{written}");
    for file in files(spool.dir()) {
        assert_eq!(std::fs::metadata(&file).unwrap().len(), SMALL, "no half-made segment is left");
    }
    let record = MemoryRecord::new();
    let mut shipper = Shipper::new(Arc::clone(&spool), record.clone());
    shipper.drain(Duration::from_secs(10)).await.unwrap();
    until("room", || writer.has_room());
    write_pair(&mut writer, written);
    shipper.drain(Duration::from_secs(10)).await.unwrap();
    assert_eq!(record.rows() as u128, written + 1);
}
