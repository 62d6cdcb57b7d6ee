//! Rows in the order in which they came in.

use rusqlite::Connection;

use super::super::columns::int;
use super::rows::{arrival_of, logged};
use crate::stores::record::RecordError;
use crate::stores::record::packed::Bytes;
use crate::stores::record::reports::{Arrived, LogFilter, News, PAGE_ROWS_MAX, Scope};

/// Bits of [`Arrived`] that number a row of its batch: `logs.batch_rows_max` is at most 1,000,000.
const ROW_BITS: u32 = 20;

/// Rows looked at for one answer.
const LOOKED_AT_MAX: usize = 20_000;

/// Behind everything that is there.
pub(super) fn end(db: &Connection) -> Result<Arrived, RecordError> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM log_arrivals";
    let last: i64 = db.query_row(sql, [], |row| row.get(0))?;
    Ok(place(last + 1, 0))
}

fn place(sequence: i64, row: usize) -> Arrived {
    Arrived((sequence.max(0) as u64) << ROW_BITS | row as u64)
}

/// The batch that `arrived` lies in.
pub(in crate::stores::record::sqlite) fn batch_of(arrived: Arrived) -> i64 {
    int(arrived.0 >> ROW_BITS)
}

pub(super) fn since(
    db: &Connection,
    filter: &LogFilter,
    after: Arrived,
    most: usize,
) -> Result<News, RecordError> {
    let most = most.min(PAGE_ROWS_MAX);
    let mut news = News { rows: Vec::new(), next: after, more: false };
    let mut rows = logged(db)?;
    let mut batches =
        db.prepare("SELECT sequence, places FROM log_arrivals WHERE sequence >= ? ORDER BY sequence")?;
    let mut batches = batches.query([batch_of(after)])?;
    let mut looked_at = 0;
    while let Some(batch) = batches.next()? {
        let sequence = batch.get(0)?;
        let mut places = Bytes(batch.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        let (mut at, mut row) = (0_i64, 0);
        while let Some(further) = places.number() {
            at = at.saturating_add_unsigned(further);
            if place(sequence, row) >= after {
                if news.rows.len() == most || looked_at == LOOKED_AT_MAX {
                    return Ok(News { next: place(sequence, row), more: true, ..news });
                }
                looked_at += 1;
                news.rows.extend(rows.at(at)?.filter(|found| {
                    is_of(&filter.scope, found) && filter.lets_through(&found.row, arrival_of(found.place))
                }));
            }
            row += 1;
        }
        news.next = place(sequence + 1, 0);
    }
    Ok(news)
}

fn is_of(scope: &Scope, found: &crate::stores::record::reports::LoggedRow) -> bool {
    match scope {
        Scope::Key(key) => found.row.key == Some(*key),
        Scope::Organization(organization) => found.row.organization.as_deref() == Some(organization.as_str()),
        Scope::Everything => true,
    }
}
