//! Sums of the log, gathered per batch and written in few statements.

use ahash::AHashMap;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use uuid::Uuid;

use super::columns::{int, micros, opt_micros};
use crate::domain::cost::{Cost, Outcome};
use crate::domain::id::KeyId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;

/// The width of a cell of `usage_5m`, in microseconds.
pub(super) const CELL_MICROS: u64 = 300_000_000;

/// What one batch adds, by organization, key and cell.
#[derive(Default)]
pub(super) struct Sums<'a>(AHashMap<Of<'a>, Cell>);

/// Whose cell: organization, key, and the cell's number.
type Of<'a> = (&'a str, Option<KeyId>, u64);

#[derive(Clone, Default)]
struct Cell {
    admitted: u64,
    refused: u64,
    success: u64,
    cost: Cost,
    last_admitted: Option<Timestamp>,
}

impl<'a> Sums<'a> {
    /// Counts a row. Nobody pays for a caller that stayed unknown, so nothing is summed for it.
    pub(super) fn add(&mut self, row: &'a Row<'_>) {
        let Some(organization) = row.organization.as_deref() else { return };
        let cell = self.0.entry((organization, row.key, row.at.micros() / CELL_MICROS)).or_default();
        cell.cost.credits = cell.cost.credits.saturating_add(row.cost.credits);
        cell.cost.microcents = cell.cost.microcents.saturating_add(row.cost.microcents);
        if row.admitted {
            cell.admitted += 1;
            cell.success += u64::from(row.outcome == Some(Outcome::Success));
            cell.last_admitted = cell.last_admitted.max(Some(row.at));
        } else {
            cell.refused += 1;
        }
    }

    /// Adds what was gathered to the tables, each in the order of its keys.
    pub(super) async fn write(self, tx: &mut PgConnection) -> Result<(), RecordError> {
        let mut cells: Vec<_> = self.0.into_iter().collect();
        cells.sort_unstable_by_key(|(of, _)| *of);
        add_cells(&cells).execute(&mut *tx).await?;
        let mut keys: Vec<_> =
            cells.into_iter().filter_map(|((of, key, _), cell)| Some((key?, of, cell))).collect();
        keys.sort_by_key(|(key, ..)| *key);
        add_keys(&keys).execute(tx).await?;
        Ok(())
    }
}

fn add_cells(cells: &[(Of<'_>, Cell)]) -> Query<'static, Postgres, PgArguments> {
    let column = |of: fn(&Cell) -> u64| -> Vec<i64> { cells.iter().map(|(_, cell)| int(of(cell))).collect() };
    sqlx::query(
        "INSERT INTO usage_5m (organization, key, cell, admitted, refused, success, failed, credits, microcents)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bigint[], $9::bigint[])
         ON CONFLICT (organization, key, cell) DO UPDATE SET
             admitted = usage_5m.admitted + excluded.admitted, refused = usage_5m.refused + excluded.refused,
             success = usage_5m.success + excluded.success, failed = usage_5m.failed + excluded.failed,
             credits = usage_5m.credits + excluded.credits, microcents = usage_5m.microcents + excluded.microcents",
    )
    .bind(cells.iter().map(|((organization, ..), _)| (*organization).to_owned()).collect::<Vec<_>>())
    .bind(cells.iter().map(|((_, key, _), _)| key.map_or(Uuid::nil(), |key| key.0)).collect::<Vec<_>>())
    .bind(cells.iter().map(|((.., number), _)| int(*number)).collect::<Vec<_>>())
    .bind(column(|cell| cell.admitted))
    .bind(column(|cell| cell.refused))
    .bind(column(|cell| cell.success))
    .bind(column(|cell| cell.admitted - cell.success))
    .bind(column(|cell| cell.cost.credits))
    .bind(column(|cell| cell.cost.microcents))
}

/// Takes cells in the order of their keys, and adds those of one key together.
fn add_keys(cells: &[(KeyId, &str, Cell)]) -> Query<'static, Postgres, PgArguments> {
    let keys: Vec<_> = cells.chunk_by(|(one, ..), (other, ..)| one == other).collect();
    let sums = |of: fn(&Cell) -> u64| -> Vec<i64> {
        keys.iter().map(|cells| int(cells.iter().map(|(_, _, cell)| of(cell)).sum())).collect()
    };
    let last = |cells: &[(KeyId, &str, Cell)]| {
        opt_micros(cells.iter().filter_map(|(_, _, cell)| cell.last_admitted).max())
    };
    sqlx::query(
        "INSERT INTO key_usage (key, organization, requests, rows, last_used_at)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
         ON CONFLICT (key) DO UPDATE SET
             requests = key_usage.requests + excluded.requests, rows = key_usage.rows + excluded.rows,
             last_used_at = greatest(key_usage.last_used_at, excluded.last_used_at)",
    )
    .bind(keys.iter().filter_map(|cells| Some(cells.first()?.0.0)).collect::<Vec<_>>())
    .bind(keys.iter().filter_map(|cells| Some(cells.first()?.1.to_owned())).collect::<Vec<_>>())
    .bind(sums(|cell| cell.admitted))
    .bind(sums(|cell| cell.admitted + cell.refused))
    .bind(keys.iter().map(|cells| last(cells)).collect::<Vec<_>>())
}

/// The first instant of the cell that `at` lies in, as PostgreSQL holds a cell.
pub(super) fn cell_of(at: Timestamp) -> i64 {
    micros(at) / int(CELL_MICROS)
}
