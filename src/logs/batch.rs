//! Reading a piece of a segment: plain `pread`, every frame checked, and rows left to stand where they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use ahash::AHashMap;

use super::codec::{self, Dictionary, Entry, Written};
use super::frame::{self, Checksum, Step};
use crate::domain::id::RequestId;
use crate::domain::row::{Admission, Owner, Shape, Variables};
use crate::stores::record::{Numbers, RowSource};

/// Bytes read at a time: what a reader of the spool needs of memory.
const READ_BYTES: u64 = 8 * 1024 * 1024;
const _: () = assert!(READ_BYTES as usize >= frame::frame_bytes(codec::PAYLOAD_BYTES_MAX));

/// Memory for a piece, used again and again: what is given back and asked for again is cleared by the kernel every time,
/// which was two fifths of what shipping a row cost.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What was read.
    pub bytes: Vec<u8>,
    rows: Vec<RowAt>,
    /// Where the payloads of admissions stand: first of those that were open before, then of those in the piece; 0 where the row
    /// was met.
    admissions: Vec<u32>,
}

/// Where in a piece the payload of a row stands, and that of its admission; 0 where it has none in its segment.
#[derive(Clone, Copy, Debug)]
struct RowAt {
    row: u32,
    admission: u32,
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
        let before = batch.rows.take_over_open();
        batch.stop = batch.fill(checksum, most, before);
        batch.match_by_id(before);
        batch.leave_open(before);
        batch
    }

    /// Finds entries; why it ended.
    fn fill(&mut self, checksum: Checksum, most: usize, before: Before) -> Stop {
        let Piece { room: Room { bytes, rows, admissions }, dictionary, .. } = &mut self.rows;
        rows.clear();
        let mut at = 0;
        while rows.len() < most {
            let left = bytes.get(at..before.bytes).unwrap_or_default();
            let (entry, payload, frame) = match frame::step(checksum, left) {
                Step::Entry(entry, payload, frame) => (entry, payload, frame),
                Step::Damaged(reason) => return Stop::Damaged(reason),
                Step::End | Step::Closed => return Stop::End,
                Step::Partial => return Stop::Cut,
            };
            let row = (at + frame::HEAD_BYTES) as u32;
            match entry {
                Entry::Defined => {
                    if Arc::make_mut(dictionary).define(payload).is_none() {
                        return Stop::Damaged("an owner or a shape is not the next of its segment");
                    }
                }
                Entry::Admitted(_) => admissions.push(row),
                Entry::Finished(id) => {
                    self.ended.push(id);
                    rows.push(RowAt { row, admission: 0 });
                }
                Entry::Ended(back) => {
                    let place = before.place(back, admissions.len(), dictionary);
                    let open = place.and_then(|place| Some((place, admissions.get_mut(place)?)));
                    let Some((place, open)) = open.filter(|(_, open)| **open != 0) else {
                        return Stop::Damaged("a row names an admission that is not open");
                    };
                    let admission = std::mem::take(open);
                    if place < before.admissions {
                        self.ended
                            .extend(Written { row: payload, admission: payload_at(bytes, admission) }.id());
                    }
                    rows.push(RowAt { row, admission });
                }
            }
            at += frame;
            self.next += frame as u64;
        }
        Stop::Full
    }

    /// Finds the admissions of rows that say their id: every one in segments of earlier versions, and none in those of this one,
    /// where such rows have their admission in another segment, or have none.
    fn match_by_id(&mut self, before: Before) {
        let Piece { room: Room { bytes, admissions, .. }, .. } = &mut self.rows;
        if self.ended.is_empty() {
            return;
        }
        let id = |at: u32| match codec::read(payload_at(bytes, at)) {
            Some(Entry::Admitted(id)) => Some(id),
            _ => None,
        };
        let open = admissions.iter().enumerate().filter(|(_, at)| **at != 0);
        let open: AHashMap<_, _> = open.filter_map(|(place, at)| Some((id(*at)?, place))).collect();
        self.ended.retain(|id| {
            let Some(place) = open.get(id) else { return true };
            admissions[*place] = 0;
            *place < before.admissions
        });
    }

    /// Says which admissions have no row so far.
    fn leave_open(&mut self, before: Before) {
        let Piece { room: Room { bytes, admissions, .. }, dictionary, .. } = &mut self.rows;
        let mut open = Vec::new();
        for (place, at) in admissions.iter().enumerate().filter(|(_, at)| **at != 0) {
            let payload = payload_at(bytes, *at);
            if place < before.admissions {
                open.extend(dictionary.open.get(place).cloned());
                continue;
            }
            match codec::admission(payload, dictionary) {
                Some(admission) => self.opened.push(admission),
                None => {
                    self.stop = Stop::Damaged("an admission is whole, but not one that this program wrote");
                }
            }
            open.push((dictionary.admissions + (place - before.admissions) as u64, payload.into()));
        }
        if admissions.is_empty() {
            return;
        }
        let dictionary = Arc::make_mut(dictionary);
        dictionary.admissions += (admissions.len() - before.admissions) as u64;
        dictionary.open = open;
    }
}

