//! Proving that sums are the sums of what they are sums of.
//!
//! Both sides are read in one order, what should be from below and what is from the table, and compared as they pass:
//! memory is that of one sum, or of one window of rows, and of the drifts found.

use rusqlite::Connection;
use uuid::Uuid;

use super::super::columns::{int, key_id};
use super::super::log_rows::time_of;
use super::super::log_sums::{Of, Table, Width};
use super::actual::Windows;
use super::compare::{Stored, Stream, read};
use crate::domain::id::{KeyId, OrgId};
use crate::stores::record::RecordError;
use crate::stores::record::reports::Totals;
use crate::stores::record::upkeep::{DRIFTS_MAX, Drift, Summed, Whose};

/// What is compared with what below it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// Cells of keys with rows.
    Cells,
    /// Cells of organizations with those of their keys.
    Organizations,
    /// Cells of everything with those of keys.
    Everything,
    /// Days with cells.
    Days,
    /// Totals of keys with their days.
    Totals,
}

/// From the bottom up.
pub(super) const LEVELS: [Level; 5] =
    [Level::Cells, Level::Organizations, Level::Everything, Level::Days, Level::Totals];

/// What one level showed.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub rows: u64,
    pub sums: u64,
    pub drifted: u64,
    /// The first [`DRIFTS_MAX`].
    pub drifts: Vec<Wrong>,
}

/// A drift, and how it is set right.
#[derive(Debug)]
pub(super) struct Wrong {
    pub told: Drift,
    sum: Place,
    recorded: Option<Stored>,
    actual: Option<Stored>,
}

#[derive(Debug)]
enum Place {
    Sum(Of),
    Key([u8; 16], String),
}

const SUMS: &str =
    "admitted, refused, success, credits, microcents, first_byte_micros, total_micros, bytes_in,
        bytes_out, parts";

/// Compares one level.
pub(super) fn level(db: &Connection, level: Level) -> Result<Found, RecordError> {
    let (rows, cells) = removed(db)?;
    let mut found = Found::default();
    let of_kind = |kind: u8, width: Width| {
        format!(
            "SELECT scope, cell, {SUMS} FROM scopes CROSS JOIN usage ON scope = number AND width = {} AND cell >= ?
             WHERE kind = {kind} ORDER BY number, cell",
            width as u32
        )
    };
    // Cells of keys, in the place of the scope given as SQL.
    let from_keys = |scope: &str, join: &str| {
        format!(
            "SELECT {scope} AS above, cell, {SUMS} FROM scopes own {join}
             CROSS JOIN usage ON usage.scope = own.number AND width = 300 AND cell >= ?
             WHERE own.kind = 0 ORDER BY above, cell"
        )
    };
    match level {
        Level::Cells => {
            let sql = format!(
                "SELECT scope, cell, {SUMS} FROM scopes CROSS JOIN usage ON scope = number AND width = 300
                     AND cell >= ? AND cell < ? WHERE kind = 0 ORDER BY number, cell"
            );
            let mut recorded = db.prepare(&sql)?;
            let mut windows = Windows::new(db, rows.max(0) as u64)?;
            while let Some(window) = windows.next(db)? {
                found.rows += window.rows;
                let mut actual = window.sums.into_iter();
                let cells = (int(window.cells.start), int(window.cells.end));
                let mut recorded = Stream::new(recorded.query(cells)?, read(Width::Cell));
                compare(db, &mut || Ok(actual.next()), &mut || recorded.next(), &mut found)?;
            }
        }
        Level::Organizations => {
            let join =
                "CROSS JOIN scopes o ON o.kind = 1 AND o.key = x'' AND o.organization = own.organization";
            let mut actual = db.prepare(&from_keys("o.number", join))?;
            let mut actual = Stream::new(actual.query([cells])?, read(Width::Cell));
            let mut recorded = db.prepare(&of_kind(1, Width::Cell))?;
            let mut recorded = Stream::new(recorded.query([cells])?, read(Width::Cell));
            compare(db, &mut || actual.next(), &mut || recorded.next(), &mut found)?;
        }
        Level::Everything => {
            let mut actual = db.prepare(&from_keys("1", ""))?;
            let mut actual = Stream::new(actual.query([cells])?, read(Width::Cell));
            let mut recorded = db.prepare(&of_kind(2, Width::Cell))?;
            let mut recorded = Stream::new(recorded.query([cells])?, read(Width::Cell));
            compare(db, &mut || actual.next(), &mut || recorded.next(), &mut found)?;
        }
        Level::Days => {
            let first = cells.unsigned_abs().div_ceil(288);
            let day = |row: &rusqlite::Row<'_>| {
                let (of, sum) = read(Width::Cell)(row)?;
                Ok((Of { width: Width::Day, cell: of.cell / 288, ..of }, sum))
            };
            let sql = format!(
                "SELECT scope, cell, {SUMS} FROM usage WHERE width = 300 AND cell >= ? ORDER BY scope, cell"
            );
            let mut actual = db.prepare(&sql)?;
            let mut actual = Stream::new(actual.query([int(first * 288)])?, day);
            let sql = format!(
                "SELECT scope, cell, {SUMS} FROM usage WHERE width = 86400 AND cell >= ? ORDER BY scope, cell"
            );
            let mut recorded = db.prepare(&sql)?;
            let mut recorded = Stream::new(recorded.query([int(first)])?, read(Width::Day));
            compare(db, &mut || actual.next(), &mut || recorded.next(), &mut found)?;
        }
        Level::Totals => totals(db, &mut found)?,
    }
    Ok(found)
}

