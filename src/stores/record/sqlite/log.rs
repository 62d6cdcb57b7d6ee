//! The request log: batches moved in, each row once.
//!
//! **Invariants**
//! - Sums (`usage_5m`, `key_usage`) are touched only for rows that were really inserted, in the same
//!   transaction; so a batch that is moved twice counts once.
//! - A row has the place of its id (`places.rs`) or, where other ids are, the first one behind that is free. So it is
//!   found by its id without an index of ids, and stays to be found as long as the log is pruned by age only.
//!
//! **Where a row goes.** To the last of the [`sheets`](super::sheets), and into the [`log_blocks`](super::log_blocks) of
//! its key, its organization and everything. The last tell beforehand which places are taken, so that in nearly every
//! batch no row has to be looked at.
//!
//! **Why a connection of its own, and not sqlx's:** this is the one path of the record that every request takes.
//! sqlx holds each value in an allocation of its own and hands it to another thread, which copies it once
//! more: 5.4 µs of processor per row in one run of `benches/ship.rs`, against 2.2 with values bound from where they stood,
//! when a row was still a row of a table. Both use the same SQLite. The connection writes only while it holds the turn of the pool's one writer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use uuid::Uuid;

use super::SqliteRecord;
use super::columns::{int, micros};
use super::log_take::{Counted, Room, logged_of, take_rows};
use super::names::Names;
use super::old_log;
use crate::domain::id::RequestId;
use crate::domain::row::Admission;
use crate::stores::record::{RecordError, Rows, Shipment};

/// Pages of the write-ahead log from which on they are moved to the file: 32 MiB. Beside what is written, which only
/// waits where it has come to [`PAGES_MAX`] meanwhile.
const CHECKPOINT_PAGES: i64 = 4_096;

/// Pages of the write-ahead log at which a commit moves them itself: 256 MiB.
pub(super) const PAGES_MAX: u32 = 32_768;

/// Pages kept in memory, in KiB: the largest batch should not be written before it is complete.
const CACHE_KIB: i32 = 16 * 1024;

/// The connection that writes the log, made when it is first needed: commands ship nothing.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    busy_timeout: Duration,
    connection: Mutex<Option<Writer>>,
    /// What moves the write-ahead log to the file.
    mover: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct Writer {
    db: Connection,
    names: Names,
    room: Room,
}

/// What a shipment is when it goes to the thread that writes it.
struct Parcel {
    spool: Uuid,
    rows: Rows,
    carried: Vec<Carried>,
    finished: Vec<RequestId>,
    cursor: Option<(String, i64)>,
    number: Option<i64>,
    forgotten: Vec<String>,
}

/// An admission, in the order of the columns of `open_admissions`.
type Carried = (RequestId, i64, Option<[u8; 16]>, Option<String>, Option<String>, i64, i64);

impl SqliteRecord {
    pub(super) async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError> {
        let parcel = Parcel {
            spool: shipment.spool,
            rows: shipment.rows.clone(),
            carried: shipment.carried.iter().map(carried).collect(),
            finished: shipment.finished.iter().copied().map(RequestId).collect(),
            cursor: shipment.cursor.as_ref().map(|(segment, at)| (segment.clone(), int(*at))),
            number: shipment.number.map(int),
            forgotten: shipment.forgotten.clone(),
        };
        self.write_log(move |writer| writer.take(&parcel)).await
    }

    /// Brings the rows of a file from an older version into sheets.
    pub(super) async fn take_over_old_log(&self) -> Result<(), RecordError> {
        let old = sqlx::query("SELECT 1 FROM sqlite_master WHERE name = 'old_requests'");
        if old.fetch_optional(&self.writer).await?.is_none() {
            return Ok(());
        }
        self.write_log(|writer| old_log::take_over(&mut writer.db, &mut writer.names)).await
    }

    /// Writes to what is the log's, in one transaction, when it is the log's turn.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let transact = |writer: &mut Writer| {
            let tx = writer.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        self.write_log(transact).await
    }

    async fn write_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let turn = self.writer.acquire().await?;
        let log = Arc::clone(&self.log);
        let (done, pages) = tokio::task::spawn_blocking(move || log.write(work))
            .await
            .map_err(|panic| RecordError::Unavailable(sqlx::Error::Io(io::Error::other(panic))))?;
        drop(turn);
        if pages >= CHECKPOINT_PAGES {
            let log = Arc::clone(&self.log);
            // Nobody waits for it, and whoever is next writes on meanwhile.
            tokio::task::spawn_blocking(move || log.checkpoint());
        }
        done
    }
}

