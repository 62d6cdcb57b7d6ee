//! Reading a piece of a segment: plain `pread`, decoded in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ahash::AHashMap;

use super::codec::{self, Entry, Owners};
use super::frame::{self, Step};
use crate::domain::id::RequestId;
use crate::domain::row::{Admission, Row};

/// Bytes read at a time: what a reader of the spool needs of memory.
const READ_BYTES: u64 = 8 * 1024 * 1024;
const _: () = assert!(READ_BYTES as usize >= frame::frame_bytes(codec::PAYLOAD_BYTES_MAX));

/// Rows that room is kept for from one batch to the next: 16 MiB and some.
const KEPT_ROWS: usize = 40_000;

/// What stands in a piece of a segment.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    /// Rows, in the order in which they were written.
    pub rows: Vec<Row<'a>>,
    /// The offset behind each of them.
    pub ends: Vec<u64>,
    /// Admissions whose rows are not in this piece.
    pub opened: AHashMap<RequestId, Admission<'a>>,
    /// Rows whose admissions are not in this piece.
    pub ended: Vec<RequestId>,
    /// Payloads of owners that got a number in this piece, one behind the other: what pieces behind it need.
    pub defined: Vec<u8>,
    /// The offset behind the last whole frame.
    pub next: u64,
    /// Why it ends there.
    pub stop: Stop,
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

impl<'a> Batch<'a> {
    /// Reads `bytes`, which stand at `offset` of a segment that has given numbers to owners by `definitions` before, until
    /// there are `most` rows.
    pub fn read(bytes: &'a [u8], offset: u64, most: usize, definitions: &'a [u8]) -> Self {
        Self::read_into(Vec::new(), bytes, offset, most, definitions)
    }

    /// The same, with its rows in a vector that is there already.
    pub fn read_into(
        rows: Vec<Row<'a>>,
        bytes: &'a [u8],
        offset: u64,
        most: usize,
        definitions: &'a [u8],
    ) -> Self {
        let mut batch = Self {
            rows,
            ends: Vec::new(),
            opened: AHashMap::new(),
            ended: Vec::new(),
            defined: Vec::new(),
            next: offset,
            stop: Stop::Full,
        };
        let mut opened = AHashMap::new();
        // Without those that are missing, what names them is no payload.
        let mut owners = Owners::of(definitions).unwrap_or_default();
        batch.stop = batch.fill(bytes, most, &mut opened, &mut owners);
        for (id, payload) in opened {
            match codec::admission(payload, &owners) {
                Some(admission) => drop(batch.opened.insert(id, admission)),
                None => {
                    batch.stop = Stop::Damaged("an admission is whole, but not one that this program wrote");
                }
            }
        }
        batch
    }

    /// Takes entries; why it ended.
    fn fill(
        &mut self,
        mut bytes: &'a [u8],
        most: usize,
        opened: &mut AHashMap<RequestId, &'a [u8]>,
        owners: &mut Owners<'a>,
    ) -> Stop {
        while self.rows.len() < most {
            let (entry, frame) = match frame::step(bytes) {
                Step::Entry(entry, frame) => (entry, frame),
                Step::Damaged(reason) => return Stop::Damaged(reason),
                Step::End | Step::Closed => return Stop::End,
                Step::Partial => return Stop::Cut,
            };
            let end = self.next + frame as u64;
            match entry {
                Entry::Owner(payload) => {
                    if owners.define(payload).is_none() {
                        return Stop::Damaged("an owner is not the next of its segment");
                    }
                    self.defined.extend_from_slice(payload);
                }
                Entry::Admitted(id, payload) => drop(opened.insert(id, payload)),
                Entry::Finished(payload) => {
                    let Some(row) = codec::row(payload, owners) else { return Stop::Damaged(frame::UNKNOWN) };
                    if opened.remove(&row.id).is_none() {
                        self.ended.push(row.id);
                    }
                    self.rows.push(row);
                    self.ends.push(end);
                }
            }
            bytes = bytes.get(frame..).unwrap_or_default();
            self.next = end;
        }
        Stop::Full
    }
}

/// Makes room for other rows where some were. A batch is some megabytes: memory that is given back and asked for again is
/// cleared by the kernel every time, which was two fifths of what shipping a row cost.
pub(super) fn emptied<'b>(mut rows: Vec<Row<'_>>) -> Vec<Row<'b>> {
    if rows.capacity() > KEPT_ROWS {
        return Vec::new();
    }
    rows.clear();
    // In place: the same type, but for what its texts may be borrowed from.
    rows.into_iter().map_while(|_| None).collect()
}

/// Reads at most [`READ_BYTES`] of a file from `from`, and not beyond `to`, on a thread where a disk may be waited for.
/// `buffer` is used again and handed back. Fewer bytes than asked for are the end of the file.
pub(super) async fn read_piece(
    path: PathBuf,
    from: u64,
    to: u64,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let read = move || {
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
        Ok(buffer)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
