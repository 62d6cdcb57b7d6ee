//! One file of the spool: its name, how it is made, and how far it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{self, Checksum};
use super::mapping::{self, Flusher, Mapping};

/// The ending of a segment's file name: `{boot}-{thread:03}-{seq:06}.spool`. `boot` is a UUID version 7, so no
/// two segments ever have one name, in this directory or another, and names sort by time.
pub(super) const SUFFIX: &str = ".spool";
/// What a segment that cannot be read to its end is renamed to.
pub(super) const DAMAGED_SUFFIX: &str = ".damaged";

/// Where a segment stands among its process's: thread, then sequence (rising over all threads).
pub(super) type Place = (usize, u64);

/// A segment of this process.
#[derive(Debug)]
pub(super) struct Segment {
    /// Thread and sequence.
    pub place: Place,
    /// The file's name, by which the record knows it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its size on disk.
    pub bytes: u64,
    /// How its checksums are made.
    pub checksum: Checksum,
    /// The end of the last whole frame. Stored with Release after the frame.
    written: AtomicU64,
    /// Rows in it.
    rows: AtomicU64,
    /// Whether its writer is done with it.
    closed: AtomicBool,
    unsynced: Mutex<Unsynced>,
}

#[derive(Debug)]
struct Unsynced {
    /// Bytes known to be on disk.
    synced: u64,
    /// Whether the file's name is, too.
    named: bool,
    /// Dropped, and with it the mapping, once a closed segment is on disk.
    flusher: Option<Flusher>,
}

/// The file of a segment that was given up, for another one: what a file costs is its pages, which the kernel finds, clears
/// and lets go again, a fifth of what a row cost.
#[derive(Debug)]
pub(super) struct Used {
    /// The file.
    pub path: PathBuf,
    mapping: Mapping,
    flusher: Flusher,
}

/// A segment and the means to write it.
#[derive(Debug)]
pub(super) struct Blank {
    /// The segment.
    pub segment: std::sync::Arc<Segment>,
    /// Its memory.
    pub mapping: Mapping,
}

impl Segment {
    /// Makes a segment of `bytes` bytes with every block handed out. A file that cannot be completed is removed
    /// again. Nothing here waits for the disk to have it: a writer may be waiting for this segment, and until
    /// [`Segment::sync`] none of its rows is promised to survive the machine.
    ///
    /// # Errors
    /// Those of the file system: most of all `ENOSPC`.
    pub fn create(dir: &Path, boot: &str, place: Place, bytes: u64) -> io::Result<Blank> {
        let name = name(boot, place);
        let path = dir.join(&name);
        let made = allocate(&path, bytes).and_then(|file| mapping::map(&file, bytes as usize));
        let (mapping, flusher) = made.inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self::begin(name, path, place, bytes, mapping, flusher))
    }

    /// Makes a segment of the file of another one, under a name of its own: no two ever have one.
    ///
    /// # Errors
    /// Those of the file system; the file is removed then.
    pub fn reuse(used: Used, boot: &str, place: Place, bytes: u64) -> io::Result<Blank> {
        let name = name(boot, place);
        let path = used.path.with_file_name(&name);
        fs::rename(&used.path, &path).inspect_err(|_| drop(fs::remove_file(&used.path)))?;
        Ok(Self::begin(name, path, place, bytes, used.mapping, used.flusher))
    }

    fn begin(
        name: String,
        path: PathBuf,
        place: Place,
        bytes: u64,
        mut mapping: Mapping,
        flusher: Flusher,
    ) -> Blank {
        // No two segments have a name, so the next one's checksums are not taken for this one's.
        let checksum = Checksum::Xxh3(xxh3_64(name.as_bytes()) as u32);
        mapping.begin(checksum.header());
        let segment = std::sync::Arc::new(Self {
            place,
            name,
            path,
            bytes,
            checksum,
            written: AtomicU64::new(frame::FIRST),
            rows: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            unsynced: Mutex::new(Unsynced { synced: frame::FIRST, named: false, flusher: Some(flusher) }),
        });
        Blank { segment, mapping }
    }

    /// The file, where it can be used again; nobody takes it for a segment then. `None` where it is being forced to disk, or is
    /// no longer mapped.
    pub fn give_up(&self) -> Option<Used> {
        let flusher = self.unsynced.try_lock()?.flusher.take()?;
        let (mut mapping, flusher) = flusher.again()?;
        mapping.give_up();
        Some(Used { path: self.path.clone(), mapping, flusher })
    }

    /// How far it is written; what lies before may be read.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Rows in it; complete once it is closed.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// Whether [`Segment::written`], asked after this, is final.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Says that frames up to `end` are whole. Only its writer calls this.
    pub fn wrote(&self, end: u64) {
        self.written.store(end, Ordering::Release);
    }

    /// Counts a row; before [`Segment::wrote`] shows it. Only its writer calls this.
    pub fn count_row(&self) {
        self.rows.store(self.rows.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Says that nothing more will be written. Only its writer calls this.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Forces what is new to disk; whether anything was. Unmaps a segment that needs it no more, unless its file may be used
    /// again soon.
    ///
    /// # Errors
    /// Those of `msync(2)` and `fsync(2)`.
    pub fn sync(&self, keep: bool) -> io::Result<bool> {
        let mut unsynced = self.unsynced.lock();
        let closed = self.is_closed();
        let written = self.written();
        let Some(flusher) = &unsynced.flusher else { return Ok(false) };
        let new = written > unsynced.synced;
        if new {
            flusher.flush(unsynced.synced, written + frame::CLOSED_BYTES as u64)?;
            unsynced.synced = written;
        }
        if new && !unsynced.named {
            self.name_durably()?;
            unsynced.named = true;
        }
        if closed && !keep {
            unsynced.flusher = None;
        }
        Ok(new)
    }
}

impl Segment {
    /// Forces the file's name to disk. Its blocks and its size are there with the first frames that were forced: a
    /// `fdatasync` leaves out nothing without which these could not be read. Not with `fsync`: that would write the whole
    /// segment, pages of zeros that the writer then faults on again, one by one.
    fn name_durably(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), sync_dir)
    }

    /// Whether the disk may not have all of it.
    #[cfg(test)]
    pub fn unsynced(&self) -> bool {
        self.unsynced.try_lock().is_none_or(|unsynced| unsynced.synced < self.written())
    }

    /// Until what is returned is dropped, forcing this segment to disk takes as long as on a disk that stands still.
    #[cfg(test)]
    pub fn stand_still(&self) -> impl Drop + '_ {
        self.unsynced.lock()
    }
}

fn name(boot: &str, place: Place) -> String {
    format!("{boot}-{:03}-{:06}{SUFFIX}", place.0, place.1)
}

fn allocate(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        // File systems without the call: zeros take the blocks as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&file, bytes)?,
        Err(errno) => return Err(errno.into()),
    }
    Ok(file)
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = [0_u8; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(zeros.len() as u64);
        file.write_all(&zeros[..some as usize])?;
        left -= some;
    }
    Ok(())
}

/// Makes the names in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Renames a segment that cannot be read to its end, for a person to look at. It still counts towards the
/// spool's size.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(DAMAGED_SUFFIX);
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    Ok(aside)
}
