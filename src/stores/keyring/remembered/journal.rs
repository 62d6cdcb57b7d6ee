//! The journal's file: lines are appended, and when it has doubled, what still counts is written anew beside it and takes
//! its place. Everything here waits for the disk: not on an I/O thread.
//!
//! | what fails | what happens |
//! |---|---|
//! | the process dies | what was written is there; a torn last line is cut off |
//! | the machine dies | changes were forced to disk before they were in force; keys learned in the last seconds may be missing |
//! | the disk is full or fails | the file is emptied, as a revocation that is not in it would be worse than no journal; said, counted, and begun anew after [`RETRY_AFTER`] |
//! | the disk hangs | lines wait up to [`PENDING_BYTES_MAX`]; more than that is as if it had failed |

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::book::Book;
use super::line::Line;

/// Its name in the spool's directory.
pub(super) const FILE: &str = "keys.journal";
/// Lines that wait to be written, in bytes.
const PENDING_BYTES_MAX: usize = 4 << 20;
/// A file that is smaller is not written anew.
const COMPACT_BYTES_MIN: u64 = 1 << 20;
/// Changes that a compacted file keeps: far more than there are while an answer of the record is on its way.
const OUTS_KEPT: usize = 10_000;
/// How long after a failure the journal is begun anew.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The file, and what waits to be written to it.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    record: String,
    entries_max: usize,
    pending: Mutex<Pending>,
    has_pending: AtomicBool,
    writer: Mutex<Writer>,
    /// Entries that were not kept for want of room, and failures of the disk.
    overflown: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    text: String,
    /// Whether changes are among it.
    has_changes: bool,
    /// Whether there was more than could wait.
    is_too_much: bool,
}

#[derive(Debug)]
struct Writer {
    file: Option<File>,
    length: u64,
    /// When it is longer than this it is written anew.
    compact_at: u64,
    /// Up to where the file is being written anew; `None` where it has been begun anew meanwhile.
    compacting: Option<(Option<u64>, JoinHandle<io::Result<Compacted>>)>,
    failed: Option<Instant>,
}

/// What is to take the file's place, but for what was added since.
#[derive(Debug)]
struct Compacted {
    file: File,
    length: u64,
    too_many: u64,
}

