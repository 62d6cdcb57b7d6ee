//! The request log: batches moved in, each row once.
//!
//! **Invariants**
//! - Sums (`usage_5m`, `key_usage`) are touched only for rows that were really inserted, in the same
//!   transaction; so a batch that is moved twice counts once.
//! - A row stands at the [`place_of`] its id or, where other ids are, at the first place behind that is free. So it is
//!   found by its id without an index of ids, and stays to be found as long as the log is pruned by age only.
//!
//! **Two ways to insert.** A batch is taken to be new, all of it, and each of its rows to find its place free; then
//! rows go in many at a time. Where that turns out wrong, which one of some thousand batches does by chance and every one
//! that is moved twice, the transaction is begun again and each row looked at.
//!
//! **Why a connection of its own, and not sqlx's:** this is the one path of the record that every request takes.
//! sqlx holds each value in an allocation of its own and hands it to another thread, which copies it once
//! more: 5.4 µs of processor per row in one run of `benches/ship.rs`, against 2.2 here at that time, where a value is bound from
//! where it stands. Both use the same SQLite. The connection writes only while it holds the turn of the pool's one writer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::SqliteRecord;
use super::columns::{int, micros};
use super::jobs::{self, Job};
use super::log_blocks::{Blocks, Entry};
use super::log_rows::{INSERT_ROWS, Insert, Named, Rows, place_of};
use super::log_sums::Sums;
use super::names::{EVERYTHING, Names, Scopes};
use crate::domain::id::RequestId;
use crate::domain::row::Admission;
use crate::stores::record::packed;
use crate::stores::record::{RecordError, Shipment};

/// Places looked at for one row. Each is taken by another row of the same millisecond, so that in truth it is
/// one, and two once in 100,000 rows; the bound is for a file that somebody else filled.
const PLACES_MAX: i64 = 10_000;

/// Pages of the write-ahead log at which a commit moves them to the file: 32 MiB.
const CHECKPOINT_PAGES: u32 = 4_096;

/// Pages kept in memory, in KiB: the largest batch should not be written before it is complete.
const CACHE_KIB: i32 = 16 * 1024;

/// The connection that writes the log, made when it is first needed: commands ship nothing.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    busy_timeout: Duration,
    connection: Mutex<Option<Writer>>,
}

#[derive(Debug)]
struct Writer {
    db: Connection,
    names: Names,
}

/// What a shipment is when it goes to the thread that writes it.
struct Parcel {
    spool: Uuid,
    rows: Rows,
    jobs: Vec<Job>,
    carried: Vec<Carried>,
    finished: Vec<RequestId>,
    cursor: Option<(String, i64)>,
    number: Option<i64>,
    forgotten: Vec<String>,
}

/// An admission, in the order of the columns of `open_admissions`.
type Carried = (RequestId, i64, Option<[u8; 16]>, Option<String>, Option<String>, i64, i64);

impl SqliteRecord {
    pub(super) async fn ship(&self, shipment: &Shipment<'_>) -> Result<(), RecordError> {
        let parcel = Parcel {
            spool: shipment.spool,
            rows: Rows::pack(&shipment.rows),
            jobs: shipment.rows.iter().filter_map(jobs::of).collect(),
            carried: shipment.carried.iter().map(carried).collect(),
            finished: shipment.finished.iter().copied().map(RequestId).collect(),
            cursor: shipment.cursor.as_ref().map(|(segment, at)| (segment.clone(), int(*at))),
            number: shipment.number.map(int),
            forgotten: shipment.forgotten.clone(),
        };
        self.write_log(move |writer| writer.take(&parcel)).await
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
        let _turn = self.writer.acquire().await?;
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || log.write(work))
            .await
            .map_err(|panic| RecordError::Unavailable(sqlx::Error::Io(io::Error::other(panic))))?
    }
}

impl LogWriter {
    pub(super) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, connection: Mutex::new(None) }
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        *self.connection.lock() = None;
    }

    /// Does what writes to the log; where it fails, nothing of it has happened.
    fn write<T>(&self, work: impl FnOnce(&mut Writer) -> Result<T, RecordError>) -> Result<T, RecordError> {
        let mut connection = self.connection.lock();
        let writer = match &mut *connection {
            Some(writer) => writer,
            none => {
                let db = self.open()?;
                let names = Names::load(&db)?;
                none.insert(Writer { db, names })
            }
        };
        let done = work(writer);
        match &done {
            Ok(_) => writer.names.committed(),
            // Whatever happened to it: what is made anew knows what the file knows.
            Err(_) => *connection = None,
        }
        done
    }

    /// The file is there and in WAL mode: [`SqliteRecord::open`] saw to that.
    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(connection)
    }
}

