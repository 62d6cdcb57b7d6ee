//! One step of dropping what is old: one transaction of some milliseconds.
//!
//! Rows go from the front of the table, so what remains is everything since some place, and a batch that is moved
//! twice finds its rows as long as any of it could be moved again.

use rusqlite::Connection;

use super::super::columns::micros;
use super::super::log_rows::first_place;
use super::super::log_sums::cell_of;
use super::super::names::EVERYTHING;
use super::super::reports::batch_of;
use crate::stores::record::upkeep::{Keep, Pruned};

/// Rows of the log that one step drops.
const ROWS: u64 = 500;
/// Scopes in which one step looks for old sums, and how many sums it drops.
const SCOPES: u64 = 200;
const CELLS: u64 = 500;
/// Batches of the order of arrival, in one step.
const BATCHES: u64 = 50;
/// Changes, sessions and secrets, each, in one step.
const OTHERS: u64 = 500;

/// What was dropped, and the scope behind which the next step looks for old sums.
pub(super) fn step(db: &Connection, keep: &Keep, swept: u32) -> rusqlite::Result<(Pruned, u32)> {
    let mut pruned = Pruned::default();
    rows(db, keep, &mut pruned)?;
    let swept = cells(db, keep, swept, &mut pruned)?;
    pruned.news = db.execute(
        "DELETE FROM log_arrivals WHERE sequence <= (
             SELECT max(sequence) FROM (SELECT sequence, last FROM log_arrivals ORDER BY sequence LIMIT ?1)
             WHERE last < ?2) AND sequence < ?3",
        (BATCHES as i64, first_place(keep.news_since), keep.news_read.map_or(i64::MAX, batch_of)),
    )? as u64;
    pruned.changes = db.execute(
        "DELETE FROM changes WHERE sequence <= (
             SELECT max(sequence) FROM (SELECT sequence, at FROM changes ORDER BY sequence LIMIT ?1)
             WHERE at < ?2)",
        (OTHERS as i64, micros(keep.changes_since)),
    )? as u64;
    let ended = micros(keep.ended_since);
    let sessions = db.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? LIMIT ?)",
        (ended, OTHERS as i64),
    )? as u64;
    let secrets = db.execute(
        "DELETE FROM key_secrets WHERE digest IN (SELECT digest FROM key_secrets WHERE valid_until < ? LIMIT ?)",
        (ended, OTHERS as i64),
    )? as u64;
    let jobs = db.execute(
        "DELETE FROM jobs WHERE job IN (SELECT job FROM jobs WHERE at < ? ORDER BY at LIMIT ?)",
        (micros(keep.rows_since), OTHERS as i64),
    )? as u64;
    pruned.ended = sessions + secrets + jobs;
    pruned.more |= pruned.rows == ROWS
        || pruned.news == BATCHES
        || [pruned.changes, sessions, secrets, jobs].contains(&OTHERS);
    Ok((pruned, swept))
}

/// Drops the oldest rows, and the blocks that have none but such.
fn rows(db: &Connection, keep: &Keep, pruned: &mut Pruned) -> rusqlite::Result<()> {
    let last: Option<i64> = db.query_row(
        "SELECT max(place) FROM (SELECT place FROM requests WHERE place < ? ORDER BY place LIMIT ?)",
        (first_place(keep.rows_since), ROWS as i64),
        |row| row.get(0),
    )?;
    let Some(last) = last else { return Ok(()) };
    let mut scopes = db.prepare(
        "WITH own (scope) AS (SELECT DISTINCT scope FROM requests WHERE place <= ?)
         SELECT scope FROM own
         UNION SELECT o.number FROM own JOIN scopes s ON s.number = own.scope
               JOIN scopes o ON o.kind = 1 AND o.key = x'' AND o.organization = s.organization
         UNION SELECT ?",
    )?;
    let scopes = scopes.query_map((last, EVERYTHING), |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let mut blocks = db.prepare("DELETE FROM log_blocks WHERE scope = ?1 AND first <= ?2 AND last <= ?2")?;
    for scope in scopes {
        blocks.execute((scope, last))?;
    }
    pruned.rows = db.execute("DELETE FROM requests WHERE place <= ?", [last])? as u64;
    db.execute("UPDATE log_removed SET rows = max(coalesce(rows, ?1), ?1)", [last])?;
    Ok(())
}

/// Drops old sums of the next scopes; the last of these, or none where there are no more.
fn cells(db: &Connection, keep: &Keep, swept: u32, pruned: &mut Pruned) -> rusqlite::Result<u32> {
    let before = cell_of(keep.cells_since);
    let mut scopes = db.prepare("SELECT number FROM scopes WHERE number > ? ORDER BY number LIMIT ?")?;
    let scopes =
        scopes.query_map((swept, SCOPES as i64), |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let mut drop = db.prepare(
        "DELETE FROM usage WHERE scope = ?1 AND width = 300 AND cell IN (
             SELECT cell FROM usage WHERE scope = ?1 AND width = 300 AND cell < ?2 ORDER BY cell LIMIT ?3)",
    )?;
    let mut last = 0;
    for scope in &scopes {
        let room = CELLS - pruned.cells;
        let dropped = drop.execute((scope, before, room as i64))? as u64;
        pruned.cells += dropped;
        if dropped == room {
            break;
        }
        last = *scope;
    }
    if pruned.cells > 0 {
        db.execute("UPDATE log_removed SET cells = max(coalesce(cells, ?1), ?1)", [before])?;
    }
    if pruned.cells < CELLS && (scopes.len() as u64) < SCOPES {
        return Ok(0);
    }
    pruned.more = true;
    // Where not even the first was finished, it is the first of the next step too.
    Ok(if last == 0 { swept } else { last })
}
