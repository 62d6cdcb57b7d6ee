//! One thread's writer: no lock, no system call per row.
//!
//! **Room.** A segment with `r` bytes left holds at least `r / ROW_FRAME_MAX` more rows, whatever their size. The
//! sum of that over the current segment and the spares in hand is never let below the number of admitted
//! requests whose rows are still to come; so such a row always fits, and only admissions and rows of refused
//! requests can be turned away. The spares in hand are files with every block handed out: a full disk
//! cannot take back what was promised.
//!
//! **Numbers of owners** hold in one segment. Admissions give them, as these may be turned away where there is no room
//! for more than themselves; a row whose owner has none yet, as its admission stands in another segment, is written
//! with its owner.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec;
use super::frame::{self, ADMISSION_FRAMES_MAX, ROW_FRAME_MAX};
use super::keeper::Slot;
use super::segment::Blank;
use super::spool::Spool;
use crate::domain::id::KeyId;
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
    owners: Owners,
    scratch: Vec<u8>,
}

/// Owners that have a number in the current segment, by their keys.
#[derive(Default)]
struct Owners(HashMap<u128, Owner, BuildHasherDefault<IdHasher>>);

struct Owner {
    number: u32,
    organization: Option<Box<str>>,
    project: Option<Box<str>>,
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
            owners: Owners::default(),
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
        self.scratch.clear();
        let owner = self.owners.number(row.key, row.organization.as_deref(), row.project.as_deref());
        codec::put_row(&mut self.scratch, row, owner);
        if owner.is_some() && self.limit - self.at < frame::frame_bytes(self.scratch.len()) {
            // In the next segment it has no number.
            self.scratch.clear();
            codec::put_row(&mut self.scratch, row, None);
        }
        let frame = frame::frame_bytes(self.scratch.len());
        let fits = promised || self.rows_left_after(frame).is_some_and(|rows| rows >= self.open.len());
        if !fits || self.current_for(frame).is_err() {
            add_one(&self.slot.dropped);
            return Err(SpoolFull);
        }
        // Counted before it can be seen, so that no more is ever shipped than written.
        add_one(&self.slot.rows);
        self.current.segment.count_row();
        self.append()
    }

    /// The number of who is admitted, given to it now where it has none and gets one.
    fn number_for(&mut self, admission: &Admission<'_>) -> Result<Option<u32>, SpoolFull> {
        let Admission { key, organization, project, .. } = admission;
        let known = self.owners.number(*key, organization.as_deref(), project.as_deref());
        let Some(number) = known.or_else(|| self.owners.add(admission)) else { return Ok(None) };
        if known.is_none() {
            self.scratch.clear();
            codec::put_owner(&mut self.scratch, number, admission);
            self.append()?;
        }
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
            self.owners.0.clear();
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
        let checksum = frame::checksum(self.current.segment.seed, &self.scratch);
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

impl Owners {
    /// The number of an owner, where it has one.
    fn number(&self, key: Option<KeyId>, organization: Option<&str>, project: Option<&str>) -> Option<u32> {
        let owner = self.0.get(&key?.0.as_u128())?;
        let same = owner.organization.as_deref() == organization && owner.project.as_deref() == project;
        same.then_some(owner.number)
    }

    /// Gives the owner of an admission the next number; not where its key has one with another owner, or there are too many.
    #[cold]
    fn add(&mut self, of: &Admission<'_>) -> Option<u32> {
        let key = of.key?.0.as_u128();
        if self.0.len() >= codec::OWNERS_MAX || self.0.contains_key(&key) {
            return None;
        }
        let number = self.0.len() as u32 + 1;
        let own = |text: &Option<Cow<'_, str>>| text.as_deref().map(Box::from);
        let owner = Owner { number, organization: own(&of.organization), project: own(&of.project) };
        self.0.insert(key, owner);
        Some(number)
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

/// Spreads ids of requests and keys, which are our own and random in their lower half: no outsider can choose them.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let mixed = (id as u64 ^ (id >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
