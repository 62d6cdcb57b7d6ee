//! The spool's directory: whose it is, and what an earlier process left in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::segment;

const LOCK: &str = "lock";

/// Takes the directory for this process. The lock is the kernel's: it ends with the process, however that ends.
pub(super) fn lock(dir: &Path) -> io::Result<File> {
    let path = dir.join(LOCK);
    let file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
        let error = io::Error::from(errno);
        let text = if error.kind() == io::ErrorKind::WouldBlock {
            format!(
                "another gateway is using the log spool in {}: stop it, or give this one a `logs.dir` of its own",
                dir.display()
            )
        } else {
            format!("the log spool's lock {} cannot be taken: {error}", path.display())
        };
        io::Error::new(error.kind(), text)
    })?;
    Ok(file)
}

/// Whose spool this is, over all processes that ever use it: what its lock file holds, from now on where it holds nothing.
pub(super) fn identity(mut lock: &File) -> io::Result<Uuid> {
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    if text.is_empty() {
        let id = Uuid::new_v4();
        writeln!(lock, "{id}")?;
        lock.sync_all()?;
        return Ok(id);
    }
    Uuid::try_parse(text.trim()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "its lock file holds something else than an id")
    })
}

/// Segments that are there, oldest first (their names sort so), and the bytes of everything that counts.
pub(super) fn survey(dir: &Path) -> io::Result<(Vec<PathBuf>, u64)> {
    let mut old = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(segment::SUFFIX) {
            old.push(entry.path());
        } else if !name.ends_with(segment::DAMAGED_SUFFIX) {
            continue;
        }
        bytes += entry.metadata()?.len();
    }
    old.sort();
    Ok((old, bytes))
}
