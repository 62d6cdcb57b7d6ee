//! What sums should be, from the rows: sheet by sheet, in windows of time, so that memory is that of one window.
//!
//! Sheets stand in the order in which rows came in, which is nearly that of time. A window is taken over by those that
//! reach into it; few are read twice.

use std::ops::Range;

use ahash::AHashMap;
use rusqlite::Connection;

use super::super::log_sums::{Of, Width};
use super::super::names::Kind;
use super::super::sheets::{self, Reader};
use super::compare::Stored;
use crate::domain::cost::Outcome;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::parts::{self, Count, Part};
use crate::stores::record::reports::Totals;

/// Sheets that begin in one window, about: 250,000 rows.
const SHEETS: usize = 1_000;

/// A sheet, and the cells of its rows.
#[derive(Clone, Copy, Debug)]
struct Head {
    first: i64,
    since: u64,
    until: u64,
}

/// Sums of windows, one after the other, that together are all of time.
pub(super) struct Windows {
    /// Those that no window has reached, the latest first.
    ahead: Vec<Head>,
    /// Those that reach into the next window.
    open: Vec<Head>,
    start: u64,
}

/// Sums of the rows of a window.
#[derive(Debug)]
pub(super) struct Window {
    pub cells: Range<u64>,
    pub rows: u64,
    /// In the order of [`Of`].
    pub sums: Vec<(Of, Stored)>,
}

impl Windows {
    /// Begins with the cell `from`.
    pub fn new(db: &Connection, from: u64) -> Result<Self, RecordError> {
        let cell = |micros: i64| Width::Cell.cell_of(Timestamp::from_micros(micros.max(0) as u64));
        let mut heads = db.prepare("SELECT first, since, until FROM log_sheets WHERE size > 0")?;
        let heads = heads.query_map([], |row| {
            Ok(Head { first: row.get(0)?, since: cell(row.get(1)?), until: cell(row.get(2)?) })
        })?;
        let mut ahead = heads
            .filter(|head| head.as_ref().map_or(true, |head| head.until >= from))
            .collect::<Result<Vec<_>, _>>()?;
        ahead.sort_unstable_by_key(|head| std::cmp::Reverse((head.since, head.first)));
        Ok(Self { ahead, open: Vec::new(), start: from })
    }

    /// The next window; `None` behind the last.
    pub fn next(&mut self, db: &Connection) -> Result<Option<Window>, RecordError> {
        if self.start == u64::MAX {
            return Ok(None);
        }
        let behind = self.ahead.len().checked_sub(SHEETS).and_then(|at| self.ahead.get(at));
        let end = behind.map_or(u64::MAX, |head| head.since.max(self.start + 1));
        let cells = self.start..end;
        while let Some(head) = self.ahead.pop_if(|head| head.since < end) {
            self.open.push(head);
        }
        let mut window = Window { cells, rows: 0, sums: Vec::new() };
        let mut sums = AHashMap::<Of, Stored>::new();
        let mut reader = Reader::new(db)?;
        for head in &self.open {
            for row in reader.rows_from(head.first)? {
                let row = row?;
                let of = Of { scope: row.scope, width: Width::Cell, cell: Width::Cell.cell_of(row.at) };
                if window.cells.contains(&of.cell) {
                    window.rows += 1;
                    add(sums.entry(of).or_default(), &row)?;
                }
            }
        }
        window.sums = sums.into_iter().collect();
        window.sums.sort_unstable_by_key(|(of, _)| *of);
        self.open.retain(|head| head.until >= end);
        self.start = end;
        Ok(Some(window))
    }
}

/// Adds one row.
fn add(sum: &mut Stored, row: &sheets::Stored<'_>) -> Result<(), RecordError> {
    let of_admitted = |micros| if row.admitted { micros } else { 0 };
    let success = u64::from(row.outcome == Some(Outcome::Success));
    let totals = Totals {
        admitted: u64::from(row.admitted),
        refused: u64::from(!row.admitted),
        success,
        cost: row.cost,
        first_byte_micros: of_admitted(row.first_byte_micros),
        total_micros: of_admitted(row.total_micros),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
    };
    let name = |kind: Kind| row.names[kind as usize];
    let parts = [
        name(Kind::Tier).map(|tier| Part::Tier(Some(tier))),
        name(Kind::Domain).map(|domain| Part::Domain(Some(domain))),
        (success == 0).then(|| Part::Failure(row.status, name(Kind::Code))),
    ];
    let count = Count { requests: 1, success, cost: row.cost };
    let parts = parts::encode(&parts.into_iter().flatten().map(|part| (part, count)).collect());
    sum.add(&Stored { totals, parts })
}
