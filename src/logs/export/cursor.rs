//! How far the export has come, in a file of its own that is replaced in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ExportError;

/// Beside the spool's segments, whose names are others.
const NAME: &str = "export.json";

/// How far the export has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// [`Arrived`](crate::stores::record::reports::Arrived): rows before it are exported.
    pub arrived: u64,
    /// The file's length with all of them.
    pub bytes: u64,
    /// Files that were rotated away so far.
    pub rotations: u64,
    /// Whether the last of them may still stand in its old place.
    pub rotating: bool,
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub(super) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join(NAME) }
    }

    /// The cursor of an earlier process.
    pub fn read(&self) -> Result<Option<Cursor>, ExportError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let advice = "remove it to export only what comes from now on";
            self.failed(io::Error::other(format!("is not the export's cursor ({error}): {advice}")))
        })
    }

    /// Puts `cursor` in the place of the one before; on disk when this returns.
    pub fn write(&self, cursor: &Cursor) -> Result<(), ExportError> {
        let new = self.path.with_extension("new");
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(cursor)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ExportError {
        ExportError::Write(self.path.display().to_string(), error)
    }
}
