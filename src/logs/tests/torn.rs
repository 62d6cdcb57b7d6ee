//! Segments cut, overwritten and half written: what stood before the damage is never lost.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::MemoryRecord;
use super::{files, id, settings, spool, until, write_pair};
use crate::logs::batch::{Batch, Room, Stop};
use crate::logs::frame::Checksum;
use crate::logs::{Spool, frame, recover};
use crate::stores::record::RowSource as _;

/// A segment as a killed process leaves it (without its closing mark): its path, and `rows` pairs in it.
fn left_behind(dir: &tempfile::TempDir, rows: u128) -> (PathBuf, Vec<u8>) {
    let spool = spool(dir, 4);
    let mut writer = spool.writer(0).unwrap();
    for number in 0..rows {
        write_pair(&mut writer, number);
    }
    let path = spool.shared.segments.lock().values().next().unwrap().path.clone();
    let bytes = fs::read(&path).unwrap();
    drop((writer, spool));
    for file in files(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    (path, bytes)
}

/// What stands in a segment.
pub(super) fn batch_in(segment: &[u8]) -> Batch {
    let (header, frames) = segment.split_at(frame::FIRST as usize);
    let mut room = Room::default();
    room.bytes.extend_from_slice(frames);
    Batch::read(room, checksum(header), frame::FIRST, 1_000, Arc::default())
}

pub(super) fn checksum(header: &[u8]) -> Checksum {
    frame::checksum_in(&header[..frame::FIRST as usize]).unwrap().unwrap()
}

/// Ends of the frames in a segment: one that gives the owner a number, an admission, one that gives the shape a number, a row, and
/// then admissions and rows in turn.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut at = frame::FIRST as usize;
    let mut ends = Vec::new();
    while let frame::Step::Entry(_, _, bytes) = frame::step(checksum(bytes), &bytes[at..]) {
        at += bytes;
        ends.push(at);
    }
    ends
}

/// Rows among the first `frames` of them.
fn rows_in(frames: usize) -> usize {
    frames.saturating_sub(2) / 2
}

#[test]
fn cut_at_any_byte_every_whole_frame_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = left_behind(&dir, 12);
    let ends = ends(&bytes);
    assert_eq!(ends.len(), 26);
    let first = frame::FIRST as usize;
    for cut in first..*ends.last().unwrap() {
        let whole = ends.iter().rfind(|end| **end <= cut).copied().unwrap_or(first);
        // The file ends there.
        let batch = batch_in(&bytes[..cut]);
        assert_eq!((batch.next, batch.stop), (whole as u64, Stop::Cut), "cut at {cut}");
        // The rest was never written: what a power cut leaves.
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        let batch = batch_in(&zeroed);
        let last = ends.iter().find(|end| **end > cut).unwrap();
        // Zeros at the end of a frame may be what stood there: padding, or a last byte of zero.
        if zeroed[..*last] != bytes[..*last] {
            assert_eq!(batch.next, whole as u64, "zeros from {cut}");
            assert!(!matches!(batch.stop, Stop::Full | Stop::Cut));
        }
        let whole = ends.iter().filter(|end| **end <= batch.next as usize).count();
        assert_eq!(batch.rows.count(), rows_in(whole));
    }
}

#[tokio::test]
async fn a_damaged_segment_gives_what_stands_before_and_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = left_behind(&dir, 12);
    let ends = ends(&bytes);
    // Damage in the frame behind `ends[at]`.
    for at in [0, 1, 2, 3, 4, 9, 22] {
        let mut damaged = bytes.clone();
        damaged[ends[at] + 20] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let record = MemoryRecord::new();
        let spool = spool(&dir, 4);
        let found = recover(&spool, &*record).await.unwrap();
        assert_eq!(found.damaged.len(), 1);
        assert_eq!(found.damaged[0].offset, ends[at] as u64);
        assert_eq!(found.damaged[0].segment, path.file_name().unwrap().to_str().unwrap());
        let whole = at + 1;
        let rows = rows_in(whole) as u64;
        let open = [1, 2].contains(&at) as u64 + (whole > 4 && whole % 2 == 1) as u64;
        assert_eq!((found.rows, found.crashed), (rows, open), "damage behind frame {at}");
        assert_eq!(record.rows() as u64, rows + open);
        let left = files(dir.path());
        assert_eq!(left.len(), 1);
        assert!(left[0].to_str().unwrap().ends_with(".spool.damaged"), "{left:?}");
        assert_eq!(fs::read(&left[0]).unwrap(), damaged, "kept as it was");
        fs::remove_file(&left[0]).unwrap();
    }
}

