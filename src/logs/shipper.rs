//! Moves rows from the spool to the record, as they come.
//!
//! Segments of one thread are read in order, threads one after the other. A batch of rows goes to the record
//! with the place reached, in one transaction; only then is anything here moved on. So a batch whose fate is
//! unknown is simply read and sent again, and a failed one costs no memory.
//!
//! A closed segment that is read to its end goes: its admissions that have no row yet are *carried* by the
//! record in the transaction that forgets the segment, then its file is given up. Dying between the two leaves a
//! file whose rows the record knows already.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batch::{Batch, Piece, Room, Stop, read_piece};
use super::deliver::deliver;
use super::frame::{self, Damage};
use super::progress::{Progress, Rest, Shipped};
use super::segment::{self, Place, Segment};
use super::spool::Spool;
use crate::domain::id::RequestId;
use crate::domain::row::Admission;
use crate::stores::counters::Counters;
use crate::stores::record::{LogRecord, RecordError, RowSource as _, Rows, Shipment};

/// Longest wait between two attempts while the record is away: rows move again within two seconds of its return.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Rows in the spool from which on a beat is let pass, for a fuller batch: what a batch costs beside its rows, the sums
/// and the tails of blocks, is then shared by more of them.
const MANY_ROWS: u64 = 1_000;
/// Beats after which they are shipped all the same.
const BEATS_MAX: u32 = 5;
/// How often the record is told at least that this spool is alive: far below its
/// [`SPOOL_LEASE`](crate::stores::record::SPOOL_LEASE).
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Bytes of the spool that a row takes with its admission where none was read yet: more than nearly all.
const ROW_BYTES: u64 = 512;
/// Bytes that are read at least, where there are as many: far more than the longest frame.
const READ_BYTES_MIN: u64 = 64 * 1024;
/// Linux: the device could not read its sectors.
const EIO: i32 = 5;

