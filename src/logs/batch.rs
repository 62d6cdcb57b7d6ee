//! Reading a piece of a segment: plain `pread`, decoded in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ahash::AHashMap;

use super::codec::{self, Entry};
use super::frame::{self, ROW_FRAME_MAX, Step};
use crate::domain::id::RequestId;
use crate::domain::row::{Admission, Row};

/// Bytes read at a time: what a reader of the spool needs of memory.
const READ_BYTES: u64 = 8 * 1024 * 1024;
const _: () = assert!(READ_BYTES as usize >= ROW_FRAME_MAX);

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
    /// Reads `bytes`, which stand at `offset`, until there are `most` rows.
    pub fn read(bytes: &'a [u8], offset: u64, most: usize) -> Self {
        let mut batch = Self {
            rows: Vec::new(),
            ends: Vec::new(),
            opened: AHashMap::new(),
            ended: Vec::new(),
            next: offset,
            stop: Stop::Full,
        };
        let mut opened = AHashMap::new();
        batch.stop = batch.fill(bytes, most, &mut opened);
        for (id, payload) in opened {
            match codec::admission(payload) {
                Some(admission) => drop(batch.opened.insert(id, admission)),
                None => {
                    batch.stop = Stop::Damaged("an admission is whole, but not one that this program wrote");
                }
            }
        }
        batch
    }

    /// Takes entries; why it ended.
    fn fill(&mut self, mut bytes: &'a [u8], most: usize, opened: &mut AHashMap<RequestId, &'a [u8]>) -> Stop {
        while self.rows.len() < most {
            let (entry, frame) = match frame::step(bytes) {
                Step::Entry(entry, frame) => (entry, frame),
                Step::Damaged(reason) => return Stop::Damaged(reason),
                Step::End | Step::Closed => return Stop::End,
                Step::Partial => return Stop::Cut,
            };
            bytes = bytes.get(frame..).unwrap_or_default();
            self.next += frame as u64;
            match entry {
                Entry::Admitted(id, payload) => drop(opened.insert(id, payload)),
                Entry::Finished(row) => {
                    if opened.remove(&row.id).is_none() {
                        self.ended.push(row.id);
                    }
                    self.rows.push(row);
                    self.ends.push(self.next);
                }
            }
        }
        Stop::Full
    }
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