#[tokio::test]
async fn a_row_that_is_whole_and_cannot_be_read_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut bytes) = left_behind(&dir, 12);
    // The row of the fifth request: behind kind, id and instant, its flags are such as nobody writes.
    let frame = ends(&bytes)[10];
    let length = u32::from_le_bytes(bytes[frame..frame + 4].try_into().unwrap()) as usize;
    let checksum = checksum(&bytes);
    let payload = &mut bytes[frame + frame::HEAD_BYTES..][..length];
    let flags = payload.len().min(17) + payload[17..].iter().position(|byte| *byte < 0x80).unwrap() + 1;
    payload[flags] = 0xff;
    let sum = checksum.of(payload).to_le_bytes();
    bytes[frame + 4..frame + 8].copy_from_slice(&sum);
    fs::write(&path, &bytes).unwrap();
    let record = MemoryRecord::new();
    let spool = spool(&dir, 4);
    let found = recover(&spool, &*record).await.unwrap();
    assert_eq!((found.rows, found.crashed, found.damaged), (12, 0, Vec::new()));
    let counts = spool.counts();
    assert_eq!((counts.shipped, counts.refused), (11, 1));
    assert_eq!(record.rows(), 11);
}

/// `first_version.spool` is what the version before this one had left when it was killed: of four requests, one to a
/// domain, one with an unknown key and one without its row.
#[tokio::test]
async fn what_the_first_version_left_is_moved_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x-000-000001.spool"), include_bytes!("first_version.spool")).unwrap();
    let batch = batch_in(include_bytes!("first_version.spool"));
    let said = |at: usize| {
        let row = batch.rows.row(at).unwrap();
        (row.status, row.key.is_some(), row.organization, row.domain, row.user_agent)
    };
    assert_eq!(said(0), (200, true, Some("bench"), None, Some("Python-urllib/3.11")));
    assert_eq!(said(1), (200, true, Some("bench"), Some("shop.example"), Some("curl/8.0")));
    assert_eq!(said(2), (401, false, None, None, Some("Python-urllib/3.11")));
    let open = batch.opened.first().unwrap();
    assert_eq!((open.organization.as_deref(), open.estimate.microcents), (Some("bench"), 1_000));
    let rows: Vec<_> = (0..3).map(|at| batch.rows.row(at).unwrap()).collect();
    for (id, at) in rows.iter().map(|row| (row.id, row.at)).chain([(open.id, open.at)]) {
        assert_eq!(at.micros() / 1_000, (id.0.as_u128() >> 80) as u64, "the instant of {id}");
    }

    let record = MemoryRecord::new();
    let found = recover(&spool(&dir, 4), &*record).await.unwrap();
    assert_eq!((found.segments, found.rows, found.crashed, found.damaged), (1, 3, 1, vec![]));
    assert_eq!((record.rows(), record.crashed()), (4, 1));
    assert!(files(dir.path()).is_empty());
}

/// `second_version.spool` is what the version before owners and shapes were said apart had left: two requests of one key, of
/// which the second names its owner by number, as their rows do.
#[tokio::test]
async fn what_the_second_version_left_is_moved_over() {
    let left = include_bytes!("second_version.spool");
    let batch = batch_in(left);
    for at in 0..2 {
        let row = batch.rows.row(at).unwrap();
        let whose = (row.key.is_some(), row.organization, row.project.is_some());
        assert_eq!(whose, (true, Some("demo"), true));
        assert_eq!((row.status, row.method, row.path, row.admitted), (502, "POST", "/api/v1/scrape", true));
        assert_eq!((row.domain, row.user_agent), (Some("shop.example"), Some("old/1")));
        assert_eq!(row.at.micros() / 1_000, (row.id.0.as_u128() >> 80) as u64);
    }
    // As if the process had been killed before the second row.
    for (bytes, rows, crashed) in [(&left[..], 2, 0), (&left[..*ends(left).last().unwrap() - 8], 1, 1)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x-000-000001.spool"), bytes).unwrap();
        let record = MemoryRecord::new();
        let found = recover(&spool(&dir, 4), &*record).await.unwrap();
        assert_eq!((found.segments, found.rows, found.crashed), (1, rows, crashed));
        assert_eq!((record.rows(), record.crashed()), (2, crashed as usize));
    }
}

