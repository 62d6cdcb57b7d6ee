//! One thread's writer: no lock, no system call per row.
//!
//! **Room.** A segment with `r` bytes left holds at least `r / ROW_FRAME_MAX` more rows, whatever their size. The
//! sum of that over the current segment and the spares in hand is never let below the number of admitted
//! requests whose rows are still to come; so such a row always fits, and only admissions and rows of refused
//! requests can be turned away. The spares in hand are files with every block handed out: a full disk
//! cannot take back what was promised.
//!
//! **Numbers** of owners and shapes hold in one segment (`numbers.rs`). What gives numbers to both and the row that says them take
//! less, together, than the room that is kept for a row.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec::{self, Said};
use super::frame::{self, ADMISSION_FRAMES_MAX, ROW_FRAME_MAX};
use super::keeper::Slot;
use super::numbers::{Number, Numbers};
use super::segment::Blank;
use super::spool::Spool;
use crate::domain::row::{Admission, RowRef};

/// The spool has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log spool is full")]
pub struct SpoolFull;

/// One thread's writer. Dropping it closes its segment; admissions without a row then never get one from it.
pub struct SpoolWriter {
    spool: Arc<Spool>,
    slot: Arc<Slot>,
    current: Blank,
    /// Where the next frame begins.
    at: usize,
    /// Where the last frame must end.
    limit: usize,
    spares: VecDeque<Blank>,
    /// Rows of any size that an empty segment holds.
    rows_per_segment: usize,
    /// Admitted requests whose rows are to come.
    open: usize,
    /// Admissions in the current segment.
    admissions: u32,
    /// What has a number in the current segment.
    numbers: Numbers,
    /// Segments that were filled.
    filled: u64,
    scratch: Vec<u8>,
}

