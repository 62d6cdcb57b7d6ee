//! The spool over all threads: a directory, its lock, its budget of bytes, and its accounts.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use super::directory;
use super::frame::{self, ROW_FRAME_MAX};
use super::keeper::{Keeper, Slot};
use super::segment::{Blank, Place, Segment, Used};
use super::writer::SpoolWriter;
use crate::clock;
use crate::config;

/// The smallest segment: a handful of rows of the longest kind.
const SEGMENT_BYTES_MIN: u64 = 16 * ROW_FRAME_MAX as u64;

/// The spool over all threads. It lives, and holds its directory, as long as any of its writers.
#[derive(Debug)]
pub struct Spool {
    pub(super) shared: Arc<Shared>,
    keeper: Keeper,
    _lock: File,
}

/// What the spool's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub dir: PathBuf,
    /// Whose spool this is: what the record knows it by.
    pub id: Uuid,
    boot: String,
    pub segment_bytes: u64,
    bytes_max: u64,
    pub sync_every: Duration,
    pub ship_every: Duration,
    pub batch_rows_max: usize,
    /// Segments of earlier processes, oldest first.
    pub old: Mutex<Vec<PathBuf>>,
    /// Segments of this process that are not yet shipped whole.
    pub segments: Mutex<BTreeMap<Place, Arc<Segment>>>,
    /// Files to make segments of: at most as many as there are writers.
    used: Mutex<Vec<Used>>,
    pub slots: Mutex<Vec<Arc<Slot>>>,
    /// The next segment's sequence.
    next: AtomicU64,
    /// The last batch's number.
    batches: AtomicU64,
    /// Bytes of every file of the spool.
    bytes: AtomicU64,
    pub accounts: Accounts,
}

/// What moved through the spool, apart from what each [`Slot`] counts.
#[derive(Debug)]
pub(super) struct Accounts {
    /// Rows found or made by recovery.
    pub recovered: AtomicU64,
    /// Rows that the record has.
    pub shipped: AtomicU64,
    /// Rows that were written and could not be read back.
    pub damaged: AtomicU64,
    /// Rows that the record refuses for what they hold.
    pub refused: AtomicU64,
    /// Failed attempts to force the spool to disk.
    pub sync_failures: AtomicU64,
    /// Failed attempts to make a segment.
    pub segment_failures: AtomicU64,
    opened: Instant,
    /// Microseconds from `opened` to the start of the last pass that left nothing behind.
    caught_up: AtomicU64,
}

/// Rows so far, in this process. `written = shipped + damaged + refused + pending` at every instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows that reached the spool, those found by recovery too.
    pub written: u64,
    /// Rows that the record has.
    pub shipped: u64,
    /// Rows that were written and could not be read back: the disk, not the gateway.
    pub damaged: u64,
    /// Rows that the record refused for what they hold.
    pub refused: u64,
    /// Rows that never reached the spool, as it had no room.
    pub dropped: u64,
    /// Failed attempts to force the spool to disk.
    pub sync_failures: u64,
    /// Failed attempts to make a segment: a full or failing disk.
    pub segment_failures: u64,
}

impl Counts {
    /// Rows in the spool that the record does not have yet.
    pub fn pending(&self) -> u64 {
        self.written.saturating_sub(self.shipped + self.damaged + self.refused)
    }

    /// Rows that requests left, wherever they are now: the state `written` of `tollgate_log_rows_total`. Always
    /// `shipped + lost + pending`.
    pub fn left(&self) -> u64 {
        self.written + self.dropped
    }

    /// Rows that will never be in the record: the state `lost` of `tollgate_log_rows_total`.
    pub fn lost(&self) -> u64 {
        self.damaged + self.refused + self.dropped
    }
}

impl Spool {
    /// Opens the spool's directory, making it where it is not there, and takes it for this process.
    ///
    /// # Errors
    /// A sentence that names the directory and what to do, where it cannot be used or another process has it.
    pub fn open(settings: &config::Logs) -> io::Result<Arc<Self>> {
        let dir = &settings.dir;
        let about = |error: io::Error| {
            let text = format!("the log spool's directory {} cannot be used: {error}", dir.display());
            io::Error::new(error.kind(), text)
        };
        if settings.segment_bytes < SEGMENT_BYTES_MIN {
            let text = format!("logs.segment_bytes must be at least {SEGMENT_BYTES_MIN}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(about)?;
        let lock = directory::lock(dir)?;
        let id = directory::identity(&lock).map_err(about)?;
        let (old, bytes) = directory::survey(dir).map_err(about)?;
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            id,
            boot: Uuid::now_v7().simple().to_string(),
            segment_bytes: settings.segment_bytes.next_multiple_of(4096),
            bytes_max: settings.spool_bytes_max,
            sync_every: settings.sync_every,
            ship_every: settings.ship_every,
            batch_rows_max: settings.batch_rows_max.max(1),
            old: Mutex::new(old),
            segments: Mutex::default(),
            used: Mutex::default(),
            slots: Mutex::default(),
            next: AtomicU64::new(1),
            // Whoever knows numbers of an earlier process must not take them for this one's.
            batches: AtomicU64::new(clock::now().micros()),
            bytes: AtomicU64::new(bytes),
            accounts: Accounts::new(),
        });
        let keeper = Keeper::start(Arc::clone(&shared))?;
        Ok(Arc::new(Self { shared, keeper, _lock: lock }))
    }

