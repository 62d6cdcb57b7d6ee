//! Sums of the log, gathered per batch and written in few statements.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::columns::{bytes, int, micros, opt_micros};
use super::log::{ROWS_PER_INSERT, insert_sql};
use crate::domain::cost::{Cost, Outcome};
use crate::domain::id::KeyId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;

/// The width of a cell of `usage_5m`, in microseconds.
pub(super) const CELL_MICROS: u64 = 300_000_000;

/// What one batch adds.
#[derive(Default)]
pub(super) struct Sums<'a> {
    /// By organization, key and cell.
    cells: HashMap<(&'a str, Option<KeyId>, u64), Cell>,
    keys: HashMap<KeyId, KeySum<'a>>,
}

#[derive(Default)]
struct Cell {
    admitted: u64,
    refused: u64,
    success: u64,
    cost: Cost,
}

struct KeySum<'a> {
    organization: &'a str,
    requests: u64,
    rows: u64,
    last_used_at: Option<Timestamp>,
}

impl<'a> Sums<'a> {
    /// Counts a row. Nobody pays for a caller that stayed unknown, so nothing is summed for it.
    pub(super) fn add(&mut self, row: &'a Row<'_>) {
        let Some(organization) = row.organization.as_deref() else { return };
        let cell = self.cells.entry((organization, row.key, row.at.micros() / CELL_MICROS)).or_default();
        cell.cost.credits = cell.cost.credits.saturating_add(row.cost.credits);
        cell.cost.microcents = cell.cost.microcents.saturating_add(row.cost.microcents);
        cell.admitted += u64::from(row.admitted);
        cell.refused += u64::from(!row.admitted);
        cell.success += u64::from(row.admitted && row.outcome == Some(Outcome::Success));
        if let Some(key) = row.key {
            let sum = self.keys.entry(key).or_insert(KeySum {
                organization,
                requests: 0,
                rows: 0,
                last_used_at: None,
            });
            sum.rows += 1;
            if row.admitted {
                sum.requests += 1;
                sum.last_used_at = sum.last_used_at.max(Some(row.at));
            }
        }
    }

    /// Adds what was gathered to the tables.
    pub(super) async fn write(self, tx: &mut SqliteConnection) -> Result<(), RecordError> {
        self.write_cells(tx).await?;
        self.write_keys(tx).await
    }

    async fn write_cells(&self, tx: &mut SqliteConnection) -> Result<(), RecordError> {
        let cells: Vec<_> = self.cells.iter().collect();
        for chunk in cells.chunks(ROWS_PER_INSERT) {
            let sql = insert_sql(
                "usage_5m",
                9,
                chunk.len(),
                "ON CONFLICT (organization, key, cell) DO UPDATE SET
                     admitted = admitted + excluded.admitted, refused = refused + excluded.refused,
                     success = success + excluded.success, failed = failed + excluded.failed,
                     credits = credits + excluded.credits, microcents = microcents + excluded.microcents",
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS_PER_INSERT);
            for ((organization, key, number), cell) in chunk {
                query = query
                    .bind(*organization)
                    .bind(key.as_ref().map_or(&[][..], |key| bytes(&key.0)))
                    .bind(int(*number))
                    .bind(int(cell.admitted))
                    .bind(int(cell.refused))
                    .bind(int(cell.success))
                    .bind(int(cell.admitted - cell.success))
                    .bind(int(cell.cost.credits))
                    .bind(int(cell.cost.microcents));
            }
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }

    async fn write_keys(&self, tx: &mut SqliteConnection) -> Result<(), RecordError> {
        let keys: Vec<_> = self.keys.iter().collect();
        for chunk in keys.chunks(ROWS_PER_INSERT) {
            let sql = insert_sql(
                "key_usage",
                5,
                chunk.len(),
                "ON CONFLICT (key) DO UPDATE SET
                     requests = requests + excluded.requests, rows = rows + excluded.rows,
                     last_used_at = coalesce(max(last_used_at, excluded.last_used_at),
                                             last_used_at, excluded.last_used_at)",
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS_PER_INSERT);
            for (key, sum) in chunk {
                query = query
                    .bind(bytes(&key.0))
                    .bind(sum.organization)
                    .bind(int(sum.requests))
                    .bind(int(sum.rows))
                    .bind(opt_micros(sum.last_used_at));
            }
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }
}

/// The first instant of the cell that `at` lies in, as SQLite holds a cell.
pub(super) fn cell_of(at: Timestamp) -> i64 {
    micros(at) / int(CELL_MICROS)
}
