//! One thread's writer: no lock, no system call per row.
//!
//! **Room.** A segment with `r` bytes left holds at least `r / ROW_FRAME_MAX` more rows, whatever their size. The
//! sum of that over the current segment and the spares in hand is never let below the number of admitted
//! requests whose rows are still to come; so such a row always fits, and only admissions and rows of refused
//! requests can be turned away. The spares in hand are files with every block handed out: a full disk
//! cannot take back what was promised.
//!
//! **Numbers** of owners and shapes hold in one segment (`numbers.rs`). Admissions give them to owners, rows to shapes: what a row
//! takes together with what gives its shape a number is less than the room that is kept for it.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec::{self, Said};
use super::frame::{self, ADMISSION_FRAMES_MAX, ROW_FRAME_MAX};
use super::keeper::Slot;
use super::numbers::{Given, IdHasher, Numbers};
use super::segment::Blank;
use super::spool::Spool;
use crate::domain::row::{Admission, Row};

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
    open: HashSet<u128, BuildHasherDefault<IdHasher>>,
    /// What has a number in the current segment.
    numbers: Numbers,
    scratch: Vec<u8>,
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolWriter")
            .field("segment", &self.current.segment.name)
            .field("at", &self.at)
            .field("open", &self.open.len())
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
            open: HashSet::default(),
            numbers: Numbers::default(),
            scratch: Vec::with_capacity(codec::ROW_BYTES_MAX),
        }
    }

    /// Whether the next admission and its row still fit. Where this says yes, the next call of
    /// [`admitted`](Self::admitted) and the [`finished`](Self::finished) that belongs to it succeed.
    pub fn has_room(&mut self) -> bool {
        self.rows_left_after(ADMISSION_FRAMES_MAX).is_some_and(|rows| rows > self.open.len())
    }

    /// Admitted requests whose rows are still to come.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Writes an admission down and keeps room for its row.
    ///
    /// # Errors
    /// [`SpoolFull`]: nothing was written, and [`finished`](Self::finished) may fail too.
    pub fn admitted(&mut self, admission: &Admission<'_>) -> Result<(), SpoolFull> {
        let left = self.rows_left_after(ADMISSION_FRAMES_MAX);
        let rows = left.filter(|rows| *rows > self.open.len()).ok_or(SpoolFull)?;
        self.open.insert(admission.id.0.as_u128());
        // Both frames in one segment, as numbers hold there only.
        self.current_for(ADMISSION_FRAMES_MAX)?;
        let owner = self.number_for(admission)?;
        self.scratch.clear();
        codec::put_admission(&mut self.scratch, admission, owner);
        self.append()?;
        if rows < self.open.len() + self.rows_per_segment {
            self.ask_for_spares();
        }
        Ok(())
    }

    /// Writes a finished request down; never fails for one whose admission was written.
    ///
    /// # Errors
    /// [`SpoolFull`], for a request that was not admitted here: the row is dropped and counted.
    pub fn finished(&mut self, row: &Row<'_>) -> Result<(), SpoolFull> {
        let promised = self.open.remove(&row.id.0.as_u128());
        let fits =
            promised || self.rows_left_after(ROW_FRAME_MAX).is_some_and(|rows| rows >= self.open.len());
        // Whatever it turns out to take, in one segment, as numbers hold there only.
        if !fits || self.current_for(ROW_FRAME_MAX).is_err() {
            add_one(&self.slot.dropped);
            return Err(SpoolFull);
        }
        let (shape, variables) = (row.shape(), row.variables());
        let given = self.numbers.of_shape(&shape);
        let owner = match given {
            Given::Before(_) => None,
            Given::Now(_) | Given::None => {
                self.numbers.of_owner(shape.key, shape.organization, shape.project)
            }
        };
        if let Given::Now(number) = given {
            self.scratch.clear();
            codec::put_shape(&mut self.scratch, number, &shape, owner);
            self.append()?;
        }
        let said = match given {
            Given::Before(number) | Given::Now(number) => Said::Number(number),
            Given::None => Said::Out(&shape, owner),
        };
        self.scratch.clear();
        codec::put_row(&mut self.scratch, &variables, said);
        // Counted before it can be seen, so that no more is ever shipped than written.
        add_one(&self.slot.rows);
        self.current.segment.count_row();
        self.append()
    }

    /// The number of who is admitted, given to it now where it has none and gets one.
    fn number_for(&mut self, admission: &Admission<'_>) -> Result<Option<u32>, SpoolFull> {
        let (organization, project) = (admission.organization.as_deref(), admission.project.as_deref());
        if let Some(number) = self.numbers.of_owner(admission.key, organization, project) {
            return Ok(Some(number));
        }
        let Some(number) = self.numbers.add_owner(admission) else { return Ok(None) };
        self.scratch.clear();
        codec::put_owner(&mut self.scratch, number, admission);
        self.append()?;
        Ok(Some(number))
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
            self.slot.began_spare();
            self.ask_for_spares();
            self.spool.wake_keeper();
        }
        Ok(&mut self.current)
    }

    /// Writes what is in `scratch` as a frame.
    fn append(&mut self) -> Result<(), SpoolFull> {
        let frame = frame::frame_bytes(self.scratch.len());
        self.current_for(frame)?;
        let checksum = self.current.segment.checksum.of(&self.scratch);
        self.current.mapping.publish(self.at, checksum, &self.scratch);
        self.at += frame;
        self.current.segment.wrote(self.at as u64);
        Ok(())
    }

    /// Enough spares for the promised rows, and one more.
    #[cold]
    fn ask_for_spares(&mut self) {
        if self.slot.want(1 + self.open.len().div_ceil(self.rows_per_segment)) {
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
