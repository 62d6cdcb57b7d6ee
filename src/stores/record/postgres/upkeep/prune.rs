//! One step of dropping what is old. Of several gateways one does it at a time; the others find nothing to do.
//!
//! Rows that are old are told by nothing any more, from one instant to the next; from the disk they go with the
//! partition of their day, so that removing millions of them is removing a file.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::columns::{Columns, int, micros};
use super::super::partitions;
use super::super::reports::news::batch_of;
use crate::stores::record::RecordError;
use crate::stores::record::cells::Width;
use crate::stores::record::places::first_place;
use crate::stores::record::upkeep::{Keep, Pruned};

/// The advisory lock of whoever prunes: "tollprun" in ASCII.
const PRUNERS: i64 = 0x746f_6c6c_7072_756e;
/// How long the dropping of a partition may keep readers of the log waiting.
const DROP_WAIT: &str = "2s";
/// Sums of five minutes, batches, changes, sessions and secrets, each, in one step.
const STEP: u64 = 5_000;

/// Drops what is old.
pub(super) async fn step(db: &mut PgConnection, keep: &Keep) -> Result<Pruned, RecordError> {
    let mut tx = db.begin().await?;
    let turn: bool = sqlx::query("SELECT pg_try_advisory_xact_lock($1)")
        .bind(PRUNERS)
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if !turn {
        return Ok(Pruned::default());
    }
    let mut pruned = Pruned { rows: hide_rows(&mut tx, keep).await?, ..Pruned::default() };
    let mut dropped = [0; 6];
    // Only one of them asks for the third argument.
    let unread = keep.news_read.map_or(i64::MAX, batch_of);
    for ((sql, before), dropped) in steps(keep).into_iter().zip(&mut dropped) {
        let mut query = sqlx::query(sql).bind(before).bind(int(STEP));
        if sql.contains("$3") {
            query = query.bind(unread);
        }
        let row = query.fetch_optional(&mut *tx).await?;
        *dropped = row.map_or(Ok(0), |row| Columns(&row).count("dropped"))?;
    }
    tx.commit().await?;
    let [cells, news, changes, sessions, secrets, jobs] = dropped;
    (pruned.cells, pruned.news, pruned.changes, pruned.ended) =
        (cells, news, changes, sessions + secrets + jobs);
    pruned.more = dropped.contains(&STEP);
    drop_partitions(db, keep).await?;
    Ok(pruned)
}

/// What is dropped beside rows: up to which bound (`$1`), and at most how many (`$2`); `$3` is the first batch that is to be
/// exported yet.
fn steps(keep: &Keep) -> [(&'static str, i64); 6] {
    [
        (
            "WITH old AS (DELETE FROM usage WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM usage WHERE width = 300 AND cell < $1 LIMIT $2)) RETURNING 1)
             UPDATE log_removed SET cells = greatest(cells, $1) WHERE EXISTS (SELECT 1 FROM old)
             RETURNING (SELECT count(*) FROM old) AS dropped",
            int(Width::Cell.cell_of(keep.cells_since)),
        ),
        (
            "WITH old AS (DELETE FROM log_arrivals WHERE sequence <= (
                 SELECT max(sequence) FROM (SELECT sequence, last FROM log_arrivals ORDER BY sequence LIMIT $2) AS first
                 WHERE last < $1) AND sequence < $3 RETURNING 1)
             SELECT count(*) AS dropped FROM old",
            first_place(keep.news_since),
        ),
        (
            "WITH old AS (DELETE FROM changes WHERE sequence <= (
                 SELECT max(sequence) FROM (SELECT sequence, at FROM changes ORDER BY sequence LIMIT $2) AS first
                 WHERE at < $1) RETURNING sequence)
             UPDATE log_removed SET changes = greatest(changes, (SELECT max(sequence) FROM old))
             RETURNING (SELECT count(*) FROM old) AS dropped",
            micros(keep.changes_since),
        ),
        (
            "WITH old AS (DELETE FROM sessions WHERE id = ANY (ARRAY(
                 SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)) RETURNING 1)
             SELECT count(*) AS dropped FROM old",
            micros(keep.ended_since),
        ),
        (
            "WITH old AS (DELETE FROM key_secrets WHERE digest = ANY (ARRAY(
                 SELECT digest FROM key_secrets WHERE valid_until < $1 LIMIT $2)) RETURNING 1)
             SELECT count(*) AS dropped FROM old",
            micros(keep.ended_since),
        ),
        (
            "WITH old AS (DELETE FROM jobs WHERE job = ANY (ARRAY(
                 SELECT job FROM jobs WHERE at < $1 ORDER BY at LIMIT $2)) RETURNING 1)
             SELECT count(*) AS dropped FROM old",
            micros(keep.rows_since),
        ),
    ]
}

/// Rows that are told no more; how many.
async fn hide_rows(tx: &mut PgConnection, keep: &Keep) -> Result<u64, RecordError> {
    let row = sqlx::query(
        "UPDATE log_removed SET rows = $1 WHERE rows < $1
         RETURNING (SELECT count(*) FROM requests
                    WHERE place >= (SELECT rows FROM log_removed) AND place < $1) AS hidden",
    )
    .bind(first_place(keep.rows_since))
    .fetch_optional(tx)
    .await?;
    row.map_or(Ok(0), |row| Columns(&row).count("hidden"))
}

/// Drops the partitions of days that are hidden whole. Where readers do not let it, the next time does it.
async fn drop_partitions(db: &mut PgConnection, keep: &Keep) -> Result<(), RecordError> {
    let oldest = partitions::name_of(partitions::day_of(first_place(keep.rows_since)));
    let old = sqlx::query(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits
         WHERE inhparent = 'requests'::regclass AND inhrelid::regclass::text COLLATE \"C\" < $1 ORDER BY 1",
    )
    .bind(oldest)
    .fetch_all(&mut *db)
    .await?;
    for row in &old {
        let name = Columns(row).text("name")?;
        let mut tx = db.begin().await?;
        sqlx::query(AssertSqlSafe(format!("SET LOCAL lock_timeout = '{DROP_WAIT}'")))
            .execute(&mut *tx)
            .await?;
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}"))).execute(&mut *tx).await?;
        tx.commit().await?;
        tracing::info!(
            partition = name,
            "a day of the request log was older than logs.retention and is removed"
        );
    }
    Ok(())
}