impl Journal {
    /// Opens the journal of `record` in `directory`, or begins it, for at most `entries_max` entries; and what it says.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn open(directory: &Path, record: &str, entries_max: usize) -> io::Result<(Self, Book)> {
        let path = directory.join(FILE);
        let file = options().open(&path)?;
        // Left by a process that died while it wrote it.
        let _ = fs::remove_file(beside(&path));
        let length = file.metadata()?.len();
        let book = Book::read(file.try_clone()?, length, record)?;
        let compact_at = (2 * book.live_bytes()).max(COMPACT_BYTES_MIN);
        let writer = Writer { file: None, length: book.length, compact_at, compacting: None, failed: None };
        let journal = Self {
            path,
            record: record.to_owned(),
            entries_max,
            pending: Mutex::default(),
            has_pending: AtomicBool::new(false),
            writer: Mutex::new(writer),
            overflown: AtomicU64::new(0),
        };
        {
            let mut writer = journal.writer.lock();
            file.set_len(book.length)?;
            writer.file = Some(file);
            if book.length == 0 {
                writer.append(&Line::Head(record).text(), false)?;
            }
        }
        Ok((journal, book))
    }

    /// What it says by now.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self) -> io::Result<Book> {
        let (file, length) = {
            let writer = self.writer.lock();
            // Opened under the lock, or another file could have taken its place.
            (File::open(&self.path)?, writer.length)
        };
        Book::read(file, length, &self.record)
    }

    /// Adds a line to what is to be written. One that there is no room for is left out and counted, but for a change,
    /// without which nothing of the journal could be believed.
    pub fn add(&self, line: &Line<'_>) {
        let is_change = matches!(line, Line::Out { .. });
        let text = line.text();
        let mut pending = self.pending.lock();
        if pending.text.len() + text.len() > PENDING_BYTES_MAX {
            self.overflown.fetch_add(1, Ordering::Relaxed);
            if is_change {
                pending.is_too_much = true;
                self.has_pending.store(true, Ordering::Release);
            }
            return;
        }
        pending.text.push_str(&text);
        pending.has_changes |= is_change;
        self.has_pending.store(true, Ordering::Release);
    }

    /// Whether there is something to be written.
    pub fn has_pending(&self) -> bool {
        self.has_pending.load(Ordering::Acquire)
    }

    /// Entries and lines that were not kept, and failures of the disk.
    pub fn overflown(&self) -> u64 {
        self.overflown.load(Ordering::Relaxed)
    }

    /// Writes what is to be written; changes are on disk when this returns.
    pub fn write(&self) {
        let mut writer = self.writer.lock();
        let pending = {
            let mut pending = self.pending.lock();
            self.has_pending.store(false, Ordering::Release);
            std::mem::take(&mut *pending)
        };
        let written = self.write_with(&mut writer, &pending);
        if let Err(error) = written {
            self.give_up(&mut writer, &error);
        }
    }

    fn write_with(&self, writer: &mut Writer, pending: &Pending) -> io::Result<()> {
        if pending.is_too_much {
            return Err(io::Error::other("it takes too long"));
        }
        if writer.file.is_none() {
            if writer.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER) {
                self.overflown.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            self.begin(writer)?;
        }
        writer.append(&pending.text, pending.has_changes)?;
        if writer.failed.take().is_some() {
            tracing::info!(file = %self.path.display(), "keys are remembered again");
        }
        self.compact(writer)
    }

    /// Forgets everything, and what waits to be written too.
    pub fn clear(&self) {
        let mut writer = self.writer.lock();
        *self.pending.lock() = Pending::default();
        if let Err(error) = self.begin(&mut writer) {
            self.give_up(&mut writer, &error);
        }
    }

    fn begin(&self, writer: &mut Writer) -> io::Result<()> {
        let file = options().open(&self.path)?;
        file.set_len(0)?;
        *writer = Writer {
            file: Some(file),
            length: 0,
            compact_at: COMPACT_BYTES_MIN,
            compacting: writer.compacting.take().map(|(_, thread)| (None, thread)),
            failed: writer.failed,
        };
        writer.append(&Line::Head(&self.record).text(), false)
    }

    fn give_up(&self, writer: &mut Writer, error: &io::Error) {
        self.overflown.fetch_add(1, Ordering::Relaxed);
        if let Some(file) = writer.file.take() {
            // On a full disk this goes where writing does not; and where neither does, nothing can be read either.
            let _ = file.set_len(0);
        }
        let _ = fs::remove_file(&self.path);
        writer.compacting = writer.compacting.take().map(|(_, thread)| (None, thread));
        if writer.failed.replace(Instant::now()).is_none() {
            tracing::warn!(
                file = %self.path.display(),
                %error,
                "keys cannot be remembered for a start without the record (logs.dir); going on without"
            );
        }
    }

    /// Writes the file anew where it has doubled: beside it, by a thread, while lines are still appended.
    fn compact(&self, writer: &mut Writer) -> io::Result<()> {
        if let Some((upto, compacting)) = writer.compacting.take() {
            if !compacting.is_finished() {
                writer.compacting = Some((upto, compacting));
                return Ok(());
            }
            let done = compacting.join().map_err(|_| io::Error::other("compacting it panicked"))?;
            let Some(upto) = upto else { return Ok(()) };
            return self.replace(writer, upto, done?);
        }
        if writer.length > writer.compact_at {
            let (path, record, most) = (self.path.clone(), self.record.clone(), self.entries_max);
            let upto = writer.length;
            let thread = std::thread::Builder::new().name("tollgate-keys".to_owned());
            let compacting = thread.spawn(move || compacted(&path, &record, upto, most))?;
            writer.compacting = Some((Some(upto), compacting));
        }
        Ok(())
    }

    fn replace(&self, writer: &mut Writer, upto: u64, done: Compacted) -> io::Result<()> {
        let Some(old) = &writer.file else { return Ok(()) };
        let mut added = vec![0; (writer.length - upto) as usize];
        old.read_exact_at(&mut added, upto)?;
        done.file.write_all_at(&added, done.length)?;
        done.file.sync_data()?;
        fs::rename(beside(&self.path), &self.path)?;
        self.overflown.fetch_add(done.too_many, Ordering::Relaxed);
        writer.length = done.length + added.len() as u64;
        writer.compact_at = (2 * done.length).max(COMPACT_BYTES_MIN);
        writer.file = Some(done.file);
        Ok(())
    }
}

#[cfg(test)]
impl Journal {
    /// Has it write to another file.
    pub fn exchange(&self, file: File) {
        self.writer.lock().file = Some(file);
    }
}

impl Writer {
    fn append(&mut self, text: &str, sync: bool) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(text.as_bytes(), self.length)?;
        self.length += text.len() as u64;
        if sync { file.sync_data() } else { Ok(()) }
    }
}

fn compacted(path: &Path, record: &str, upto: u64, most: usize) -> io::Result<Compacted> {
    let book = Book::read(File::open(path)?, upto, record)?;
    let file = options().truncate(true).open(beside(path))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let head = Line::Head(record).text();
    writer.write_all(head.as_bytes())?;
    let mut length = head.len() as u64;
    let (lines, too_many) = book.lines(most, OUTS_KEPT);
    for line in lines {
        let line = line?;
        writer.write_all(line.as_bytes())?;
        length += line.len() as u64;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_data()?;
    Ok(Compacted { file, length, too_many })
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("journal.new")
}