/// The first cells of five minutes of which all rows, and all cells, are there.
fn removed(db: &Connection) -> Result<(i64, i64), RecordError> {
    let (rows, cells) = db.query_row("SELECT rows, cells FROM log_removed", [], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0)))
    })?;
    // A row counts when it was admitted, which is a little later than it arrived.
    let rows = rows.map_or(0, |last| int(Width::Cell.cell_of(time_of(last))) + 2);
    Ok((rows.max(cells), cells))
}

type Next<'n> = &'n mut dyn FnMut() -> Result<Option<(Of, Stored)>, RecordError>;

/// Walks both streams side by side.
fn compare(
    db: &Connection,
    actual: Next<'_>,
    recorded: Next<'_>,
    found: &mut Found,
) -> Result<(), RecordError> {
    let (mut should, mut is) = (actual()?, recorded()?);
    loop {
        let of = match (&should, &is) {
            (None, None) => return Ok(()),
            (Some((of, _)), None) | (None, Some((of, _))) => *of,
            (Some((should, _)), Some((is, _))) => *should.min(is),
        };
        let mut wanted = None;
        if should.as_ref().is_some_and(|(at, _)| *at == of) {
            wanted = std::mem::replace(&mut should, actual()?).map(|(_, sum)| sum);
        }
        let mut stored = None;
        if is.as_ref().is_some_and(|(at, _)| *at == of) {
            stored = std::mem::replace(&mut is, recorded()?).map(|(_, sum)| sum);
        }
        found.sums += 1;
        let nothing = Stored::default();
        if wanted.as_ref().unwrap_or(&nothing).agrees(stored.as_ref().unwrap_or(&nothing))? {
            continue;
        }
        found.drifted += 1;
        if found.drifts.len() == DRIFTS_MAX {
            continue;
        }
        let start = of.width.start(of.cell);
        let told = Drift {
            whose: whose(db, of.scope)?,
            sum: if of.width == Width::Day { Summed::Day(start) } else { Summed::Cell(start) },
            recorded: stored.as_ref().map_or(Totals::default(), |sum| sum.totals),
            actual: wanted.as_ref().map_or(Totals::default(), |sum| sum.totals),
        };
        found.drifts.push(Wrong { told, sum: Place::Sum(of), recorded: stored, actual: wanted });
    }
}