impl LogWriter {
    pub(super) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, connection: Mutex::new(None), mover: Mutex::new(None) }
    }

    /// Ends the connections.
    pub(super) fn close(&self) {
        *self.mover.lock() = None;
        *self.connection.lock() = None;
    }

    /// Does what writes to the log, and how many pages the write-ahead log has then; where it fails, nothing of it has
    /// happened.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, RecordError>,
    ) -> (Result<T, RecordError>, i64) {
        let mut connection = self.connection.lock();
        let done = self.writer(&mut connection).and_then(work);
        match (&done, &*connection) {
            (Ok(_), Some(writer)) => {
                let pages = pages(&writer.db).unwrap_or_default();
                (done, pages)
            }
            // Whatever happened to it: what is made anew knows what the file knows.
            _ => {
                *connection = None;
                (done, 0)
            }
        }
    }

    fn writer<'w>(&self, connection: &'w mut Option<Writer>) -> Result<&'w mut Writer, RecordError> {
        Ok(match connection {
            Some(writer) => writer,
            none => {
                let db = self.open()?;
                let names = Names::load(&db)?;
                none.insert(Writer { db, names, room: Room::default() })
            }
        })
    }

    /// Moves the write-ahead log to the file as far as no reader needs it, unless that is under way.
    fn checkpoint(&self) {
        let Some(mut mover) = self.mover.try_lock() else { return };
        let moved = match &mut *mover {
            Some(db) => checkpoint(db),
            none => self.open().and_then(|db| checkpoint(none.insert(db))),
        };
        // Where it fails, as a disk is full, the next commit tries again.
        if moved.is_err() {
            *mover = None;
        }
    }

    /// The file is there and in WAL mode: [`SqliteRecord::open`] saw to that.
    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", PAGES_MAX)?;
        Ok(connection)
    }
}

/// Pages of the write-ahead log, moved or not.
fn pages(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))
}

fn checkpoint(db: &mut Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

impl Writer {
    fn take(&mut self, parcel: &Parcel) -> Result<(), RecordError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        take_rows(&tx, &mut self.names, &parcel.rows, &mut self.room, Counted::Now)?;
        carry(&tx, parcel.spool, &parcel.carried)?;
        tx.execute(
            "INSERT INTO spools (id, seen_at, shipped) VALUES (?, unixepoch(), ?)
             ON CONFLICT (id) DO UPDATE SET
                 seen_at = excluded.seen_at, shipped = coalesce(excluded.shipped, shipped)",
            (parcel.spool.as_bytes(), parcel.number),
        )?;
        if !parcel.finished.is_empty() {
            let mut end = tx.prepare("DELETE FROM open_admissions WHERE id = ?")?;
            for id in &parcel.finished {
                end.execute([id.0.as_bytes()])?;
            }
        }
        if let Some(cursor) = &parcel.cursor {
            tx.execute(
                "INSERT INTO spool_cursors (segment, bytes) VALUES (?, ?)
                 ON CONFLICT (segment) DO UPDATE SET bytes = max(bytes, excluded.bytes)",
                (&cursor.0, cursor.1),
            )?;
        }
        for segment in &parcel.forgotten {
            tx.execute("DELETE FROM spool_cursors WHERE segment = ?", [segment])?;
        }
        Ok(tx.commit()?)
    }
}

impl From<rusqlite::Error> for RecordError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Corrupt(error.to_string()),
            rusqlite::Error::SqliteFailure(failure, text)
                if matches!(
                    failure.code,
                    ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig
                ) =>
            {
                Self::Refused(text.unwrap_or_else(|| failure.to_string()))
            }
            other => Self::Unavailable(sqlx::Error::Io(io::Error::other(other))),
        }
    }
}

/// Keeps admissions whose frames are about to be deleted. Those whose rows are there already have ended: that is
/// how a batch moved twice looks.
fn carry(tx: &Connection, spool: Uuid, admissions: &[Carried]) -> Result<(), RecordError> {
    if admissions.is_empty() {
        return Ok(());
    }
    let ended = logged_of(tx, admissions.iter().map(|(id, ..)| *id))?;
    let mut keep = tx.prepare(
        "INSERT INTO open_admissions (id, spool, at, key, organization, project, credits, microcents)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )?;
    for (id, at, key, organization, project, credits, microcents) in admissions {
        if !ended.contains(id) {
            let id = id.0.as_bytes();
            keep.execute((id, spool.as_bytes(), at, key, organization, project, credits, microcents))?;
        }
    }
    Ok(())
}

fn carried(admission: &Admission<'_>) -> Carried {
    (
        admission.id,
        micros(admission.at),
        admission.key.map(|key| *key.0.as_bytes()),
        admission.organization.as_deref().map(str::to_owned),
        admission.project.as_deref().map(str::to_owned),
        int(admission.estimate.credits),
        int(admission.estimate.microcents),
    )
}
