//! Reading on one thread, writing on another, with a few pieces between them.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::read::{Names, Sum, line};
use super::tables::{REQUESTS, Table};
use crate::stores::record::RecordError;
use crate::stores::record::places::place_of;
use crate::stores::record::postgres::PostgresRecord;

/// Bytes of a piece, and pieces between reader and writer.
const PIECE_BYTES: usize = 1 << 20;
const PIECES: usize = 4;
/// Sheets of rows of the log that are moved in one transaction: some 50,000 rows.
const SHEETS: i64 = 200;
/// Those behind one, as the view `requests` tells them.
const NEXT_SHEETS: &str = "sheet > ?1 AND sheet <= (
    SELECT max(first) FROM (SELECT first FROM log_sheets WHERE first > ?1 ORDER BY first LIMIT ?2))";

/// The file that is read, in which nobody writes meanwhile.
pub(super) struct Source {
    db: Connection,
    names: Arc<Names>,
}

impl Source {
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.execute_batch("BEGIN IMMEDIATE")?;
        let mut names = Names::new();
        {
            let mut all = db.prepare("SELECT number, text FROM names")?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                names.insert(row.get(0)?, row.get(1)?);
            }
        }
        Ok(Self { db, names: Arc::new(names) })
    }

    /// What tells this record from any other: the first entry of its audit trail, which nobody can change.
    pub fn fingerprint(&self) -> Result<Vec<u8>, RecordError> {
        let first = self
            .db
            .query_row(
                "SELECT at || who || what || subject || coalesce(after, '') FROM audit ORDER BY id LIMIT 1",
                [],
                |row| row.get::<_, String>(0),
            )
            .optional()?;
        let first = first
            .ok_or_else(|| RecordError::NotFound("the record is empty: there is nothing to move".into()))?;
        Ok(Sha256::digest(first).to_vec())
    }

    /// The first place and the first cell that are kept, and the number of the last change.
    pub fn removed(&self) -> Result<(i64, i64, i64), RecordError> {
        let (rows, cells) = self.db.query_row("SELECT rows, cells FROM log_removed", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let last = self
            .db
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'changes'", [], |row| row.get(0))
            .optional()?;
        Ok((rows.map_or(0, |last| last + 1), cells.unwrap_or(0), last.unwrap_or(0)))
    }

    /// Sends a table's rows as lines, of the log those of at most [`SHEETS`] behind the sheet `after`; what it sent.
    fn read(&self, table: &Table, after: i64, to: &mpsc::Sender<String>) -> Result<Sum, RecordError> {
        let columns: Vec<_> = table.columns.iter().map(|(_, sql, _)| *sql).collect();
        let columns = columns.join(", ");
        let is_log = table.name == REQUESTS.name;
        let sql = if is_log {
            format!("SELECT {columns}, r.sheet FROM {} WHERE {NEXT_SHEETS}", table.from)
        } else {
            // `user` and `key` are names of columns, whatever else they are.
            format!("SELECT {columns} FROM {}", table.from)
        };
        let mut statement = self.db.prepare(&sql)?;
        let mut rows = if is_log { statement.query((after, SHEETS))? } else { statement.query([])? };
        let (mut sum, mut piece) = (Sum::default(), String::with_capacity(PIECE_BYTES + 4_096));
        // One who receives no more has failed, and says so.
        while let Some(row) = rows.next()? {
            line(row, table, &self.names, &mut sum, &mut piece)?;
            if is_log {
                sum.last = row.get(table.columns.len())?;
            }
            if piece.len() >= PIECE_BYTES && to.blocking_send(std::mem::take(&mut piece)).is_err() {
                break;
            }
        }
        if !piece.is_empty() {
            let _ = to.blocking_send(piece);
        }
        Ok(sum)
    }

    /// The days in which rows of the log arrived, behind a sheet: what needs partitions.
    fn days(&self, after: i64) -> Result<std::collections::BTreeSet<i64>, RecordError> {
        let mut statement = self.db.prepare(&format!("SELECT id FROM requests WHERE {NEXT_SHEETS}"))?;
        let mut rows = statement.query([after, SHEETS])?;
        let mut days = std::collections::BTreeSet::new();
        while let Some(row) = rows.next()? {
            let id = uuid::Uuid::from_bytes(row.get(0)?);
            days.insert(PostgresRecord::day_of(place_of(crate::domain::id::RequestId(id))));
        }
        Ok(days)
    }
}

/// Moves what is missing of a table; the log in several transactions.
pub(super) async fn table(
    mut source: Source,
    target: &mut PgConnection,
    table: &'static Table,
) -> Result<Source, RecordError> {
    loop {
        let after = reached(target, table).await?;
        if table.name == REQUESTS.name {
            let days = source.days(after)?;
            PostgresRecord::make_partitions(target, &days).await?;
        }
        let mut tx = target.begin().await?;
        if table.name == "scopes" {
            // Those that a new record begins with.
            sqlx::query("DELETE FROM scopes").execute(&mut *tx).await?;
        }
        let columns: Vec<_> = table.columns.iter().map(|(name, ..)| *name).collect();
        let copy = format!("COPY {} ({}) FROM STDIN", table.name, columns.join(", "));
        let mut copy = tx.copy_in_raw(&copy).await?;
        let (to, mut pieces) = mpsc::channel(PIECES);
        let reading = tokio::task::spawn_blocking(move || {
            let read = source.read(table, after, &to);
            (source, read)
        });
        while let Some(piece) = pieces.recv().await {
            copy.send(piece.as_bytes()).await?;
        }
        copy.finish().await?;
        let (back, read) = reading
            .await
            .map_err(|panic| RecordError::Unavailable(sqlx::Error::Io(std::io::Error::other(panic))))?;
        let sum = read?;
        source = back;
        let done = table.name != REQUESTS.name || sum.rows == 0;
        sqlx::query(
            "INSERT INTO migration_steps (name, rows, checksum, last, done) VALUES ($1, $2, $3::numeric, $4, $5)
             ON CONFLICT (name) DO UPDATE SET rows = migration_steps.rows + excluded.rows,
                 checksum = migration_steps.checksum + excluded.checksum,
                 last = greatest(migration_steps.last, excluded.last), done = excluded.done",
        )
        .bind(table.name)
        .bind(sum.rows)
        .bind(sum.checksum.to_string())
        .bind(sum.last.max(after))
        .bind(done)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if done {
            return Ok(source);
        }
    }
}

/// The sheet up to which the log is moved.
async fn reached(target: &mut PgConnection, table: &Table) -> Result<i64, RecordError> {
    let row = sqlx::query("SELECT last FROM migration_steps WHERE name = $1")
        .bind(table.name)
        .fetch_optional(target)
        .await?;
    row.map_or(Ok(i64::MIN), |row| Ok(sqlx::Row::try_get(&row, 0)?))
}
