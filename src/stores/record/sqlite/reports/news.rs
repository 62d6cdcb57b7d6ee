//! Rows in the order in which they came in: that of their numbers.

use rusqlite::Connection;

use super::super::sheets::next_number;
use super::super::upkeep::cutoff;
use super::rows::{Rows, logged};
use crate::stores::record::RecordError;
use crate::stores::record::places::time_of;
use crate::stores::record::reports::{Arrived, LogFilter, News, PAGE_ROWS_MAX, Scope};

/// Rows looked at for one answer.
const LOOKED_AT_MAX: usize = 20_000;

/// Behind everything that is there.
pub(super) fn end(db: &Connection) -> Result<Arrived, RecordError> {
    Ok(arrived(next_number(db)?))
}

const fn arrived(number: i64) -> Arrived {
    Arrived(number.unsigned_abs())
}

pub(super) fn since(
    db: &Connection,
    filter: &LogFilter,
    after: Arrived,
    most: usize,
) -> Result<News, RecordError> {
    let most = most.min(PAGE_ROWS_MAX);
    let cutoff = cutoff(db)?;
    let mut news = News { rows: Vec::new(), next: after, more: false };
    let Rows { mut reader, mut words } = Rows::new(db)?;
    let mut next = i64::try_from(after.0).unwrap_or(i64::MAX);
    let mut looked_at = 0;
    loop {
        let before = next;
        for row in reader.rows_from(next)? {
            let row = row?;
            if news.rows.len() == most || looked_at == LOOKED_AT_MAX {
                return Ok(News { next: arrived(row.number), more: true, ..news });
            }
            looked_at += 1;
            next = row.number + 1;
            if row.place <= cutoff {
                continue;
            }
            let found = logged(&row, &mut words)?;
            if is_of(&filter.scope, &found) && filter.lets_through(&found.row, time_of(row.place)) {
                news.rows.push(found);
            }
        }
        news.next = arrived(next);
        if next == before {
            return Ok(news);
        }
    }
}

fn is_of(scope: &Scope, found: &crate::stores::record::reports::LoggedRow) -> bool {
    match scope {
        Scope::Key(key) => found.row.key == Some(*key),
        Scope::Organization(organization) => found.row.organization.as_deref() == Some(organization.as_str()),
        Scope::Everything => true,
    }
}