impl Writer {
    fn take(&mut self, parcel: &Parcel) -> Result<(), RecordError> {
        let mut tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !take_new(&tx, &mut self.names, &parcel.rows)? {
            tx.rollback()?;
            self.names.rolled_back();
            tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            take_any(&tx, &mut self.names, &parcel.rows)?;
        }
        jobs::take(&tx, &parcel.jobs)?;
        parcel.carried.iter().try_for_each(|admission| carry(&tx, parcel.spool, admission))?;
        tx.execute(
            "INSERT INTO spools (id, seen_at, shipped) VALUES (?, unixepoch(), ?)
             ON CONFLICT (id) DO UPDATE SET
                 seen_at = excluded.seen_at, shipped = coalesce(excluded.shipped, shipped)",
            (parcel.spool.as_bytes(), parcel.number),
        )?;
        for id in &parcel.finished {
            tx.execute("DELETE FROM open_admissions WHERE id = ?", [id.0.as_bytes()])?;
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

/// Inserts rows none of which is there yet, each at its first place, and counts them; `false` where one could not be.
fn take_new(tx: &Transaction<'_>, names: &mut Names, rows: &Rows) -> Result<bool, RecordError> {
    let mut taken = Taken::default();
    let mut insert = Insert::prepare(tx, INSERT_ROWS.min(rows.len()).max(1))?;
    let mut single = Insert::prepare(tx, 1)?;
    let whole = rows.len() - rows.len() % INSERT_ROWS.min(rows.len()).max(1);
    for (number, row) in rows.iter().enumerate() {
        let row = Named::new(&row, names, tx)?;
        let statement = if number < whole { &mut insert } else { &mut single };
        statement.bind(&row)?;
        if statement.is_full() && !statement.run()? {
            return Ok(false);
        }
        taken.count(&row);
    }
    taken.write(tx)?;
    Ok(true)
}

/// Inserts what is not there yet, and counts it.
fn take_any(tx: &Transaction<'_>, names: &mut Names, rows: &Rows) -> Result<(), RecordError> {
    let mut taken = Taken::default();
    let mut insert = Insert::prepare(tx, 1)?;
    let mut at_place = at_place(tx)?;
    for row in rows.iter() {
        let mut row = Named::new(&row, names, tx)?;
        let mut places = places(row.place);
        loop {
            row.place = places.next().ok_or_else(|| no_place(row.facts.id))?;
            insert.bind(&row)?;
            if insert.run()? {
                taken.count(&row);
                break;
            }
            if id_at(&mut at_place, row.place)? == Some(row.facts.id) {
                break;
            }
        }
    }
    Ok(taken.write(tx)?)
}

/// Rows that were inserted, as sums, blocks and arrivals know them.
#[derive(Default)]
struct Taken<'a> {
    sums: Sums<'a>,
    entries: Vec<(Scopes, Entry)>,
}

impl<'a> Taken<'a> {
    fn count(&mut self, row: &Named<'a>) {
        self.sums.add(row);
        self.entries.push((row.scopes, row.entry()));
    }

    fn write(mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        self.entries.sort_by_key(|(_, entry)| entry.place);
        let Some((_, last)) = self.entries.last() else { return Ok(()) };
        let (mut before, mut places) = (0, Vec::with_capacity(self.entries.len() * 5));
        let last = last.place;
        for (_, entry) in &self.entries {
            packed::put(&mut places, entry.place.abs_diff(before));
            before = entry.place;
        }
        tx.execute("INSERT INTO log_arrivals (last, places) VALUES (?, ?)", (last, places))?;
        let mut blocks = Blocks::prepare(tx)?;
        let mut run = Vec::with_capacity(self.entries.len());
        run.extend(self.entries.iter().map(|(_, entry)| *entry));
        blocks.add(EVERYTHING, &run)?;
        for of in [|scopes: &Scopes| scopes.organization, |scopes: &Scopes| Some(scopes.own)] {
            // Stable: within a scope, entries stay in the order of their places.
            self.entries.sort_by_key(|(scopes, _)| of(scopes));
            for same in self.entries.chunk_by(|(one, _), (next, _)| of(one) == of(next)) {
                let Some(scope) = same.first().and_then(|(scopes, _)| of(scopes)) else { continue };
                run.clear();
                run.extend(same.iter().map(|(_, entry)| *entry));
                blocks.add(scope, &run)?;
            }
        }
        self.sums.write(tx)
    }
}

fn no_place(id: RequestId) -> RecordError {
    RecordError::Refused(format!("{PLACES_MAX} rows of other requests stand where that of {id} belongs"))
}

/// Keeps an admission whose frame is about to be deleted. One whose row is there already has ended: that is
/// how a batch moved twice looks.
fn carry(tx: &Transaction<'_>, spool: Uuid, admission: &Carried) -> rusqlite::Result<()> {
    let (id, at, key, organization, project, credits, microcents) = admission;
    if place_of_row(tx, *id)?.is_some() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO open_admissions (id, spool, at, key, organization, project, credits, microcents)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (id.0.as_bytes(), spool.as_bytes(), at, key, organization, project, credits, microcents),
    )?;
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

/// Where the row of a request stands; `None` where the log has none.
pub(super) fn place_of_row(db: &Connection, id: RequestId) -> rusqlite::Result<Option<i64>> {
    let mut at_place = at_place(db)?;
    for place in places(place_of(id)) {
        match id_at(&mut at_place, place)? {
            Some(other) if other != id => {}
            there => return Ok(there.map(|_| place)),
        }
    }
    Ok(None)
}

/// Where a row can stand, first choice first.
fn places(first: i64) -> impl Iterator<Item = i64> {
    // Not beyond the largest: only an id that is none of ours stands so far up.
    (0..PLACES_MAX).map_while(move |further| first.checked_add(further))
}

fn at_place(db: &Connection) -> rusqlite::Result<Statement<'_>> {
    db.prepare("SELECT id FROM requests WHERE place = ?")
}

fn id_at(at_place: &mut Statement<'_>, place: i64) -> rusqlite::Result<Option<RequestId>> {
    let mut found = at_place.query([place])?;
    let Some(row) = found.next()? else { return Ok(None) };
    Ok(Some(RequestId(Uuid::from_bytes(row.get(0)?))))
}
