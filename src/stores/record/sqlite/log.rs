//! The request log: batches moved in, each counted once.
//!
//! **Invariant:** sums (`usage_5m`, `key_usage`) are touched only for rows that were really inserted, in the
//! same transaction; so a batch that is moved twice counts once.

use std::collections::HashSet;
use std::fmt::Write as _;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Row as _, Sqlite};
use uuid::Uuid;

use super::SqliteRecord;
use super::columns::{bytes, int, micros, unreadable};
use super::log_sums::Sums;
use crate::domain::row::{Admission, Row};
use crate::stores::record::{RecordError, Shipment};

/// Rows of one `INSERT`: one trip to SQLite's thread each, and well below its bound of 32,766 parameters.
pub(super) const ROWS_PER_INSERT: usize = 200;

pub(super) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

impl SqliteRecord {
    pub(super) async fn ship(&self, shipment: &Shipment<'_>) -> Result<(), RecordError> {
        let mut tx = self.write().await?;
        let mut sums = Sums::default();
        for rows in shipment.rows.chunks(ROWS_PER_INSERT) {
            // An id can stand twice in one batch: only its first row was inserted.
            let mut inserted = insert_rows(&mut tx, rows).await?;
            for row in rows.iter().filter(|row| inserted.remove(&row.id.0)) {
                sums.add(row);
            }
        }
        sums.write(&mut tx).await?;
        for admission in &shipment.carried {
            carry(&mut tx, admission).await?;
        }
        for id in &shipment.finished {
            sqlx::query("DELETE FROM open_admissions WHERE id = ?").bind(bytes(id)).execute(&mut *tx).await?;
        }
        if let Some((segment, at)) = &shipment.cursor {
            sqlx::query(
                "INSERT INTO spool_cursors (segment, bytes) VALUES (?, ?)
                 ON CONFLICT (segment) DO UPDATE SET bytes = max(bytes, excluded.bytes)",
            )
            .bind(segment)
            .bind(int(*at))
            .execute(&mut *tx)
            .await?;
        }
        for segment in &shipment.forgotten {
            sqlx::query("DELETE FROM spool_cursors WHERE segment = ?")
                .bind(segment)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

/// `INSERT INTO {into} VALUES (?, …), … {rest}` for `rows` rows of `columns` columns.
pub(super) fn insert_sql(into: &str, columns: usize, rows: usize, rest: &str) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    let mut sql = format!("INSERT INTO {into} VALUES {}", vec![row.as_str(); rows].join(","));
    // Writing to a String cannot fail.
    let _ = write!(sql, " {rest}");
    sql
}

const COLUMNS: usize = 23;

/// Inserts what is not there yet, and returns the ids of what was inserted.
async fn insert_rows(tx: &mut SqliteConnection, rows: &[Row<'_>]) -> Result<HashSet<Uuid>, RecordError> {
    let sql = insert_sql("requests", COLUMNS, rows.len(), "ON CONFLICT (id) DO NOTHING RETURNING id");
    // Only the full size is worth a place in the cache of statements.
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(rows.len() == ROWS_PER_INSERT);
    for row in rows {
        query = bind_row(query, row);
    }
    let inserted = query.fetch_all(tx).await?;
    inserted
        .iter()
        .map(|row| Uuid::from_slice(row.try_get(0)?).map_err(|_| unreadable("requests.id")))
        .collect()
}

/// In the order of the table's columns.
fn bind_row<'q>(query: Query<'q>, row: &Row<'_>) -> Query<'q> {
    query
        .bind(bytes(&row.id.0))
        .bind(micros(row.at))
        .bind(row.organization.as_deref())
        .bind(row.project.as_deref())
        .bind(row.key.as_ref().map(|key| bytes(&key.0)))
        .bind(row.admitted)
        .bind(row.method.as_ref())
        .bind(row.path.as_ref())
        .bind(i64::from(row.status))
        .bind(row.code.as_ref())
        .bind(row.outcome.map(|outcome| outcome.name()))
        .bind(int(row.first_byte_micros))
        .bind(int(row.total_micros))
        .bind(row.address.to_string())
        .bind(int(row.cost.credits))
        .bind(int(row.cost.microcents))
        .bind(row.cost_source.name())
        .bind(row.tier.as_deref())
        .bind(row.domain.as_deref())
        .bind(int(row.bytes_in))
        .bind(int(row.bytes_out))
        .bind(row.target.as_deref())
        .bind(row.user_agent.as_deref())
}

/// Keeps an admission whose frame is about to be deleted. One whose row is there already has ended: that is
/// how a batch moved twice looks.
async fn carry(tx: &mut SqliteConnection, admission: &Admission<'_>) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO open_admissions (id, at, key, organization, project, credits, microcents)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
         WHERE NOT EXISTS (SELECT 1 FROM requests WHERE id = ?1)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(bytes(&admission.id.0))
    .bind(micros(admission.at))
    .bind(admission.key.as_ref().map(|key| bytes(&key.0)))
    .bind(admission.organization.as_deref())
    .bind(admission.project.as_deref())
    .bind(int(admission.estimate.credits))
    .bind(int(admission.estimate.microcents))
    .execute(tx)
    .await?;
    Ok(())
}