/// What there is before a piece is read.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Bytes of the piece, behind which stand open admissions of earlier ones.
    bytes: usize,
    /// How many these are.
    admissions: usize,
}

impl Before {
    /// Where in [`Room::admissions`], which has `count`, that one stands behind which there are `back` others.
    fn place(self, back: u64, count: usize, dictionary: &Dictionary) -> Option<usize> {
        let new = (count - self.admissions) as u64;
        if back < new {
            return Some(count - 1 - back as usize);
        }
        let number = (dictionary.admissions + new).checked_sub(back)?.checked_sub(1)?;
        dictionary.open.binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

impl Piece {
    /// Puts the admissions that are open before the piece behind it, as frames, so that rows find theirs in one place.
    fn take_over_open(&mut self) -> Before {
        let Room { bytes, admissions, .. } = &mut self.room;
        let before = Before { bytes: bytes.len(), admissions: self.dictionary.open.len() };
        admissions.clear();
        for (_, payload) in &self.dictionary.open {
            bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            admissions.push(bytes.len() as u32);
            bytes.extend_from_slice(payload);
        }
        before
    }

    /// How many of its rows end at or before an offset of the segment.
    pub fn count_to(&self, offset: u64) -> usize {
        let end = |at: &RowAt| {
            let begin = at.row as usize - frame::HEAD_BYTES;
            self.offset + (begin + frame::frame_bytes(payload_at(&self.room.bytes, at.row).len())) as u64
        };
        self.room.rows.partition_point(|at| end(at) <= offset)
    }

    fn written(&self, at: usize) -> Option<Written<'_>> {
        let RowAt { row, admission } = *self.room.rows.get(at)?;
        let [row, admission] = [row, admission].map(|at| payload_at(&self.room.bytes, at));
        Some(Written { row, admission })
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
        self.written(at)?.id()
    }

    fn variables(&self, at: usize) -> Option<(Variables<'_>, Numbers)> {
        self.written(at)?.variables(&self.dictionary)
    }

    fn owner(&self, at: usize) -> Option<Owner<&str>> {
        self.written(at)?.owner(&self.dictionary)
    }

    fn shape(&self, at: usize) -> Option<Shape<&str>> {
        self.written(at)?.shape(&self.dictionary)
    }
}

/// The payload that begins at `at`, behind its length and checksum; nothing where there is none.
#[inline]
fn payload_at(bytes: &[u8], at: u32) -> &[u8] {
    let at = at as usize;
    let length = at.checked_sub(frame::HEAD_BYTES).and_then(|head| bytes.get(head..)?.first_chunk());
    let length = length.map_or(0, |length| u32::from_le_bytes(*length) as usize);
    bytes.get(at..at + length).unwrap_or_default()
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
