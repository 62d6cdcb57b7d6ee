//! The request log: batches moved in, each row once.
//!
//! A batch is copied into a table of the connection's own, and from there into the log, which leaves out what it
//! has. Sums are touched only for rows that were really inserted, in the same transaction; so a batch that is moved
//! twice counts once. Shippers of several gateways copy at the same time, and take turns ([`SHIPPERS`]) from there
//! to their commit: all of them add to the same sums.
//!
//! **Why a connection of its own:** whatever becomes of a batch half copied, the connection is dropped and the
//! server forgets it. And the log, which every request adds to, takes no connection from people and keys.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::columns::{int, micros};
use super::door::Door;
use super::log_sums::Sums;
use super::log_watch::Watch;
use super::scopes::Known;
use super::{PostgresRecord, hanging, jobs, log_copy, partitions, set_up, within};
use crate::domain::row::{Admission, RowRef};
use crate::stores::record::places::place_of;
use crate::stores::record::{RecordError, Shipment};

/// How long a batch may take: the largest there can be (`logs.batch_rows_max`), on a server that is busy.
const SHIP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the connection for it may take until it can be used.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The advisory lock of whoever adds to the log or its sums: "tollship" in ASCII.
const SHIPPERS: i64 = 0x746f_6c6c_7368_6970;

/// The connection that writes the log, made when it is first needed: commands ship nothing.
#[derive(Debug)]
pub(super) struct LogWriter {
    door: Arc<Door>,
    writing: tokio::sync::Mutex<Option<Writing>>,
    watch: Watch,
}

/// The connection, the days whose partitions are known to be there, and the scopes whose numbers are known.
#[derive(Debug)]
struct Writing {
    connection: PgConnection,
    days: BTreeSet<i64>,
    scopes: Known,
}

impl PostgresRecord {
    pub(super) async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError> {
        within(SHIP_TIMEOUT, async {
            let began = Instant::now();
            tokio::select! {
                taken = Box::pin(self.log.take(shipment)) => taken,
                () = self.log.watch.is_cut(&self.log.door) => Err(hanging(began.elapsed()).into()),
            }
        })
        .await
    }
}

impl LogWriter {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door, writing: tokio::sync::Mutex::default(), watch: Watch::default() }
    }

    /// A connection for what takes its time: without a bound on statements.
    pub(super) async fn another(&self) -> Result<PgConnection, RecordError> {
        let mut connection = self.door.connect().await?;
        set_up(&mut connection, Duration::ZERO).await?;
        Ok(connection)
    }

    /// Ends the connection.
    pub(super) async fn close(&self) {
        if let Some(writing) = self.writing.lock().await.take() {
            // It holds nothing that is not committed.
            let _ = writing.connection.close().await;
        }
    }

    /// Writes a shipment in one transaction. The connection is kept only where that went well.
    async fn take(&self, shipment: &Shipment) -> Result<(), RecordError> {
        let mut kept = self.writing.lock().await;
        let mut writing = match kept.take() {
            Some(writing) => writing,
            None => within(OPEN_TIMEOUT, self.open()).await?,
        };
        writing.take(shipment).await.map_err(refused)?;
        *kept = Some(writing);
        Ok(())
    }

    async fn open(&self) -> Result<Writing, RecordError> {
        let mut connection = self.door.connect().await?;
        set_up(&mut connection, SHIP_TIMEOUT).await?;
        self.watch.begin(&mut connection).await?;
        sqlx::query("CREATE TEMPORARY TABLE shipping (LIKE requests) ON COMMIT DELETE ROWS")
            .execute(&mut connection)
            .await?;
        sqlx::query("ALTER TABLE pg_temp.shipping DROP COLUMN batch").execute(&mut connection).await?;
        Ok(Writing { connection, days: BTreeSet::new(), scopes: Known::default() })
    }
}

