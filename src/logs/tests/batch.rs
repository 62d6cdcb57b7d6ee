//! Rows find their admissions, wherever a segment is cut into pieces.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::torn::checksum;
use super::{SMALL, admission, id, row, settings};
use crate::domain::id::RequestId;
use crate::domain::row::Row;
use crate::logs::Spool;
use crate::logs::batch::{Batch, Room, Stop};
use crate::logs::bytes::put_varint;
use crate::logs::codec::{self, Said};
use crate::logs::frame::{self, Checksum};
use crate::stores::record::RowSource as _;

/// Reads a segment piece by piece, each of at most `bytes` bytes and `most` rows: the rows as they are shown, and which admissions are open then.
fn pieces(segment: &[u8], bytes: usize, most: usize) -> (Vec<String>, BTreeSet<RequestId>) {
    let (mut at, mut dictionary) = (frame::FIRST, Arc::default());
    let (mut rows, mut open) = (Vec::new(), BTreeSet::new());
    loop {
        let left = &segment[at as usize..];
        let mut room = Room::default();
        room.bytes.extend_from_slice(&left[..left.len().min(bytes)]);
        let batch = Batch::read(room, checksum(segment), at, most, dictionary);
        for at in 0..batch.rows.count() {
            let row = batch.rows.row(at).unwrap();
            assert_eq!(batch.rows.id(at), Some(row.id));
            rows.push(format!("{row:?}"));
        }
        open.retain(|id| !batch.ended.contains(id));
        open.extend(batch.opened.iter().map(|admission| admission.id));
        if batch.stop == Stop::End || left.is_empty() {
            return (rows, open);
        }
        assert!(batch.next > at, "a piece has a frame at least, and no damage: {:?}", batch.stop);
        (at, dictionary) = (batch.next, batch.rows.dictionary);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_row_has_its_admission_in_whatever_piece_that_is(
        steps in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 1..200),
        bytes in 600..3_000_usize, most in 1..30_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(&settings(dir.path(), 64 * SMALL, 4)).unwrap();
        let mut writer = spool.writer(0).unwrap();
        let path = spool.shared.segments.lock().values().next().unwrap().path.clone();
        let (mut open, mut written) = (Vec::new(), Vec::new());
        for (number, (what, which)) in steps.into_iter().enumerate() {
            let request = id(number as u128);
            if what < 2 {
                open.push((writer.admitted(&admission(request)).unwrap(), request));
            } else if what == 2 || open.is_empty() {
                let refused = Row { admitted: false, outcome: None, ..row(request) };
                writer.finished(None, &refused.as_ref()).unwrap();
                written.push(format!("{:?}", refused.as_ref()));
            } else {
                let (ticket, request) = open.swap_remove(which.index(open.len()));
                writer.finished(Some(ticket), &row(request).as_ref()).unwrap();
                written.push(format!("{:?}", row(request).as_ref()));
            }
        }
        let (rows, left) = pieces(&fs::read(&path).unwrap(), bytes, most);
        prop_assert_eq!(rows, written);
        prop_assert_eq!(left, open.into_iter().map(|(_, request)| request).collect());
    }
}

/// What earlier versions left, whose rows say their id.
#[test]
fn rows_that_say_their_id_have_their_admission_in_whatever_piece_that_is() {
    let first: &[u8] = include_bytes!("first_version.spool");
    let second: &[u8] = include_bytes!("second_version.spool");
    let fourth: &[u8] = include_bytes!("fourth_version.spool");
    for (segment, rows, open) in [(first, 3, 1), (second, 2, 0), (fourth, 4, 0)] {
        for most in 1..4 {
            let (read, left) = pieces(segment, segment.len(), most);
            assert_eq!((read.len(), left.len()), (rows, open), "pieces of {most} rows");
        }
    }
}

#[test]
fn a_row_of_no_open_admission_is_damage() {
    let checksum = Checksum::Xxh3(7);
    let mut segment = Vec::new();
    let mut frame = |payload: &[u8]| {
        segment.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        segment.extend_from_slice(&checksum.of(payload).to_le_bytes());
        segment.extend_from_slice(payload);
        segment.resize(segment.len().next_multiple_of(8), 0);
    };
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    let start = admission(id(1));
    codec::put_admission(&mut begin, &start, Said::Out(start.owner()));
    let row = row(id(1));
    codec::put_ended(&mut end, 0, &row.variables(), Said::Out(&row.shape()));
    frame(&begin);
    frame(&end);
    // The only one has a row already; and there is none before it, nor so far back.
    frame(&end);
    let mut far = vec![end[0]];
    put_varint(&mut far, u64::MAX);
    frame(&far);
    let read = |from: usize| {
        let mut room = Room::default();
        room.bytes.extend_from_slice(&segment[from..]);
        Batch::read(room, checksum, frame::FIRST, 10, Arc::default())
    };
    let batch = read(0);
    let damage = Stop::Damaged("a row names an admission that is not open");
    assert_eq!((batch.rows.count(), batch.opened.len(), batch.stop), (1, 0, damage));
    let batch = read(frame::frame_bytes(begin.len()));
    assert_eq!((batch.rows.count(), batch.stop, batch.next), (0, damage, frame::FIRST));
    let batch = read(frame::frame_bytes(begin.len()) + 2 * frame::frame_bytes(end.len()));
    assert_eq!((batch.rows.count(), batch.stop), (0, damage));
}