fn whose(db: &Connection, scope: u32) -> Result<Whose, RecordError> {
    let sql = "SELECT kind, key, organization FROM scopes WHERE number = ?";
    let (kind, key, organization): (u8, Vec<u8>, String) =
        db.query_row(sql, [scope], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let organization = || OrgId::parse(&organization).map_err(RecordError::Corrupt);
    Ok(match (kind, key.as_slice()) {
        (2, _) => Whose::Everything,
        (1, _) => Whose::Organization(organization()?),
        (_, []) if organization().is_err() => Whose::Nobody,
        (_, []) => Whose::Key(organization()?, None),
        (_, key) => Whose::Key(organization()?, Some(key_id(key)?)),
    })
}

/// Totals of keys: days are never removed, so they can always be compared.
fn totals(db: &Connection, found: &mut Found) -> Result<(), RecordError> {
    let mut both = db.prepare(
        "SELECT key, organization, sum(admitted), sum(admitted + refused), coalesce(requests, 0), coalesce(rows, 0)
         FROM (SELECT s.key, s.organization, u.admitted, u.refused
               FROM scopes s CROSS JOIN usage u ON u.scope = s.number AND u.width = 86400
               WHERE s.kind = 0 AND s.key <> x''
               UNION ALL SELECT key, organization, 0, 0 FROM key_usage)
         LEFT JOIN key_usage USING (key, organization) GROUP BY key, organization ORDER BY key",
    )?;
    let mut rows = both.query([])?;
    while let Some(row) = rows.next()? {
        let number = |column: usize| row.get::<_, i64>(column).map(|number| number.max(0) as u64);
        let totals = |admitted: u64, rows: u64| Totals {
            admitted,
            refused: rows.saturating_sub(admitted),
            ..Totals::default()
        };
        let (actual, recorded) = (totals(number(2)?, number(3)?), totals(number(4)?, number(5)?));
        found.sums += 1;
        if actual == recorded {
            continue;
        }
        found.drifted += 1;
        if found.drifts.len() < DRIFTS_MAX {
            let (key, organization): ([u8; 16], String) = (row.get(0)?, row.get(1)?);
            let whose = OrgId::parse(&organization).map_err(RecordError::Corrupt)?;
            let told = Drift {
                whose: Whose::Key(whose, Some(KeyId(Uuid::from_bytes(key)))),
                sum: Summed::Total,
                recorded,
                actual,
            };
            let stored = |totals| Some(Stored { totals, parts: Vec::new() });
            found.drifts.push(Wrong {
                told,
                sum: Place::Key(key, organization),
                recorded: stored(recorded),
                actual: stored(actual),
            });
        }
    }
    Ok(())
}

/// Sets what is still as it was found to what it should be; how many were.
pub(super) fn repair(db: &Connection, drifts: &[Wrong]) -> Result<u64, RecordError> {
    let mut table = Table::prepare(db)?;
    let mut repaired = 0;
    for wrong in drifts {
        let nothing = Stored::default();
        let (recorded, actual) =
            (wrong.recorded.as_ref().unwrap_or(&nothing), wrong.actual.as_ref().unwrap_or(&nothing));
        match &wrong.sum {
            Place::Sum(of) => {
                let stored = table.get(*of)?.map(|(totals, parts)| Stored { totals, parts });
                if stored == wrong.recorded {
                    table.put(*of, &actual.sum()?)?;
                    repaired += 1;
                }
            }
            Place::Key(key, organization) => {
                let (is, should) = (&recorded.totals, &actual.totals);
                db.execute(
                    "INSERT INTO key_usage (key, organization, requests, rows) VALUES (?, ?, 0, 0)
                     ON CONFLICT DO NOTHING",
                    (key, organization),
                )?;
                // A total drifted by hand can count more requests than rows, and was read as just as many.
                let set = "UPDATE key_usage SET requests = ?, rows = ?
                           WHERE key = ? AND requests = ? AND max(requests, rows) = ?";
                let (should, is) = ((should.admitted, should.requests()), (is.admitted, is.requests()));
                repaired +=
                    db.execute(set, (int(should.0), int(should.1), key, int(is.0), int(is.1)))? as u64;
            }
        }
    }
    Ok(repaired)
}