impl Writing {
    async fn take(&mut self, shipment: &Shipment) -> Result<(), RecordError> {
        let rows = shipment.rows.iter().collect::<Result<Vec<_>, _>>()?;
        let days = rows.iter().map(|row| partitions::day_of(place_of(row.id))).collect();
        partitions::make(&mut self.connection, &days, &mut self.days).await?;
        let mut tx = self.connection.begin().await?;
        if !rows.is_empty() {
            let mut copy = tx.copy_in_raw("COPY pg_temp.shipping FROM STDIN (FORMAT BINARY)").await?;
            copy.send(log_copy::encode(&rows)).await?;
            // Over TCP this takes some 40 ms until there is a release behind sqlx 0.9.0, which leaves Nagle's algorithm on:
            // <https://github.com/transact-rs/sqlx/issues/4335>.
            copy.finish().await?;
        }
        turn(&mut tx).await?;
        if !rows.is_empty() {
            take_rows(&mut tx, &mut self.scopes, &rows).await?;
        }
        jobs::take(&mut tx, &rows).await?;
        lives(&mut tx, shipment.spool, shipment.number).await?;
        carry(&mut tx, shipment.spool, &shipment.carried).await?;
        if !shipment.finished.is_empty() {
            sqlx::query("DELETE FROM open_admissions WHERE id = ANY ($1)")
                .bind(&shipment.finished)
                .execute(&mut *tx)
                .await?;
        }
        if let Some((segment, bytes)) = &shipment.cursor {
            sqlx::query(
                "INSERT INTO spool_cursors (segment, bytes) VALUES ($1, $2)
                 ON CONFLICT (segment) DO UPDATE SET bytes = greatest(spool_cursors.bytes, excluded.bytes)",
            )
            .bind(segment)
            .bind(int(*bytes))
            .execute(&mut *tx)
            .await?;
        }
        if !shipment.forgotten.is_empty() {
            sqlx::query("DELETE FROM spool_cursors WHERE segment = ANY ($1)")
                .bind(&shipment.forgotten)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Data that can be in no table is no outage: whoever ships is to leave it out (SQLSTATE classes 22 and 23).
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn refused(error: RecordError) -> RecordError {
    match &error {
        RecordError::Unavailable(sqlx::Error::Database(cause))
            if cause.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
        {
            RecordError::Refused(cause.message().to_owned())
        }
        _ => error,
    }
}

/// Writes down that a spool's gateway lives, and which batch it has moved in where that is complete.
pub(super) async fn lives(
    tx: &mut PgConnection,
    spool: Uuid,
    number: Option<u64>,
) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO spools (id, seen_at, shipped) VALUES ($1, now(), $2)
         ON CONFLICT (id) DO UPDATE SET
             seen_at = excluded.seen_at, shipped = coalesce(excluded.shipped, spools.shipped)",
    )
    .bind(spool)
    .bind(number.map(int))
    .execute(tx)
    .await?;
    Ok(())
}

/// Waits for the turn to add to the log and its sums, which ends with the transaction.
pub(super) async fn turn(tx: &mut PgConnection) -> Result<(), RecordError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SHIPPERS).execute(tx).await?;
    Ok(())
}

/// Inserts what was copied and is not there yet, and counts it. Numbers of batches, too, become visible in their order.
async fn take_rows(
    tx: &mut PgConnection,
    scopes: &mut Known,
    rows: &[RowRef<'_>],
) -> Result<(), RecordError> {
    let batch: i64 = sqlx::query("SELECT nextval('log_batches')").fetch_one(&mut *tx).await?.try_get(0)?;
    let inserted = sqlx::query(
        "INSERT INTO requests SELECT shipping.*, $1 FROM pg_temp.shipping ORDER BY place
         ON CONFLICT DO NOTHING RETURNING id, place",
    )
    .bind(batch)
    .fetch_all(&mut *tx)
    .await?;
    let mut new = HashSet::<Uuid>::with_capacity(inserted.len());
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for row in &inserted {
        new.insert(row.try_get(0)?);
        let place = row.try_get(1)?;
        (first, last) = (first.min(place), last.max(place));
    }
    if new.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT INTO log_arrivals (sequence, first, last, rows) VALUES ($1, $2, $3, $4)")
        .bind(batch)
        .bind(first)
        .bind(last)
        .bind(int(new.len() as u64))
        .execute(&mut *tx)
        .await?;
    // A row that is twice in a batch is new once.
    let rows: Vec<_> = rows.iter().filter(|row| new.remove(&row.id.0)).collect();
    scopes.learn(tx, &rows).await?;
    let mut sums = Sums::default();
    for row in rows {
        sums.add(row, scopes.of(row)?);
    }
    sums.write(tx).await
}

/// Keeps admissions whose frames are about to be deleted. One whose row is there already has ended: that is how a
/// batch moved twice looks.
async fn carry(tx: &mut PgConnection, spool: Uuid, admissions: &[Admission<'_>]) -> Result<(), RecordError> {
    for admission in admissions {
        sqlx::query(
            "INSERT INTO open_admissions (id, at, key, organization, project, credits, microcents, spool)
             SELECT $1, $2, $3, $4, $5, $6, $7, $9
             WHERE NOT EXISTS (SELECT 1 FROM requests WHERE place = $8 AND id = $1) ON CONFLICT (id) DO NOTHING",
        )
        .bind(admission.id.0)
        .bind(micros(admission.at))
        .bind(admission.key.map(|key| key.0))
        .bind(admission.organization.as_deref())
        .bind(admission.project.as_deref())
        .bind(int(admission.estimate.credits))
        .bind(int(admission.estimate.microcents))
        .bind(place_of(admission.id))
        .bind(spool)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
