//! The record in one SQLite file.
//!
//! One connection writes and a few read, in WAL mode, so that readers never wait for the writer; the request log
//! has a connection of its own to write with ([`log`]), which takes turns with the writer. Other
//! processes (the command line beside a running gateway) open the same file; SQLite lets one of all writers in
//! at a time. A write takes its turn *before* its first read (`BEGIN IMMEDIATE`), so what it read is still true
//! when it writes, and `changes` are numbered in the order in which they become visible.
//!
//! | what fails | what happens |
//! |---|---|
//! | the file's directory is missing | it is made; the file is readable by its owner only |
//! | two processes make the file at once | the second waits and finds it made |
//! | the directory cannot be made or written to | `open` fails with [`RecordError::Unavailable`] |
//! | the file was made by a newer version | `open` fails with [`RecordError::Corrupt`]; nothing is changed |
//! | another process writes | a write waits up to [`BUSY_TIMEOUT`], then `Unavailable`; nothing half written |
//! | the process dies inside a write | the write never happened; committed writes survive a power cut (`synchronous = FULL`) |
//! | disk full, IO error | `Unavailable`; the transaction is rolled back |
//! | a column holds what this program never wrote | [`RecordError::Corrupt`], naming it |
//!
//! **Deliberately absent:** shrinking of the file: room of what was removed is used again for what comes.

mod columns;
mod engine;
mod jobs;
mod log;
mod log_blocks;
mod log_read;
mod log_rows;
mod log_sums;
mod log_take;
mod names;
mod old_log;
mod reports;
mod sheets;
#[path = "../sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "one text, compiled for each engine")]
mod sql;
#[cfg(test)]
mod tests;
mod upkeep;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use self::log::LogWriter;
use self::reports::Readers;
use super::{RecordError, unmigrated};

static MIGRATIONS: Migrator = sqlx::migrate!("src/stores/record/migrations/sqlite");

/// How long a write waits for another process's.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Of a new file: twice the usual, which makes shipping the log cheaper (`benches/ship.rs`).
const PAGE_BYTES: u32 = 8_192;

/// Connections that read.
const READERS_MAX: u32 = 4;

/// How long a caller waits for a connection of this process.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);

/// The record in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteRecord {
    writer: SqlitePool,
    readers: SqlitePool,
    log: Arc<LogWriter>,
    log_readers: Arc<Readers>,
    /// The scope behind which old sums are looked for.
    swept: Arc<AtomicU32>,
}

impl SqliteRecord {
    /// Opens the file at `path`, making it and its directory where they do not exist, and brings its tables up
    /// to date.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] or [`RecordError::Corrupt`]; see the module.
    pub async fn open(path: &Path) -> Result<Self, RecordError> {
        Self::open_waiting(path, BUSY_TIMEOUT).await
    }

    /// [`SqliteRecord::open`] with a patience of its own for other processes' writes.
    async fn open_waiting(path: &Path, busy_timeout: Duration) -> Result<Self, RecordError> {
        let file = path.to_path_buf();
        // Held until the tables are up to date: sqlx takes no lock of its own on SQLite.
        let _alone = tokio::task::spawn_blocking(move || make_file(&file))
            .await
            .map_err(|panic| io::Error::other(panic.to_string()))
            .and_then(|made| made)
            .map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", log::PAGES_MAX.to_string())
            .foreign_keys(true)
            .busy_timeout(busy_timeout);
        let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
        let writer = pool().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await.map_err(unmigrated)?;
        let readers = pool()
            .min_connections(0)
            .max_connections(READERS_MAX)
            .connect_lazy_with(options.pragma("query_only", "on"));
        let log = Arc::new(LogWriter::new(path.to_path_buf(), busy_timeout));
        let log_readers = Arc::new(Readers::new(path.to_path_buf(), busy_timeout));
        let record = Self { writer, readers, log, log_readers, swept: Arc::default() };
        record.take_over_old_log().await?;
        Ok(record)
    }

    /// Ends every connection; what is committed is on disk.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        let (log, log_readers) = (Arc::clone(&self.log), Arc::clone(&self.log_readers));
        // The last connection moves the write-ahead log to the file.
        let close = move || {
            log_readers.close();
            log.close();
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }

    /// A transaction that already has its turn to write.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, RecordError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Makes directory and file, and returns the lock under which tables are made.
///
/// An existing file must not be opened here: closing any descriptor of it would drop the locks that SQLite
/// holds on it elsewhere in this process (POSIX `fcntl`). So the lock is on the directory.
fn make_file(path: &Path) -> io::Result<File> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| naming(&dir, &error))?;
    let lock = File::open(&dir).map_err(|error| naming(&dir, &error))?;
    lock.lock()?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(naming(path, &error)),
        _ => Ok(lock),
    }
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
