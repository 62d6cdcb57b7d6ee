//! Sums of the log, gathered per batch and written in few statements.

use ahash::AHashMap;
use rusqlite::Transaction;

use super::columns::{bytes, int, micros, opt_micros};
use super::log_rows::Row;
use crate::domain::cost::{Cost, Outcome};
use crate::domain::id::KeyId;
use crate::domain::time::Timestamp;

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
    pub(super) fn add(&mut self, row: &Row<'a>) {
        let Some(organization) = row.organization() else { return };
        let facts = row.facts;
        let cell = self.0.entry((organization, facts.key, facts.at.micros() / CELL_MICROS)).or_default();
        cell.cost.credits = cell.cost.credits.saturating_add(facts.cost.credits);
        cell.cost.microcents = cell.cost.microcents.saturating_add(facts.cost.microcents);
        if facts.admitted {
            cell.admitted += 1;
            cell.success += u64::from(facts.outcome == Some(Outcome::Success));
            cell.last_admitted = cell.last_admitted.max(Some(facts.at));
        } else {
            cell.refused += 1;
        }
    }

    /// Adds what was gathered to the tables, each in the order of its keys.
    pub(super) fn write(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut cells: Vec<_> = self.0.into_iter().collect();
        cells.sort_unstable_by_key(|(of, _)| *of);
        write_cells(tx, &cells)?;
        let mut keys: Vec<_> =
            cells.into_iter().filter_map(|((of, key, _), cell)| Some((key?, of, cell))).collect();
        keys.sort_by_key(|(key, ..)| *key);
        write_keys(tx, &keys)
    }
}

fn write_cells(tx: &Transaction<'_>, cells: &[(Of<'_>, Cell)]) -> rusqlite::Result<()> {
    let mut add = tx.prepare(
        "INSERT INTO usage_5m (organization, key, cell, admitted, refused, success, failed, credits, microcents)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (organization, key, cell) DO UPDATE SET
             admitted = admitted + excluded.admitted, refused = refused + excluded.refused,
             success = success + excluded.success, failed = failed + excluded.failed,
             credits = credits + excluded.credits, microcents = microcents + excluded.microcents",
    )?;
    for ((organization, key, number), cell) in cells {
        add.execute((
            organization,
            key.as_ref().map_or(&[][..], |key| bytes(&key.0)),
            int(*number),
            int(cell.admitted),
            int(cell.refused),
            int(cell.success),
            int(cell.admitted - cell.success),
            int(cell.cost.credits),
            int(cell.cost.microcents),
        ))?;
    }
    Ok(())
}

/// Takes cells in the order of their keys, and adds those of one key together.
fn write_keys(tx: &Transaction<'_>, cells: &[(KeyId, &str, Cell)]) -> rusqlite::Result<()> {
    let mut add = tx.prepare(
        "INSERT INTO key_usage (key, organization, requests, rows, last_used_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET
             requests = requests + excluded.requests, rows = rows + excluded.rows,
             last_used_at = coalesce(max(last_used_at, excluded.last_used_at),
                                     last_used_at, excluded.last_used_at)",
    )?;
    for cells in cells.chunk_by(|(one, ..), (other, ..)| one == other) {
        let Some((key, organization, _)) = cells.first() else { continue };
        let sum = |of: fn(&Cell) -> u64| int(cells.iter().map(|(_, _, cell)| of(cell)).sum());
        add.execute((
            bytes(&key.0),
            organization,
            sum(|cell| cell.admitted),
            sum(|cell| cell.admitted + cell.refused),
            opt_micros(cells.iter().filter_map(|(_, _, cell)| cell.last_admitted).max()),
        ))?;
    }
    Ok(())
}

/// The first instant of the cell that `at` lies in, as SQLite holds a cell.
pub(super) fn cell_of(at: Timestamp) -> i64 {
    micros(at) / int(CELL_MICROS)
}
