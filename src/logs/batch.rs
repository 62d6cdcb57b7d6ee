//! Reading a piece of a segment: plain `pread`, every frame checked, and rows left to stand where they are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use ahash::AHashMap;

use super::codec::{self, Dictionary, Entry};
use super::frame::{self, Checksum, Step};
use crate::domain::id::RequestId;
use crate::domain::row::{Admission, Shape, Variables};
use crate::stores::record::RowSource;

/// Bytes read at a time: what a reader of the spool needs of memory.
const READ_BYTES: u64 = 8 * 1024 * 1024;
const _: () = assert!(READ_BYTES as usize >= frame::frame_bytes(codec::PAYLOAD_BYTES_MAX));

/// Memory for a piece, used again and again: what is given back and asked for again is cleared by the kernel every time,
/// which was two fifths of what shipping a row cost.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What was read.
    pub bytes: Vec<u8>,
    /// Where in it the payloads of rows stand.
    rows: Vec<Range<u32>>,
    /// The same of admissions whose rows were not met yet.
    open: AHashMap<RequestId, Range<u32>>,
}

/// What stands in a piece of a segment.
#[derive(Debug)]
pub(super) struct Batch {
    /// Rows, in the order in which they were written.
    pub rows: Piece,
    /// Admissions whose rows are not in this piece.
    pub opened: Vec<Admission<'static>>,
    /// Rows whose admissions are not in this piece.
    pub ended: Vec<RequestId>,
    /// The offset behind the last whole frame.
    pub next: u64,
    /// Why it ends there.
    pub stop: Stop,
}

/// Rows where they stand in a piece of a segment.
#[derive(Debug)]
pub(super) struct Piece {
    room: Room,
    /// Where in the segment the piece begins.
    offset: u64,
    /// What its rows name by number, and more.
    pub dictionary: Arc<Dictionary>,
}

/// Why a batch ends where it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stop {
    /// It has as many rows as were asked for.
    Full,
    /// The bytes are used up, or end inside a frame.
    Cut,
    /// The segment ends.
    End,
    /// What follows cannot be read, for this reason.
    Damaged(&'static str),
}

impl Batch {
    /// Reads what is in `room`, which stands at `offset` of a segment with these checksums that has given the numbers of
    /// `dictionary` before, until there are `most` rows.
    pub fn read(
        room: Room,
        checksum: Checksum,
        offset: u64,
        most: usize,
        dictionary: Arc<Dictionary>,
    ) -> Self {
        let mut batch = Self {
            rows: Piece { room, offset, dictionary },
            opened: Vec::new(),
            ended: Vec::new(),
            next: offset,
            stop: Stop::Full,
        };
        batch.stop = batch.fill(checksum, most);
        let Piece { room, dictionary, .. } = &mut batch.rows;
        for (_, payload) in room.open.drain() {
            match codec::admission(payload_in(&room.bytes, &payload), dictionary) {
                Some(admission) => batch.opened.push(admission),
                None => {
                    batch.stop = Stop::Damaged("an admission is whole, but not one that this program wrote");
                }
            }
        }
        batch
    }

    /// Finds entries; why it ended.
    fn fill(&mut self, checksum: Checksum, most: usize) -> Stop {
        let Piece { room: Room { bytes, rows, open }, dictionary, .. } = &mut self.rows;
        rows.clear();
        open.clear();
        let mut at = 0;
        while rows.len() < most {
            let (entry, frame) = match frame::step(checksum, bytes.get(at..).unwrap_or_default()) {
                Step::Entry(entry, frame) => (entry, frame),
                Step::Damaged(reason) => return Stop::Damaged(reason),
                Step::End | Step::Closed => return Stop::End,
                Step::Partial => return Stop::Cut,
            };
            let from = at + frame::HEAD_BYTES;
            let place = |payload: &[u8]| from as u32..(from + payload.len()) as u32;
            match entry {
                Entry::Defined(payload) => {
                    if Arc::make_mut(dictionary).define(payload).is_none() {
                        return Stop::Damaged("an owner or a shape is not the next of its segment");
                    }
                }
                Entry::Admitted(id, payload) => drop(open.insert(id, place(payload))),
                Entry::Finished(id, payload) => {
                    if open.remove(&id).is_none() {
                        self.ended.push(id);
                    }
                    rows.push(place(payload));
                }
            }
            at += frame;
            self.next += frame as u64;
        }
        Stop::Full
    }
}

impl Piece {
    /// How many of its rows end at or before an offset of the segment.
    pub fn count_to(&self, offset: u64) -> usize {
        let end = |payload: &Range<u32>| {
            let begin = payload.start as usize - frame::HEAD_BYTES;
            self.offset + (begin + frame::frame_bytes(payload.len())) as u64
        };
        self.room.rows.partition_point(|payload| end(payload) <= offset)
    }

    /// Its memory, for another one.
    pub fn into_room(self) -> Room {
        self.room
    }
}

impl RowSource for Piece {
    fn count(&self) -> usize {
        self.room.rows.len()
    }

    fn id(&self, at: usize) -> Option<RequestId> {
        codec::id(payload_in(&self.room.bytes, self.room.rows.get(at)?))
    }

    fn variables(&self, at: usize) -> Option<(Variables<'_>, Option<u32>)> {
        codec::variables(payload_in(&self.room.bytes, self.room.rows.get(at)?), &self.dictionary)
    }

    fn shape(&self, at: usize) -> Option<Shape<&str>> {
        codec::shape(payload_in(&self.room.bytes, self.room.rows.get(at)?), &self.dictionary)
    }
}

fn payload_in<'b>(bytes: &'b [u8], payload: &Range<u32>) -> &'b [u8] {
    bytes.get(payload.start as usize..payload.end as usize).unwrap_or_default()
}

/// Reads at most [`READ_BYTES`] of a file from `from`, and not beyond `to`, on a thread where a disk may be waited for.
/// Fewer bytes than asked for are the end of the file.
pub(super) async fn read_piece(path: PathBuf, from: u64, to: u64, mut room: Room) -> io::Result<Room> {
    let read = move || {
        let buffer = &mut room.bytes;
        buffer.resize(to.saturating_sub(from).min(READ_BYTES) as usize, 0);
        let file = File::open(path)?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, from + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(room)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
