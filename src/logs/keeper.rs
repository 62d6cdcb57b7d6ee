//! The spool's background threads: everything that waits for a disk and must not happen on an I/O thread.
//!
//! One keeps a spare segment or more ready for every writer; it is woken when a writer took a spare or room became
//! free, and tries a full disk again at every beat. The other forces what was written to disk in groups, at most
//! `logs.sync_every` apart and only where something was. They are two, as forcing can take seconds on a slow disk
//! and a writer that waits for a spare meanwhile would turn requests away.
//!
//! **Fairness:** every writer has its first spare before any gets a second one. So each always has two segments
//! at least, begun, spare or waiting for the shipper, and a thread with many open requests cannot starve it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use parking_lot::Mutex;

use super::segment::Blank;
use super::spool::Shared;

/// Segments of each writer that are all kept mapped until they are shipped: the one it writes, a spare, and those that the
/// shipper is about to be done with. While the record is away there are more, which need no address space.
const MAPPED_EACH: usize = 4;

/// What one writer and the keeper share. The writer only ever tries the lock.
#[derive(Debug)]
pub(super) struct Slot {
    thread: usize,
    ready: Mutex<VecDeque<Blank>>,
    /// Length of `ready`.
    ready_count: AtomicUsize,
    /// Spares that the writer has taken and not begun.
    held: AtomicUsize,
    /// Spares that it should have, ready and held.
    wanted: AtomicUsize,
    gone: AtomicBool,
    /// Rows written. Only its writer adds.
    pub rows: AtomicU64,
    /// Rows dropped for want of room. Only its writer adds.
    pub dropped: AtomicU64,
}

impl Slot {
    pub fn new(thread: usize) -> Self {
        Self {
            thread,
            ready: Mutex::default(),
            ready_count: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            wanted: AtomicUsize::new(1),
            gone: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Moves what is ready to the writer, unless the keeper is at it this very moment.
    pub fn take(&self, to: &mut VecDeque<Blank>) {
        if self.ready_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(mut ready) = self.ready.try_lock() else { return };
        // In this order the keeper may for an instant see too few spares and make one more, never too many.
        self.ready_count.store(0, Ordering::Release);
        self.held.fetch_add(ready.len(), Ordering::Release);
        to.append(&mut ready);
    }

    /// Says that the writer began one of its spares.
    pub fn began_spare(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// Says how many spares the writer should have; whether that is news.
    pub fn want(&self, spares: usize) -> bool {
        let news = self.wanted.load(Ordering::Relaxed) != spares;
        if news {
            self.wanted.store(spares, Ordering::Relaxed);
        }
        news
    }

    /// Says that there is no writer any more. What is ready is closed unused.
    pub fn leave(&self) {
        let mut ready = self.ready.lock();
        self.gone.store(true, Ordering::Release);
        for blank in ready.drain(..) {
            blank.segment.close();
        }
        self.ready_count.store(0, Ordering::Release);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub fn spares(&self) -> usize {
        self.ready_count.load(Ordering::Acquire) + self.held.load(Ordering::Acquire)
    }

    fn give(&self, blank: Blank) {
        let mut ready = self.ready.lock();
        if self.is_gone() {
            blank.segment.close();
            return;
        }
        ready.push_back(blank);
        self.ready_count.store(ready.len(), Ordering::Release);
    }
}

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Arc<AtomicBool>,
    /// The one that makes segments.
    supplier: Thread,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, supplied) = (Arc::clone(&stop), Arc::clone(&shared));
        let supplier = thread::Builder::new()
            .name("log-keeper".into())
            .spawn(move || Supplier { shared: supplied, starved: false }.run(&told))?;
        let mut keeper = Self { stop, supplier: supplier.thread().clone(), threads: vec![supplier] };
        let told = Arc::clone(&keeper.stop);
        let syncer = thread::Builder::new()
            .name("log-sync".into())
            .spawn(move || Syncer { shared, failing: false }.run(&told))?;
        keeper.threads.push(syncer);
        Ok(keeper)
    }

    /// Wakes the one that makes segments: one system call at most, and none where it is at work.
    pub fn wake(&self) {
        self.supplier.unpark();
    }

    /// Ends both, with everything on disk.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes segments.
struct Supplier {
    shared: Arc<Shared>,
    /// Whether the last segment could not be made, so that it is said once.
    starved: bool,
}

impl Supplier {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.supply();
            thread::park_timeout(self.shared.sync_every);
        }
    }

    /// Makes the spares that are wanted and fit.
    fn supply(&mut self) {
        while let Some(slot) = self.next_wanting() {
            match self.shared.make(slot.thread) {
                Ok(Some(blank)) => {
                    slot.give(blank);
                    self.starved = false;
                }
                Ok(None) => return,
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// The writer whose turn it is.
    fn next_wanting(&self) -> Option<Arc<Slot>> {
        let slots = self.shared.slots.lock();
        let mut live = slots.iter().filter(|slot| !slot.is_gone());
        // As long as any has none, no other is asked.
        if let Some(without) = live.clone().find(|slot| slot.spares() == 0) {
            return Some(Arc::clone(without));
        }
        live.find(|slot| slot.spares() < slot.wanted.load(Ordering::Relaxed)).cloned()
    }

    fn failed(&mut self, error: &io::Error) {
        self.shared.accounts.segment_failures.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.starved, true) {
            let dir = self.shared.dir.display().to_string();
            tracing::error!(dir, %error, "no further segment of the log spool can be made; trying on");
        }
    }
}

/// Forces what was written to disk.
struct Syncer {
    shared: Arc<Shared>,
    /// Whether the last attempt failed, so that it is said once.
    failing: bool,
}

impl Syncer {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let began = Instant::now();
            self.sync();
            thread::park_timeout(self.shared.sync_every.saturating_sub(began.elapsed()));
        }
        self.sync();
    }

    fn sync(&mut self) {
        let segments: Vec<_> = self.shared.segments.lock().values().cloned().collect();
        let keep = segments.len() <= MAPPED_EACH * self.shared.writers();
        let mut failed = None;
        for segment in segments {
            if let Err(error) = segment.sync(keep) {
                self.shared.accounts.sync_failures.fetch_add(1, Ordering::Relaxed);
                failed = Some(error);
            }
        }
        match failed {
            Some(error) if !self.failing => {
                let dir = self.shared.dir.display().to_string();
                tracing::error!(dir, %error, "the log spool cannot be forced to disk; a power cut would cost rows");
                self.failing = true;
            }
            Some(_) => {}
            None => self.failing = false,
        }
    }
}
