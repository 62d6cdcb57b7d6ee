//! One step of dropping what is old: one transaction of some milliseconds.
//!
//! Rows go by their places, oldest first: what is up to [`cutoff`] is removed for everybody who asks, and what is behind
//! it is whole. A sheet goes when its newest row is that old, with all of it. So a batch that is moved twice finds its rows as
//! long as any of it could be moved again.

use rusqlite::Connection;

use super::super::columns::{micros, unreadable_value};
use super::super::log_blocks::decode;
use super::super::log_sums::cell_of;
use super::super::names::EVERYTHING;
use super::super::sheets::go_on_from;
use super::cutoff;
use crate::stores::record::places::first_place;
use crate::stores::record::upkeep::{Keep, Pruned};

/// Blocks of everything that one step drops: some thousand rows.
const BLOCKS: usize = 4;
/// Sheets of rows.
const SHEETS: usize = 24;
/// Scopes in which one step looks for what is old, and how many sums and blocks it drops of them.
const SCOPES: u64 = 200;
const CELLS: u64 = 500;
const BLOCKS_OF_SCOPES: u64 = 200;
/// Changes, sessions and secrets, each, in one step.
const OTHERS: u64 = 500;

/// What was dropped, and the scope behind which the next step looks for what is old.
pub(super) fn step(db: &Connection, keep: &Keep, swept: u32) -> rusqlite::Result<(Pruned, u32)> {
    let mut pruned = Pruned::default();
    rows(db, keep, &mut pruned)?;
    let swept = scopes(db, keep, swept, &mut pruned)?;
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
    pruned.more |= [pruned.changes, sessions, secrets, jobs].contains(&OTHERS);
    Ok((pruned, swept))
}

/// Removes the oldest rows, and drops the sheets that have none but such.
fn rows(db: &Connection, keep: &Keep, pruned: &mut Pruned) -> rusqlite::Result<()> {
    let until = first_place(keep.rows_since).saturating_sub(1);
    let before = cutoff(db)?;
    let mut blocks = db.prepare(
        "SELECT first, last, entries, id FROM log_blocks WHERE scope = ? AND first <= ? ORDER BY first LIMIT ?",
    )?;
    let mut blocks = blocks.query((EVERYTHING, until, BLOCKS as i64))?;
    let (mut reached, mut whole, mut entries) = (before, Vec::new(), Vec::new());
    while let Some(block) = blocks.next()? {
        let (first, last): (i64, i64) = (block.get(0)?, block.get(1)?);
        entries.clear();
        decode(block.get_ref(2)?.as_blob()?, first, &mut entries)
            .ok_or_else(|| unreadable_value("log_blocks.entries"))?;
        for entry in entries.iter().filter(|entry| (before + 1..=until).contains(&entry.place)) {
            pruned.rows += 1;
            reached = reached.max(entry.place);
        }
        if last <= until {
            whole.push(block.get::<_, i64>(3)?);
        }
    }
    pruned.more |= whole.len() == BLOCKS;
    for id in whole {
        db.execute("DELETE FROM log_blocks WHERE id = ?", [id])?;
    }
    if reached > before {
        db.execute("UPDATE log_removed SET rows = ?", [reached])?;
    }
    sheets(db, reached, pruned)
}

fn sheets(db: &Connection, cutoff: i64, pruned: &mut Pruned) -> rusqlite::Result<()> {
    let mut old =
        db.prepare("SELECT first FROM log_sheets WHERE newest <= ? AND size > 0 ORDER BY newest LIMIT ?")?;
    let old = old.query_map((cutoff, SHEETS as i64), |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    let last: Option<i64> = db.query_row("SELECT max(first) FROM log_sheets", [], |row| row.get(0))?;
    let mut drop = db.prepare("DELETE FROM log_sheets WHERE first = ?")?;
    for first in &old {
        if last == Some(*first) {
            go_on_from(db, 0)?;
        }
        drop.execute([first])?;
    }
    pruned.more |= old.len() == SHEETS;
    Ok(())
}

/// Drops old sums and blocks of the next scopes; the last of these, or none where there are no more.
fn scopes(db: &Connection, keep: &Keep, swept: u32, pruned: &mut Pruned) -> rusqlite::Result<u32> {
    let (before, cutoff) = (cell_of(keep.cells_since), cutoff(db)?);
    let mut scopes = db.prepare("SELECT number FROM scopes WHERE number > ? ORDER BY number LIMIT ?")?;
    let scopes =
        scopes.query_map((swept, SCOPES as i64), |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let mut sums = db.prepare(
        "DELETE FROM usage WHERE scope = ?1 AND width = 300 AND cell IN (
             SELECT cell FROM usage WHERE scope = ?1 AND width = 300 AND cell < ?2 ORDER BY cell LIMIT ?3)",
    )?;
    let mut blocks = db.prepare(
        "DELETE FROM log_blocks WHERE id IN (
             SELECT id FROM log_blocks WHERE scope = ?1 AND first <= ?2 AND last <= ?2 ORDER BY first LIMIT ?3)",
    )?;
    let (mut last, mut full, mut blocks_dropped) = (0, false, 0);
    for scope in &scopes {
        let room = (CELLS - pruned.cells, BLOCKS_OF_SCOPES - blocks_dropped);
        let dropped = sums.execute((scope, before, room.0 as i64))? as u64;
        pruned.cells += dropped;
        let of_rows = match *scope {
            // Where rows are counted.
            EVERYTHING => 0,
            _ => blocks.execute((scope, cutoff, room.1 as i64))? as u64,
        };
        blocks_dropped += of_rows;
        full = dropped == room.0 || of_rows == room.1;
        if full {
            break;
        }
        last = *scope;
    }
    if pruned.cells > 0 {
        db.execute("UPDATE log_removed SET cells = max(coalesce(cells, ?1), ?1)", [before])?;
    }
    if !full && (scopes.len() as u64) < SCOPES {
        return Ok(0);
    }
    pruned.more = true;
    // Where not even the first was finished, it is the first of the next step too.
    Ok(if last == 0 { swept } else { last })
}
