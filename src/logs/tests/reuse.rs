//! Files that are used again: nothing of the segment that a file was before is taken for the present one's.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::record::MemoryRecord;
use super::torn::batch_in;
use super::{SMALL, files, id, row, spool, write_pair};
use crate::domain::id::RequestId;
use crate::logs::batch::{Batch, Stop};
use crate::logs::codec::{self, Said};
use crate::logs::segment::{Blank, Segment};
use crate::logs::{Shipper, frame};
use crate::stores::record::RowSource as _;

/// Writes rows behind `at`; where they end.
fn write(blank: &mut Blank, mut at: usize, numbers: Range<u128>) -> usize {
    for number in numbers {
        let mut payload = Vec::new();
        let row = row(id(number));
        codec::put_row(&mut payload, &row.variables(), Said::Out(row.owner()), Said::Out(&row.shape()));
        blank.mapping.publish(at, blank.segment.checksum.of(&payload), &payload);
        at += frame::frame_bytes(payload.len());
    }
    at
}

fn ids(batch: &Batch) -> Vec<RequestId> {
    (0..batch.rows.count()).map(|at| batch.rows.id(at).unwrap()).collect()
}

#[test]
fn wherever_writing_ended_only_rows_of_this_segment_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut blank = Segment::create(dir.path(), "boot", (0, 1), SMALL).unwrap();
    let path = blank.segment.path.clone();
    let first = frame::FIRST as usize;
    let end = write(&mut blank, first, 0..300);
    let full = fs::read(&path).unwrap();
    assert_eq!(batch_in(&full).next, end as u64);
    let Blank { segment, mapping } = blank;
    drop(mapping);

    let used = segment.give_up().unwrap();
    let header = |bytes: &[u8]| frame::checksum_in(&bytes[..first]);
    assert_eq!(header(&fs::read(&path).unwrap()), Ok(None), "nobody reads it again");
    let mut blank = Segment::reuse(used, "boot", (0, 2), SMALL).unwrap();
    assert!(!path.exists() && blank.segment.path.exists());
    let mut at = first;
    for number in 1_000..1_060 {
        let bytes = fs::read(&blank.segment.path).unwrap();
        let batch = batch_in(&bytes);
        let written: Vec<_> = (1_000..number).map(id).collect();
        assert_eq!((ids(&batch), batch.next, batch.stop), (written, at as u64, Stop::End));
        at = write(&mut blank, at, number..number + 1);
    }

    // The machine dies, and the disk has the new bytes up to anywhere only.
    let bytes = fs::read(&blank.segment.path).unwrap();
    let written: Vec<_> = (1_000..1_060).map(id).collect();
    for cut in (first..at + 64).step_by(8) {
        let torn = [&bytes[..cut], &full[cut..]].concat();
        let batch = batch_in(&torn);
        assert!(written.starts_with(&ids(&batch)), "cut at {cut}");
        assert!(batch.next as usize + 1_000 > cut.min(at), "cut at {cut}: what is whole is read");
    }
    // Or all of them but the first.
    let torn = [&full[..512], &bytes[512..]].concat();
    let of_before: Vec<_> = (0..300).map(id).collect();
    assert!(of_before.starts_with(&ids(&batch_in(&torn))), "which the record has");
}

#[tokio::test]
async fn what_is_shipped_makes_room_in_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(&dir, 8);
    let record = MemoryRecord::new();
    let mut shipper = Shipper::new(spool.clone(), record.clone());
    let mut writer = spool.writer(0).unwrap();
    let (mut names, mut inodes) = (HashSet::new(), HashSet::new());
    for number in 0..30_000 {
        write_pair(&mut writer, number);
        if number % 50 == 0 {
            shipper.drain(Duration::from_secs(10)).await.unwrap();
            for file in files(dir.path()) {
                inodes.insert(fs::metadata(&file).unwrap().ino());
                names.insert(file);
            }
        }
    }
    assert!(names.len() > 10, "{} segments", names.len());
    assert!(2 * inodes.len() < names.len(), "{} files of {} segments", inodes.len(), names.len());
    assert_eq!(spool.bytes(), files(dir.path()).len() as u64 * SMALL);
    drop(writer);
    shipper.drain(Duration::from_secs(10)).await.unwrap();
    assert_eq!(record.rows(), 30_000);
    assert_eq!((spool.bytes(), files(dir.path())), (0, Vec::new()));
}