/// The task that moves rows. One per spool.
#[derive(Debug)]
pub struct Shipper {
    spool: Arc<Spool>,
    record: RecordOf,
    /// Who must know what the record has.
    counters: Option<Arc<Counters>>,
    progress: HashMap<Place, Progress>,
    /// Admissions read, whose rows are not: at most as many as are in flight.
    open: HashMap<RequestId, (Place, Admission<'static>)>,
    /// Admissions that the record carries.
    carried: HashSet<RequestId>,
    room: Room,
    /// Bytes of the spool that a row took with its admission, of the last batch: more than a batch is not read.
    row_bytes: u64,
    failing: Option<Failing>,
    /// The segment with the batch that the record may or may not have taken.
    unsure: Option<Place>,
    /// When the record was last told anything.
    told: Instant,
    /// When the last pass began that left rows to this one.
    left_at: Option<Instant>,
}

/// Rows were still in the spool when the time to drain it was over. They are shipped at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{pending} rows of the request log are still in the spool; the next start ships them")]
pub struct Undrained {
    /// Rows in the spool.
    pub pending: u64,
}

struct RecordOf(Arc<dyn LogRecord>);

impl std::fmt::Debug for RecordOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    attempts: u32,
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("{0}")]
    Record(#[from] RecordError),
    #[error("{0}: {1}")]
    Read(String, #[source] io::Error),
}

impl Shipper {
    /// The shipper of `spool`. What earlier processes left is for [`recover`](super::recover), not for this.
    pub fn new(spool: Arc<Spool>, record: Arc<dyn LogRecord>) -> Self {
        Self {
            spool,
            record: RecordOf(record),
            counters: None,
            progress: HashMap::new(),
            open: HashMap::new(),
            carried: HashSet::new(),
            room: Room::default(),
            row_bytes: ROW_BYTES,
            failing: None,
            unsure: None,
            told: Instant::now(),
            left_at: None,
        }
    }

    /// Tells `counters` what the record has.
    pub fn telling(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Ships every `logs.ship_every` until `shutdown`; many rows that are no full batch yet, at every fifth of these beats.
    /// May be dropped at any point.
    pub async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = self.beat() => {}
            }
        }
    }

    /// Ships until nothing is pending, at most for `within`: after every [`SpoolWriter`](super::SpoolWriter) is
    /// dropped this leaves no row and no segment behind.
    ///
    /// # Errors
    /// [`Undrained`] where the time is over first.
    pub async fn drain(&mut self, within: Duration) -> Result<(), Undrained> {
        let empty = async {
            loop {
                if self.attempt(Rest::Shipped).await && self.spool.counts().pending() == 0 {
                    return;
                }
                tokio::time::sleep(self.wait()).await;
            }
        };
        let done = tokio::time::timeout(within, empty).await.is_ok();
        let pending = self.spool.counts().pending();
        if done || pending == 0 { Ok(()) } else { Err(Undrained { pending }) }
    }

    async fn beat(&mut self) {
        tokio::time::sleep(self.wait()).await;
        for _ in 1..BEATS_MAX {
            let pending = self.spool.counts().pending();
            if self.failing.is_some()
                || !(MANY_ROWS..self.spool.shared.batch_rows_max as u64).contains(&pending)
            {
                break;
            }
            tokio::time::sleep(self.spool.shared.ship_every).await;
        }
        self.attempt(Rest::Left).await;
    }

    /// The usual pause, or a growing one while the record is away.
    fn wait(&self) -> Duration {
        let usual = self.spool.shared.ship_every;
        self.failing.as_ref().map_or(usual, |failing| {
            usual.saturating_mul(1 << failing.attempts.min(10)).clamp(usual, RETRY_MAX.max(usual))
        })
    }

    /// Ships what is there; whether that succeeded. Says once that it does not, and once that it does again.
    async fn attempt(&mut self, rest: Rest) -> bool {
        let began = Instant::now();
        match self.pass(rest).await {
            Ok(all) => {
                // What the pass before this one had left, this one began with.
                let left_at = std::mem::replace(&mut self.left_at, (!all).then_some(began));
                if let Some(before) = if all { Some(began) } else { left_at } {
                    self.spool.shared.accounts.caught_up(before);
                }
                if let Some(failing) = self.failing.take() {
                    let after = failing.since.elapsed().as_secs_f64();
                    tracing::info!(after_seconds = after, "the request log is shipped to the record again");
                }
                true
            }
            Err(error) => {
                let failing = self.failing.get_or_insert(Failing { since: began, attempts: 0 });
                failing.attempts = failing.attempts.saturating_add(1);
                if failing.attempts == 1 {
                    let pending = self.spool.counts().pending();
                    tracing::warn!(%error, pending, "the request log cannot be shipped; rows wait in the spool");
                }
                false
            }
        }
    }

    /// Ships what is there; whether that was all of it.
    async fn pass(&mut self, rest: Rest) -> Result<bool, ShipError> {
        let mut segments: Vec<_> = self.spool.shared.segments.lock().values().cloned().collect();
        // First, so that whatever the record has taken meanwhile holds it, too.
        segments.sort_by_key(|segment| Some(segment.place) != self.unsure);
        let (mut unfinished, mut retired, mut all) = (None, None, true);
        for segment in segments {
            let thread = segment.place.0;
            if unfinished == Some(thread) {
                continue;
            }
            // Once for each thread: so the next pass is done with whatever this one has left.
            let rest = if retired == Some(thread) { Rest::Shipped } else { rest };
            match self.ship(&segment, rest).await? {
                Shipped::Retired => retired = Some(thread),
                Shipped::Written => unfinished = Some(thread),
                Shipped::Mostly => (unfinished, all) = (Some(thread), false),
            }
        }
        if self.told.elapsed() >= TELL_EVERY {
            let spool = self.spool.shared.id;
            self.record.0.ship(&Shipment { spool, ..Shipment::default() }).await?;
            self.told = Instant::now();
        }
        Ok(all)
    }

    /// Ships what is new in a segment, and retires it where nothing more will come.
    async fn ship(&mut self, segment: &Segment, rest: Rest) -> Result<Shipped, ShipError> {
        let closed = segment.is_closed();
        let target = segment.written();
        let mut from = self.offset(segment);
        while self.ship_piece(segment, target).await? {
            let next = self.offset(segment);
            // Less than half of a batch, as the one before it was full.
            let few = target > next && target - next < (next - from) / 2;
            if rest == Rest::Left && few {
                return Ok(Shipped::Mostly);
            }
            from = next;
        }
        if closed {
            self.retire(segment).await?;
        }
        Ok(if closed { Shipped::Retired } else { Shipped::Written })
    }

    /// How far a segment is shipped.
    fn offset(&self, segment: &Segment) -> u64 {
        self.progress.get(&segment.place).map_or(frame::FIRST, |progress| progress.offset)
    }

    /// Ships at most one batch; whether there was one.
    async fn ship_piece(&mut self, segment: &Segment, target: u64) -> Result<bool, ShipError> {
        let progress = self.progress.entry(segment.place).or_default();
        let (from, dictionary) = (progress.offset, Arc::clone(&progress.dictionary));
        if progress.damage.is_some() || from >= target {
            return Ok(false);
        }
        let most = self.spool.shared.batch_rows_max;
        let enough = from + (most as u64 * self.row_bytes).max(READ_BYTES_MIN);
        let room = std::mem::take(&mut self.room);
        let room = match read_piece(segment.path.clone(), from, target.min(enough), room).await {
            Ok(room) => room,
            Err(error) if error.raw_os_error() == Some(EIO) => {
                self.damaged(segment, from, "the disk cannot read it");
                return Ok(false);
            }
            Err(error) => return Err(ShipError::Read(segment.path.display().to_string(), error)),
        };
        let Batch { rows: piece, opened, ended, next, stop } =
            Batch::read(room, segment.checksum, from, most, dictionary);
        let piece = Arc::new(piece);
        let rows = piece.count() as u64;
        let lost = self.send(segment, &piece, &ended, next).await?;
        for id in &ended {
            self.open.remove(id);
            self.carried.remove(id);
        }
        self.open.extend(opened.into_iter().map(|admission| (admission.id, (segment.place, admission))));
        if let Some(progress) = self.progress.get_mut(&segment.place) {
            progress.offset = next;
            progress.rows += rows;
            progress.dictionary = Arc::clone(&piece.dictionary);
        }
        self.row_bytes = (next - from).div_ceil(rows.max(1)).min(ROW_BYTES);
        self.room = Arc::into_inner(piece).map(Piece::into_room).unwrap_or_default();
        let accounts = &self.spool.shared.accounts;
        accounts.refused.fetch_add(lost, Ordering::Release);
        accounts.shipped.fetch_add(rows - lost, Ordering::Release);
        match stop {
            Stop::Damaged(reason) => self.damaged(segment, next, reason),
            Stop::End | Stop::Cut if next == from => {
                self.damaged(segment, next, "a frame that was written whole is not there");
            }
            _ => return Ok(true),
        }
        Ok(false)
    }

    /// Hands a batch to the record, which is at `next` with it; how many of its rows were refused.
    async fn send(
        &mut self,
        segment: &Segment,
        piece: &Arc<Piece>,
        ended: &[RequestId],
        next: u64,
    ) -> Result<u64, RecordError> {
        if piece.count() == 0 {
            return Ok(0);
        }
        let number = self.spool.shared.next_batch();
        let mut shipment = Shipment {
            spool: self.spool.shared.id,
            rows: Rows::of(Arc::clone(piece)),
            finished: ended.iter().filter(|id| self.carried.contains(id)).map(|id| id.0).collect(),
            cursor: Some((segment.name.clone(), next)),
            number: Some(number),
            ..Shipment::default()
        };
        self.unsure = Some(segment.place);
        if let Some(counters) = &self.counters {
            counters.shipping(number, &shipment.rows);
        }
        let lost = deliver(&*self.record.0, &mut shipment).await?;
        self.unsure = None;
        if let Some(counters) = &self.counters {
            counters.shipped();
        }
        self.told = Instant::now();
        Ok(lost)
    }

    /// Takes a segment that is shipped to its end from the spool.
    async fn retire(&mut self, segment: &Segment) -> Result<(), ShipError> {
        let carried: Vec<_> = self
            .open
            .values()
            .filter(|(place, _)| *place == segment.place)
            .map(|(_, admission)| admission.clone())
            .collect();
        let ids: Vec<_> = carried.iter().map(|admission| admission.id).collect();
        let progress = self.progress.get(&segment.place);
        if progress.is_some_and(|progress| progress.offset > frame::FIRST) {
            let forgotten = vec![segment.name.clone()];
            let spool = self.spool.shared.id;
            self.record.0.ship(&Shipment { spool, carried, forgotten, ..Shipment::default() }).await?;
        }
        for id in ids {
            self.open.remove(&id);
            self.carried.insert(id);
        }
        let progress = self.progress.remove(&segment.place);
        let damaged = progress.filter(|progress| progress.damage.is_some());
        self.give_up(segment, damaged.is_some()).await;
        if let Some(progress) = damaged {
            let lost = segment.rows().saturating_sub(progress.rows);
            self.spool.shared.accounts.damaged.fetch_add(lost, Ordering::Release);
        }
        Ok(())
    }

    /// Gives a segment up, or sets it aside. Where the file system will not have it, the next start does it.
    async fn give_up(&self, segment: &Segment, damaged: bool) {
        let (shared, place) = (Arc::clone(&self.spool.shared), segment.place);
        let result = tokio::task::spawn_blocking(move || {
            let Some(segment) = shared.segments.lock().remove(&place) else { return Ok(()) };
            if damaged { segment::set_aside(&segment.path).map(drop) } else { shared.give_up(&segment) }
        })
        .await
        .map_err(io::Error::other)
        .flatten();
        if let Err(error) = result {
            tracing::warn!(segment = segment.name, %error, "a shipped segment of the log spool cannot be removed");
        }
        self.spool.wake_keeper();
    }

    fn damaged(&mut self, segment: &Segment, offset: u64, reason: &'static str) {
        let damage = Damage { segment: segment.name.clone(), offset, reason };
        tracing::error!(%damage, "rows of the request log are lost behind this place; the file is kept as *.damaged");
        if let Some(progress) = self.progress.get_mut(&segment.place) {
            progress.damage = Some(damage);
        }
    }
}