/// `fourth_version.spool` is what the version before tickets had left: three requests of one key and a refused one, which have
/// their owner and shape in common with others.
#[tokio::test]
async fn what_the_fourth_version_left_is_moved_over() {
    let left = include_bytes!("fourth_version.spool");
    let batch = batch_in(left);
    let rows: Vec<_> = (0..4).map(|at| batch.rows.row(at).unwrap()).collect();
    let said: Vec<_> = rows.iter().map(|row| (row.status, row.code, row.path, row.domain)).collect();
    let scrape = "/api/v1/scrape";
    let expected = [
        (200, "", scrape, Some("shop.example")),
        (501, "", "/hang", None),
        (200, "", scrape, Some("shop.example")),
        (401, "invalid_api_key", scrape, None),
    ];
    assert_eq!(said, expected);
    assert_eq!(
        rows.iter().map(|row| row.organization).collect::<Vec<_>>(),
        [Some("demo"), Some("demo"), Some("demo"), None]
    );
    // As if the process had been killed before the third row.
    let all = ends(left);
    for (bytes, rows, crashed) in [(&left[..], 4, 0), (&left[..all[all.len() - 5]], 2, 1)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x-000-000001.spool"), bytes).unwrap();
        let record = MemoryRecord::new();
        let found = recover(&spool(&dir, 4), &*record).await.unwrap();
        assert_eq!((found.segments, found.rows, found.crashed), (1, rows, crashed));
    }
}

#[tokio::test]
async fn files_of_another_kind_and_empty_ones_are_survived() {
    for (content, damaged) in [
        (&b""[..], false),
        (&[0; 4096][..], false),
        (&b"TOLLSPL1"[..], true),
        (&b"TOLLSPL2"[..], true),
        (&b"TOLLSPL9\0\0\0\0\0\0\0\0\0\0\0\0"[..], true),
        (&b"not a segment at all, but a text"[..], true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x-000-000001.spool"), content).unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let record = MemoryRecord::new();
        let spool = spool(&dir, 4);
        let found = recover(&spool, &*record).await.unwrap();
        assert_eq!((found.segments, found.damaged.len()), (1, usize::from(damaged)), "{content:?}");
        assert!(dir.path().join("notes.txt").exists());
    }
}

#[test]
fn a_frame_is_in_the_file_as_soon_as_finished_returns() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 4);
    let mut writer = spool.writer(0).unwrap();
    let path = spool.shared.segments.lock().values().next().unwrap().path.clone();
    for number in 0..20 {
        write_pair(&mut writer, number);
        let bytes = fs::read(&path).unwrap();
        let batch = batch_in(&bytes);
        assert_eq!(batch.rows.count() as u128, number + 1);
        assert_eq!(batch.rows.id(number as usize), Some(id(number)));
    }
}

#[test]
fn one_directory_is_for_one_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let first = spool(&dir, 4);
    let writer = first.writer(0).unwrap();
    drop(first);
    // A writer that lives keeps the directory.
    let error = Spool::open(&settings(dir.path(), super::SMALL, 4)).unwrap_err().to_string();
    assert!(
        error.contains(dir.path().to_str().unwrap()) && error.contains("stop it, or give this one"),
        "{error}"
    );
    drop(writer);
    until("the directory", || Spool::open(&settings(dir.path(), super::SMALL, 4)).is_ok());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Spool::open(&settings(&file.join("log"), super::SMALL, 4)).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}
