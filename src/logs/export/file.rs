//! The file that lines are appended to, and those that it was rotated away to: `requests.jsonl`,
//! `requests.jsonl.1`, `requests.jsonl.2` …, the highest number the newest.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::ExportError;
use super::cursor::{Cursor, CursorFile};
use crate::domain::id::RequestId;
use crate::stores::record::reports::PAGE_ROWS_MAX;

/// More than the longest line: a row's texts are bounded, and escaping makes six bytes of one.
const LINE_BYTES_MAX: u64 = 32 * 1024;
/// What can stand behind a cursor: the lines of one page.
const TAIL_BYTES_MAX: u64 = PAGE_ROWS_MAX as u64 * LINE_BYTES_MAX;

/// The file. Clones are the same file.
#[derive(Debug, Clone)]
pub(super) struct FileSink {
    path: Arc<Path>,
    rotate_bytes: u64,
    files_max: usize,
    cursors: CursorFile,
}

/// What of a line tells whose it is.
#[derive(Deserialize)]
struct Whose {
    id: Uuid,
}

impl FileSink {
    pub fn new(path: &Path, rotate_bytes: u64, files_max: usize, cursors: CursorFile) -> Self {
        Self { path: path.into(), rotate_bytes, files_max, cursors }
    }

    /// Appends `lines` and moves `cursor` on to `arrived`; both are on disk when this returns. Where it fails,
    /// [`FileSink::reconcile`] before trying again.
    pub fn append(&self, lines: &[u8], mut cursor: Cursor, arrived: u64) -> Result<Cursor, ExportError> {
        if cursor.bytes >= self.rotate_bytes {
            cursor.rotations += 1;
            cursor.rotating = true;
            self.cursors.write(&cursor)?;
            cursor = self.finish_rotation(cursor)?;
        }
        let bytes = self.write(lines).map_err(|error| self.failed(error))?;
        let next = Cursor { arrived, bytes, ..cursor };
        self.cursors.write(&next)?;
        Ok(next)
    }

    /// Finds out what the file holds beyond `cursor`, as whoever wrote last may have been stopped anywhere: the
    /// cursor as the file is, and the rows that are behind it already. A torn last line is cut off.
    pub fn reconcile(&self, mut cursor: Cursor) -> Result<(Cursor, HashSet<RequestId>), ExportError> {
        if cursor.rotating {
            cursor = self.finish_rotation(cursor)?;
        }
        self.behind(cursor).map_err(|error| self.failed(error))
    }

    fn behind(&self, mut cursor: Cursor) -> io::Result<(Cursor, HashSet<RequestId>)> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                cursor.bytes = 0;
                return Ok((cursor, HashSet::new()));
            }
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let tail = length.saturating_sub(cursor.bytes);
        if tail == 0 || tail > TAIL_BYTES_MAX {
            // Cut short by somebody, or another file: it goes on behind what is there.
            cursor.bytes = length;
            return Ok((cursor, HashSet::new()));
        }
        file.seek(SeekFrom::Start(cursor.bytes))?;
        let mut bytes = Vec::with_capacity(tail as usize);
        file.take(tail).read_to_end(&mut bytes)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        let ids = lines.filter_map(|line| serde_json::from_slice::<Whose>(line).ok());
        let ids = ids.map(|line| RequestId(line.id)).collect();
        cursor.bytes += whole as u64;
        if whole < bytes.len() {
            OpenOptions::new().write(true).open(&self.path)?.set_len(cursor.bytes)?;
        }
        Ok((cursor, ids))
    }

    /// The file's length with `lines`.
    fn write(&self, lines: &[u8]) -> io::Result<u64> {
        // A collector's group may read it.
        let mut file = OpenOptions::new().create(true).append(true).mode(0o640).open(&self.path)?;
        let before = file.metadata()?.len();
        file.write_all(lines)?;
        file.sync_data()?;
        if before == 0 {
            sync_parent(&self.path)?;
        }
        Ok(before + lines.len() as u64)
    }

    fn finish_rotation(&self, mut cursor: Cursor) -> Result<Cursor, ExportError> {
        let aside = self.rotated(cursor.rotations);
        let moved = || {
            if !aside.try_exists()? {
                match fs::rename(&self.path, &aside) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => sync_parent(&self.path)?,
                }
            }
            self.remove_oldest(cursor.rotations)
        };
        moved().map_err(|error| self.failed(error))?;
        (cursor.rotating, cursor.bytes) = (false, 0);
        self.cursors.write(&cursor)?;
        Ok(cursor)
    }

    /// Removes what is more than `files_max` files, the present one counted.
    fn remove_oldest(&self, newest: u64) -> io::Result<()> {
        let kept = newest.saturating_sub(self.files_max.saturating_sub(1) as u64);
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for entry in fs::read_dir(parent(&self.path))? {
            let entry = entry?;
            let other = entry.file_name();
            let other = other.to_string_lossy();
            let number =
                other.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.')?.parse::<u64>().ok());
            if number.is_some_and(|number| number <= kept) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn rotated(&self, number: u64) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn failed(&self, error: io::Error) -> ExportError {
        ExportError::Write(self.path.display().to_string(), error)
    }
}

/// Makes the names beside `path` durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
