//! Moving a record from SQLite to PostgreSQL, once.
//!
//! Table by table, each in one transaction; the request log, which may be large, in pieces. What is done is written down
//! in the target (`migration_steps`) in the same transaction. So whatever ends a run, the next one goes on where
//! that one was, and a target that is not whole says so to whoever opens it.
//!
//! | what is wrong | what happens |
//! |---|---|
//! | the target holds something else | [`RecordError::Conflict`]; nothing is changed |
//! | somebody writes to the source, such as a gateway that runs | the source is locked for as long as it takes; whoever writes waits, then fails |
//! | another migration into the same target runs | [`RecordError::Conflict`] |
//! | the process is killed, the server dies | the next run goes on |
//! | what arrived is not what was sent | [`RecordError::Corrupt`], naming the table; the target stays unusable |
//!
//! **Checked:** of every table the number of rows, and the sum over them of the first eight bytes of the SHA-256 of each
//! row's text. One side is computed here while rows are read, the other by the server from what it has stored.
//!
//! **Not moved**, as it is made anew: the order in which rows came into the log, and SQLite's own ways of finding them.

mod copy;
mod read;
mod tables;

use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use self::copy::Source;
use self::tables::{REQUESTS, TABLES, Table};
use super::postgres::PostgresRecord;
use super::sqlite::SqliteRecord;
use super::{RecordError, open};
use crate::config::{Masked, Record};

/// The session's advisory lock of whoever migrates: "tollmove" in ASCII.
const MIGRATION: i64 = 0x746f_6c6c_6d6f_7665;

/// One table that was moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its name.
    pub table: &'static str,
    /// Rows in both.
    pub rows: u64,
    /// The sum over its rows in both; see the module.
    pub checksum: String,
    /// Whether an earlier run had moved it already.
    pub earlier: bool,
}

/// Moves everything of the file `from` to the server at `url`; `told` hears of each table as it is done.
///
/// # Errors
/// See the module. Run it again to go on.
pub async fn migrate(
    from: &Path,
    url: &Masked,
    settings: &Record,
    mut told: impl FnMut(&Moved),
) -> Result<Vec<Moved>, RecordError> {
    if !from.is_file() {
        return Err(RecordError::NotFound(format!("there is no record {}", from.display())));
    }
    // Brings an older file up to date.
    SqliteRecord::open(from).await?.close().await;
    let mut source = Source::open(from)?;
    let fingerprint = source.fingerprint()?;
    PostgresRecord::make_tables(url, settings).await?;
    let mut target = PostgresRecord::unbounded(url, settings).await?;
    begin(&mut target, &fingerprint, &open::place(&settings.url)).await?;
    let mut all = Vec::new();
    for table in TABLES.iter().chain([&REQUESTS]) {
        let moved = match done(&mut target, table).await? {
            Some(moved) => moved,
            None => {
                source = copy::table(source, &mut target, table).await?;
                let missing = || RecordError::Corrupt(format!("the step of `{}` is missing", table.name));
                Moved { earlier: false, ..done(&mut target, table).await?.ok_or_else(missing)? }
            }
        };
        verify(&mut target, table, &moved).await?;
        told(&moved);
        all.push(moved);
    }
    finish(&mut target, &source).await?;
    target.close().await?;
    Ok(all)
}

/// Takes the target for this source, where it is empty or an earlier run has taken it.
async fn begin(target: &mut PgConnection, fingerprint: &[u8], place: &str) -> Result<(), RecordError> {
    let alone: bool = sqlx::Row::try_get(
        &sqlx::query("SELECT pg_try_advisory_lock($1)").bind(MIGRATION).fetch_one(&mut *target).await?,
        0,
    )?;
    if !alone {
        return Err(RecordError::Conflict(format!(
            "another migration into {place} is under way: wait for it"
        )));
    }
    let mut tx = target.begin().await?;
    let taken = sqlx::query("SELECT source FROM migration").fetch_optional(&mut *tx).await?;
    match taken {
        Some(row) if sqlx::Row::try_get::<&[u8], _>(&row, 0)? == fingerprint => {}
        Some(_) => {
            let text = format!("{place} was migrated from another record: name an empty database");
            return Err(RecordError::Conflict(text));
        }
        None => {
            let used = sqlx::query(
                "SELECT 1 WHERE EXISTS (SELECT FROM audit) OR EXISTS (SELECT FROM organizations)
                 OR EXISTS (SELECT FROM requests) OR EXISTS (SELECT FROM spools)",
            );
            if used.fetch_optional(&mut *tx).await?.is_some() {
                let text = format!("{place} holds a record of its own already: name an empty database");
                return Err(RecordError::Conflict(text));
            }
            sqlx::query("INSERT INTO migration (source, whole) VALUES ($1, false)")
                .bind(fingerprint)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(tx.commit().await?)
}

/// What was written down of a table that is moved whole.
async fn done(target: &mut PgConnection, table: &Table) -> Result<Option<Moved>, RecordError> {
    let row =
        sqlx::query("SELECT rows, checksum::text AS checksum FROM migration_steps WHERE name = $1 AND done")
            .bind(table.name)
            .fetch_optional(target)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let rows: i64 = sqlx::Row::try_get(&row, "rows")?;
    Ok(Some(Moved {
        table: table.name,
        rows: rows.unsigned_abs(),
        checksum: sqlx::Row::try_get(&row, "checksum")?,
        earlier: true,
    }))
}

/// Compares what the server has stored with what was sent.
async fn verify(target: &mut PgConnection, table: &Table, moved: &Moved) -> Result<(), RecordError> {
    let row = sqlx::query(AssertSqlSafe(table.checksum_sql())).fetch_one(target).await?;
    let rows: i64 = sqlx::Row::try_get(&row, "rows")?;
    let checksum: String = sqlx::Row::try_get(&row, "checksum")?;
    if (rows.unsigned_abs(), checksum.as_str()) == (moved.rows, moved.checksum.as_str()) {
        return Ok(());
    }
    Err(RecordError::Corrupt(format!(
        "the table `{}` has {rows} rows with the sum {checksum}, and {} rows with the sum {} were sent: \
         empty the database and begin again",
        table.name, moved.rows, moved.checksum
    )))
}

/// Has numbers go on behind those that were moved, and says that the target is whole.
async fn finish(target: &mut PgConnection, source: &Source) -> Result<(), RecordError> {
    let (rows, cells, changes) = source.removed()?;
    let mut tx = target.begin().await?;
    sqlx::query("UPDATE log_removed SET rows = $1, cells = $2, changes = $3")
        .bind(rows)
        .bind(cells)
        .bind(changes)
        .execute(&mut *tx)
        .await?;
    for (table, column) in [("changes", "sequence"), ("audit", "id"), ("scopes", "number")] {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'),
                 greatest((SELECT max({column}) FROM {table}), $1, 1))"
        )))
        .bind(if table == "changes" { changes } else { 0 })
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query("UPDATE migration SET whole = true").execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
