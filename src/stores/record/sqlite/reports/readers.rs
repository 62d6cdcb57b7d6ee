//! Connections that read the log: without sqlx, which hands every row of an answer from thread to thread.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::stores::record::RecordError;

/// Answers under way at one time; further questions wait.
const READERS_MAX: usize = 4;

/// Pages kept in memory by each, in KiB.
const CACHE_KIB: i32 = 8 * 1024;

/// Connections for reading, made as they are needed.
#[derive(Debug)]
pub(in super::super) struct Readers {
    path: PathBuf,
    busy_timeout: Duration,
    idle: Mutex<Vec<Connection>>,
    turns: Semaphore,
}

impl Readers {
    pub fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, idle: Mutex::default(), turns: Semaphore::new(READERS_MAX) }
    }

    /// Ends every connection, and answers no more questions.
    pub fn close(&self) {
        self.turns.close();
        self.idle.lock().clear();
    }

    /// Asks a question on a thread where a disk may be waited for. All of it is answered as of one instant.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Connection) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let _turn = self.turns.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().pop();
            let db = idle.map_or_else(|| readers.open(), Ok)?;
            let answer = {
                let instant = db.unchecked_transaction()?;
                question(&instant)?
            };
            readers.idle.lock().push(db);
            Ok(answer)
        })
        .await
        .map_err(|panic| RecordError::Unavailable(sqlx::Error::Io(io::Error::other(panic))))?
    }

    /// The file is there and in WAL mode: [`SqliteRecord::open`](super::super::SqliteRecord::open) saw to that.
    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(self.busy_timeout)?;
        db.pragma_update(None, "query_only", "on")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(db)
    }
}