    /// A writer for I/O thread `thread`, with its first segment made; a second one follows in the background.
    ///
    /// # Errors
    /// Where the disk or `logs.spool_bytes_max` has no room for two segments for each writer.
    pub fn writer(self: &Arc<Self>, thread: usize) -> io::Result<SpoolWriter> {
        let segment_bytes = self.shared.segment_bytes;
        let writers = self.shared.writers() as u64 + 1;
        if self.shared.bytes_max < 2 * writers * segment_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "logs.spool_bytes_max is {}, but {writers} I/O threads need two segments of {segment_bytes} \
                     bytes each: raise it to {} or lower logs.segment_bytes",
                    self.shared.bytes_max,
                    2 * writers * segment_bytes
                ),
            ));
        }
        let blank = self.shared.make(thread)?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the log spool in {} is at logs.spool_bytes_max before the gateway starts: what an earlier \
                     run left there must be shipped, and *.damaged files moved away",
                    self.shared.dir.display()
                ),
            )
        })?;
        let slot = Arc::new(Slot::new(thread));
        self.shared.slots.lock().push(Arc::clone(&slot));
        self.keeper.wake();
        Ok(SpoolWriter::new(Arc::clone(self), slot, blank))
    }

    /// Whose spool it is: the same for every process that has had the directory.
    pub fn id(&self) -> Uuid {
        self.shared.id
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The accounts.
    pub fn counts(&self) -> Counts {
        let accounts = &self.shared.accounts;
        // What leaves is read before what came in, so that `pending` is never less than none.
        let mut counts = Counts {
            shipped: accounts.shipped.load(Ordering::Acquire),
            damaged: accounts.damaged.load(Ordering::Acquire),
            refused: accounts.refused.load(Ordering::Acquire),
            sync_failures: accounts.sync_failures.load(Ordering::Relaxed),
            segment_failures: accounts.segment_failures.load(Ordering::Relaxed),
            ..Counts::default()
        };
        counts.written = accounts.recovered.load(Ordering::Acquire);
        for slot in self.shared.slots.lock().iter() {
            counts.written += slot.rows.load(Ordering::Acquire);
            counts.dropped += slot.dropped.load(Ordering::Relaxed);
        }
        counts
    }

    /// Bytes of every file of the spool; at most `logs.spool_bytes_max`, unless an earlier process left more.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// For how long at most the oldest row has been waiting for the record; zero where none waits.
    pub fn lag(&self) -> Duration {
        if self.counts().pending() == 0 {
            return Duration::ZERO;
        }
        let accounts = &self.shared.accounts;
        let caught_up = Duration::from_micros(accounts.caught_up.load(Ordering::Relaxed));
        accounts.opened.elapsed().saturating_sub(caught_up)
    }

    /// Tells the keeper that there is something to do.
    pub(super) fn wake_keeper(&self) {
        self.keeper.wake();
    }
}

/// Ends the keeper, and removes the segments that were made and never used, and files that were to be used again.
impl Drop for Spool {
    fn drop(&mut self) {
        self.keeper.stop();
        for segment in std::mem::take(&mut *self.shared.segments.lock()).into_values() {
            if segment.written() == frame::FIRST {
                let _ = self.shared.remove_file(&segment.path);
            }
        }
        for used in self.shared.used.lock().drain(..) {
            let _ = self.shared.remove_file(&used.path);
        }
    }
}

impl Shared {
    /// Makes the next segment of a thread; `None` where the budget has no room for it.
    pub fn make(&self, thread: usize) -> io::Result<Option<Blank>> {
        let place = (thread, self.next.fetch_add(1, Ordering::Relaxed));
        let used = self.used.lock().pop();
        if let Some(used) = used {
            match Segment::reuse(used, &self.boot, place, self.segment_bytes) {
                Ok(blank) => return Ok(Some(self.made(blank))),
                Err(_) => drop(self.bytes.fetch_sub(self.segment_bytes, Ordering::Relaxed)),
            }
        }
        let fits = |bytes: u64| Some(bytes + self.segment_bytes).filter(|after| *after <= self.bytes_max);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Ok(None);
        }
        match Segment::create(&self.dir, &self.boot, place, self.segment_bytes) {
            Ok(blank) => Ok(Some(self.made(blank))),
            Err(error) => {
                self.bytes.fetch_sub(self.segment_bytes, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn made(&self, blank: Blank) -> Blank {
        self.segments.lock().insert(blank.segment.place, Arc::clone(&blank.segment));
        blank
    }

    /// Keeps the file of a segment that nobody needs any more for another one, as many as there are writers, or deletes it.
    pub fn give_up(&self, segment: &Segment) -> io::Result<()> {
        let writers = self.writers();
        let mut used = self.used.lock();
        if used.len() < writers
            && let Some(file) = segment.give_up()
        {
            used.push(file);
            return Ok(());
        }
        let kept = writers.min(used.len());
        let too_many = used.split_off(kept);
        drop(used);
        self.remove_file(&segment.path)?;
        too_many.iter().try_for_each(|file| self.remove_file(&file.path))
    }

    /// Writers that there are.
    pub fn writers(&self) -> usize {
        self.slots.lock().iter().filter(|slot| !slot.is_gone()).count()
    }

    /// The number of the next batch.
    pub fn next_batch(&self) -> u64 {
        self.batches.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Deletes a file of the spool, whether or not it is still there.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.bytes.fetch_sub(bytes, Ordering::Relaxed),
        };
        Ok(())
    }
}

impl Accounts {
    fn new() -> Self {
        Self {
            recovered: AtomicU64::new(0),
            shipped: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sync_failures: AtomicU64::new(0),
            segment_failures: AtomicU64::new(0),
            opened: Instant::now(),
            caught_up: AtomicU64::new(0),
        }
    }

    /// Says that everything written before `began` is in the record.
    pub fn caught_up(&self, began: Instant) {
        let micros = began.saturating_duration_since(self.opened).as_micros() as u64;
        self.caught_up.store(micros, Ordering::Relaxed);
    }
}