/// Says that a request was admitted, and that there is room for its row: to be given back with that, to the same writer.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "room is kept for its row until it is given back"]
pub struct Ticket {
    /// Segments that were filled then.
    filled: u64,
    /// Admissions of its segment before it.
    number: u32,
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolWriter")
            .field("segment", &self.current.segment.name)
            .field("at", &self.at)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl SpoolWriter {
    pub(super) fn new(spool: Arc<Spool>, slot: Arc<Slot>, current: Blank) -> Self {
        let limit = current.segment.bytes as usize - frame::CLOSED_BYTES;
        Self {
            spool,
            slot,
            current,
            at: frame::FIRST as usize,
            limit,
            spares: VecDeque::new(),
            rows_per_segment: (limit - frame::FIRST as usize) / ROW_FRAME_MAX,
            open: 0,
            admissions: 0,
            numbers: Numbers::default(),
            filled: 0,
            scratch: Vec::with_capacity(codec::ROW_BYTES_MAX),
        }
    }

    /// Whether the next admission and its row still fit. Where this says yes, the next call of
    /// [`admitted`](Self::admitted) and the [`finished`](Self::finished) that belongs to it succeed.
    pub fn has_room(&mut self) -> bool {
        self.rows_left_after(ADMISSION_FRAMES_MAX).is_some_and(|rows| rows > self.open)
    }

    /// Admitted requests whose rows are still to come.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Writes an admission down and keeps room for its row.
    ///
    /// # Errors
    /// [`SpoolFull`]: nothing was written, and [`finished`](Self::finished) may fail too.
    pub fn admitted(&mut self, admission: &Admission<'_>) -> Result<Ticket, SpoolFull> {
        let left = self.rows_left_after(ADMISSION_FRAMES_MAX);
        let rows = left.filter(|rows| *rows > self.open).ok_or(SpoolFull)?;
        // Both frames in one segment, as numbers hold there only.
        self.current_for(ADMISSION_FRAMES_MAX)?;
        let given = self.numbers.of_owner(admission.owner());
        let owner = self.say(given, admission.owner(), codec::put_owner)?;
        codec::put_admission(&mut self.scratch, admission, owner);
        let ticket = Ticket { filled: self.filled, number: self.admissions };
        self.append()?;
        self.open += 1;
        self.admissions += 1;
        if rows < self.open + self.rows_per_segment {
            self.ask_for_spares();
        }
        Ok(ticket)
    }

    /// Writes a finished request down: with the ticket of its admission, whose id, instant and owner it has; never fails then.
    ///
    /// # Errors
    /// [`SpoolFull`], for a request that was not admitted here: the row is dropped and counted.
    pub fn finished(&mut self, ticket: Option<Ticket>, row: &RowRef<'_>) -> Result<(), SpoolFull> {
        self.open -= usize::from(ticket.is_some());
        let fits =
            ticket.is_some() || self.rows_left_after(ROW_FRAME_MAX).is_some_and(|rows| rows >= self.open);
        // Whatever it turns out to take, in one segment, as numbers hold there only.
        if !fits || self.current_for(ROW_FRAME_MAX).is_err() {
            add_one(&self.slot.dropped);
            return Err(SpoolFull);
        }
        let shape = row.shape();
        let given = self.numbers.of_shape(&shape);
        let shape = self.say(given, &shape, codec::put_shape)?;
        match ticket.filter(|ticket| ticket.filled == self.filled) {
            Some(ticket) => {
                let back = self.admissions - ticket.number - 1;
                codec::put_ended(&mut self.scratch, back, &row.variables(), shape);
            }
            None => {
                let given = self.numbers.of_owner(row.owner());
                let owner = self.say(given, row.owner(), codec::put_owner)?;
                codec::put_row(&mut self.scratch, &row.variables(), owner, shape);
            }
        }
        // Counted before it can be seen, so that no more is ever shipped than written.
        add_one(&self.slot.rows);
        self.current.segment.count_row();
        self.append()
    }

    /// How an owner or a shape is said, which is written down first where it has a number from now on.
    fn say<T>(
        &mut self,
        given: Number,
        what: T,
        put: impl FnOnce(&mut Vec<u8>, u32, T),
    ) -> Result<Said<T>, SpoolFull> {
        Ok(match given {
            Number::Before(number) => Said::Number(number),
            Number::None => Said::Out(what),
            Number::Now(number) => {
                put(&mut self.scratch, number, what);
                self.append()?;
                Said::Number(number)
            }
        })
    }

    /// Rows of any size that fit after a frame of `frame` bytes; `None` where that itself does not.
    fn rows_left_after(&mut self, frame: usize) -> Option<usize> {
        self.slot.take(&mut self.spares);
        let in_spares = self.spares.len() * self.rows_per_segment;
        let left = self.limit - self.at;
        if left >= frame {
            return Some((left - frame) / ROW_FRAME_MAX + in_spares);
        }
        // The frame would be the first of a spare.
        let spare = in_spares.checked_sub(self.rows_per_segment)?;
        Some((self.limit - frame::FIRST as usize - frame) / ROW_FRAME_MAX + spare)
    }

    /// The segment that a frame of `frame` bytes goes to, after moving on to a spare where it must.
    fn current_for(&mut self, frame: usize) -> Result<&mut Blank, SpoolFull> {
        if self.limit - self.at < frame {
            self.slot.take(&mut self.spares);
            let next = self.spares.pop_front().ok_or(SpoolFull)?;
            let mut done = std::mem::replace(&mut self.current, next);
            done.mapping.close(self.at);
            done.segment.close();
            self.at = frame::FIRST as usize;
            self.numbers.clear();
            self.admissions = 0;
            self.filled += 1;
            self.slot.began_spare();
            self.ask_for_spares();
            self.spool.wake_keeper();
        }
        Ok(&mut self.current)
    }

    /// Writes what is in `scratch` as a frame, and empties it.
    fn append(&mut self) -> Result<(), SpoolFull> {
        let frame = frame::frame_bytes(self.scratch.len());
        self.current_for(frame)?;
        let checksum = self.current.segment.checksum.of(&self.scratch);
        self.current.mapping.publish(self.at, checksum, &self.scratch);
        self.at += frame;
        self.current.segment.wrote(self.at as u64);
        self.scratch.clear();
        Ok(())
    }

    /// Enough spares for the promised rows, and one more.
    #[cold]
    fn ask_for_spares(&mut self) {
        if self.slot.want(1 + self.open.div_ceil(self.rows_per_segment)) {
            self.spool.wake_keeper();
        }
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.current.mapping.close(self.at);
        self.current.segment.close();
        for spare in &self.spares {
            spare.segment.close();
        }
        self.slot.leave();
    }
}

/// Adds one to a count that only this thread changes: no locked instruction.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
}
