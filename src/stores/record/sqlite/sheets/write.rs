//! Appending rows.

use std::net::IpAddr;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::super::columns::{int, micros, unreadable_value};
use super::super::log_rows::{Named, place_of};
use super::super::names::Name;
use super::read::next_number;
use super::{ADMITTED, ID_BYTES, OUTCOME_SHIFT, SHEET_ROWS, SOURCE_SHIFT, STATUS_SHIFT, jsonb};

/// Appends rows to the last sheet, and to new ones behind it.
pub(in super::super) struct Writer<'t> {
    put: Statement<'t>,
    sheet: Sheet,
    /// Whether the sheet has rows that the table does not have.
    changed: bool,
    /// Of one row: used again and again.
    row: Vec<u8>,
}

#[derive(Debug, Default)]
struct Sheet {
    first: i64,
    size: usize,
    base: i64,
    since: i64,
    until: i64,
    newest: i64,
    ids: Vec<u8>,
    /// Its rows, without the header of the array that they are.
    rows: Vec<u8>,
}

impl<'t> Writer<'t> {
    /// Goes on behind the last row.
    pub fn begin(db: &'t Connection) -> rusqlite::Result<Self> {
        let last = "SELECT first, size, base, since, until, newest, ids, rows FROM log_sheets
                    ORDER BY first DESC LIMIT 1";
        let sheet = db.query_row(last, [], |row| {
            let rows = row.get_ref(7)?.as_blob()?;
            Ok(Sheet {
                first: row.get(0)?,
                size: row.get::<_, u32>(1)? as usize,
                base: row.get(2)?,
                since: row.get(3)?,
                until: row.get(4)?,
                newest: row.get(5)?,
                ids: row.get(6)?,
                rows: jsonb::array(rows).ok_or_else(|| unreadable_value("log_sheets.rows"))?.bytes().to_vec(),
            })
        });
        let sheet = sheet.optional()?.unwrap_or(Sheet { first: 1, ..Sheet::default() });
        let put = db.prepare(
            "INSERT OR REPLACE INTO log_sheets (first, size, base, since, until, newest, ids, rows)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        Ok(Self { put, sheet, changed: false, row: Vec::new() })
    }

    /// Appends a row; its number.
    pub fn push(&mut self, row: &Named<'_>) -> rusqlite::Result<i64> {
        if self.sheet.size >= SHEET_ROWS {
            self.put()?;
            self.sheet.clear_for(self.sheet.first + self.sheet.size as i64);
        }
        let sheet = &mut self.sheet;
        let at = micros(row.row.at);
        if sheet.size == 0 {
            (sheet.base, sheet.since, sheet.until, sheet.newest) = (at, at, at, row.place);
        }
        (sheet.since, sheet.until) = (sheet.since.min(at), sheet.until.max(at));
        sheet.newest = sheet.newest.max(row.place);
        sheet.ids.extend_from_slice(row.row.id.0.as_bytes());
        self.row.clear();
        encode(row, at.saturating_sub(sheet.base), &mut self.row);
        jsonb::put_array(&mut sheet.rows, &self.row);
        let number = sheet.first + sheet.size as i64;
        sheet.size += 1;
        self.changed = true;
        Ok(number)
    }

    /// Writes what the table does not have yet.
    pub fn finish(mut self) -> rusqlite::Result<()> {
        self.put()
    }

    fn put(&mut self) -> rusqlite::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let Sheet { first, size, base, since, until, newest, ids, rows } = &self.sheet;
        self.row.clear();
        jsonb::put_array(&mut self.row, rows);
        let blob = |bytes| ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        self.put.execute((first, *size as i64, base, since, until, newest, blob(ids), blob(&self.row)))?;
        Ok(())
    }
}

impl Sheet {
    fn clear_for(&mut self, first: i64) {
        self.first = first;
        self.size = 0;
        self.ids.clear();
        self.ids.reserve(SHEET_ROWS * ID_BYTES);
        self.rows.clear();
    }
}

/// Puts a sheet without rows behind the last one, from the number `from` on or a later one: numbers go on there, also where
/// that last one is dropped.
pub(in super::super) fn go_on_from(db: &Connection, from: i64) -> rusqlite::Result<()> {
    let mut nothing = Vec::new();
    jsonb::put_array(&mut nothing, &[]);
    db.execute(
        "INSERT OR REPLACE INTO log_sheets (first, size, base, since, until, newest, ids, rows)
         VALUES (?, 0, 0, 0, 0, 0, x'', ?)",
        (from.max(next_number(db)?), nothing),
    )?;
    Ok(())
}

/// The elements of a row, in the order in which [`Stored`](super::Stored) and the view `requests` read them.
fn encode(row: &Named<'_>, at: i64, out: &mut Vec<u8>) {
    let facts = &row.row;
    jsonb::put_int(out, at);
    jsonb::put_int(out, i64::from(row.scopes.own));
    jsonb::put_int(
        out,
        if facts.admitted { ADMITTED } else { 0 }
            | facts.outcome.map_or(0, |outcome| outcome as i64 + 1) << OUTCOME_SHIFT
            | (facts.cost_source as i64) << SOURCE_SHIFT
            | i64::from(facts.status) << STATUS_SHIFT,
    );
    for number in [
        facts.cost.credits,
        facts.cost.microcents,
        facts.first_byte_micros,
        facts.total_micros,
        facts.bytes_in,
        facts.bytes_out,
    ] {
        jsonb::put_int(out, int(number));
    }
    match facts.address {
        IpAddr::V4(address) => put_hex(out, &address.octets()),
        IpAddr::V6(address) => put_hex(out, &address.octets()),
    }
    for name in row.names {
        match name {
            None => jsonb::put_null(out),
            Some(Name::Number(number)) => jsonb::put_int(out, i64::from(number)),
            Some(Name::Text(text)) => jsonb::put_text(out, text),
        }
    }
    // How far it stands from its first choice.
    jsonb::put_int(out, row.place - place_of(facts.id));
}

fn put_hex(out: &mut Vec<u8>, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 2 * ID_BYTES];
    for (pair, octet) in hex.chunks_exact_mut(2).zip(octets) {
        pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 0xf)]]);
    }
    jsonb::put_text(out, std::str::from_utf8(&hex[..2 * octets.len()]).unwrap_or_default());
}
