//! Appending rows.

use std::net::IpAddr;

use ahash::AHashMap;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::super::columns::{int, micros, unreadable_value};
use super::super::log_rows::{Fresh, Named, place_of};
use super::super::names::{Kind, Name};
use super::read::{SheetShape, next_number, shapes_in};
use super::{ADMITTED, ID_BYTES, OUTCOME_SHIFT, SHAPE_NAMES, SHEET_ROWS, SOURCE_SHIFT, STATUS_SHIFT, jsonb};
use crate::domain::cost::Cost;
use crate::domain::row::Shape;

/// Appends rows to the last sheet, and to new ones behind it.
pub(in super::super) struct Writer<'t> {
    put: Statement<'t>,
    sheet: Sheet,
    /// Whether the sheet has rows that the table does not have.
    changed: bool,
    /// Of one row, of all: used again and again.
    scratch: Vec<u8>,
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
    /// The same of its shapes.
    shapes: Vec<u8>,
    /// Shapes by what they are in JSONB, without cost and address.
    known: AHashMap<Box<[u8]>, u32>,
    /// Cost and address that shapes have.
    usual: Vec<(Cost, IpAddr)>,
}

/// A shape as sheets have it.
#[derive(Debug, Default)]
pub(in super::super) struct Sheeted {
    /// What it is in JSONB, without cost and address; empty as long as no sheet has it.
    text: Vec<u8>,
    /// The sheet that had it last, and its number there.
    last: Option<(i64, u32)>,
}

impl<'t> Writer<'t> {
    /// Goes on behind the last row.
    pub fn begin(db: &'t Connection) -> rusqlite::Result<Self> {
        let last = "SELECT first, size, base, since, until, newest, ids, rows, shapes FROM log_sheets
                    ORDER BY first DESC LIMIT 1";
        let sheet = db.query_row(last, [], Sheet::read).optional()?;
        let put = db.prepare(
            "INSERT OR REPLACE INTO log_sheets (first, size, base, since, until, newest, ids, rows, shapes)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let sheet = sheet.unwrap_or(Sheet { first: 1, ..Sheet::default() });
        Ok(Self { put, sheet, changed: false, scratch: Vec::new() })
    }

    /// Appends a row; its number.
    pub fn push(&mut self, row: &Fresh<'_>, shape: &mut Named<'_>) -> rusqlite::Result<i64> {
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
        let shape = match shape.sheeted.last {
            Some((first, number)) if first == sheet.first => number,
            _ => sheet.add_shape(shape, row, &mut self.scratch),
        };
        self.scratch.clear();
        sheet.encode(row, shape, at, &mut self.scratch);
        jsonb::put_array(&mut sheet.rows, &self.scratch);
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
        let Sheet { first, size, base, since, until, newest, ids, rows, shapes, .. } = &self.sheet;
        self.scratch.clear();
        jsonb::put_array(&mut self.scratch, rows);
        let behind = self.scratch.len();
        jsonb::put_array(&mut self.scratch, shapes);
        let (rows, shapes) = self.scratch.split_at(behind);
        let blob = |bytes| ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        let (ids, rows, shapes) = (blob(ids), blob(rows), blob(shapes));
        self.put.execute((first, *size as i64, base, since, until, newest, ids, rows, shapes))?;
        Ok(())
    }
}

impl Sheet {
    /// The last sheet, or a new one behind it where that is of an earlier version.
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let (first, size) = (row.get(0)?, row.get::<_, u32>(1)?);
        let unreadable = || unreadable_value("log_sheets.rows");
        let Some(shapes) = row.get_ref(8)?.as_blob_or_null()? else {
            return Ok(Self { first: first + i64::from(size), ..Self::default() });
        };
        let mut sheet = Self {
            first,
            size: size as usize,
            base: row.get(2)?,
            since: row.get(3)?,
            until: row.get(4)?,
            newest: row.get(5)?,
            ids: row.get(6)?,
            rows: jsonb::array(row.get_ref(7)?.as_blob()?).ok_or_else(unreadable)?.bytes().to_vec(),
            shapes: jsonb::array(shapes).ok_or_else(unreadable)?.bytes().to_vec(),
            ..Self::default()
        };
        for (text, shape) in shapes_in(shapes).ok_or_else(unreadable)? {
            let SheetShape { cost, address, .. } = shape;
            sheet.known.insert(text.into(), sheet.usual.len() as u32);
            sheet.usual.push((cost, address));
        }
        Ok(sheet)
    }

    fn clear_for(&mut self, first: i64) {
        self.first = first;
        self.size = 0;
        self.ids.clear();
        self.ids.reserve(SHEET_ROWS * ID_BYTES);
        self.rows.clear();
        self.shapes.clear();
        self.known.clear();
        self.usual.clear();
    }

    /// The number of a shape in this sheet, given to it now where it has none.
    fn add_shape(&mut self, shape: &mut Named<'_>, row: &Fresh<'_>, scratch: &mut Vec<u8>) -> u32 {
        if shape.sheeted.text.is_empty() {
            put_shape(&mut shape.sheeted.text, shape.scopes.own, &shape.shape, &shape.names);
        }
        let text = &shape.sheeted.text;
        let number = match self.known.get(text.as_slice()) {
            Some(number) => *number,
            None => {
                let number = self.usual.len() as u32;
                scratch.clear();
                scratch.extend_from_slice(text);
                put_cost(scratch, row.row.cost);
                put_address(scratch, row.row.address);
                jsonb::put_array(&mut self.shapes, scratch);
                self.known.insert(text.as_slice().into(), number);
                self.usual.push((row.row.cost, row.row.address));
                number
            }
        };
        shape.sheeted.last = Some((self.first, number));
        number
    }

    /// The elements of a row.
    fn encode(&self, row: &Fresh<'_>, shape: u32, at: i64, out: &mut Vec<u8>) {
        let facts = &row.row;
        jsonb::put_int(out, at.saturating_sub(self.base));
        jsonb::put_int(out, i64::from(shape));
        for number in [facts.first_byte_micros, facts.total_micros, facts.bytes_in, facts.bytes_out] {
            jsonb::put_int(out, int(number));
        }
        let further = row.place - place_of(facts.id);
        let usual = self.usual.get(shape as usize);
        let own_cost = usual.is_none_or(|(cost, _)| *cost != facts.cost);
        let own_address = usual.is_none_or(|(_, address)| *address != facts.address);
        let needed = [row.domain.is_some(), further != 0, own_cost, own_address];
        let needed = needed.iter().rposition(|needed| *needed).map_or(0, |last| last + 1);
        if needed > 0 {
            put_name(out, row.domain);
        }
        if needed > 1 {
            jsonb::put_int(out, further);
        }
        if needed > 2 {
            match own_cost {
                true => put_cost(out, facts.cost),
                false => (0..2).for_each(|_| jsonb::put_null(out)),
            }
        }
        if needed > 3 {
            put_address(out, facts.address);
        }
    }
}

/// Puts a sheet without rows behind the last one, from the number `from` on or a later one: numbers go on there, also where
/// that last one is dropped.
pub(in super::super) fn go_on_from(db: &Connection, from: i64) -> rusqlite::Result<()> {
    let mut nothing = Vec::new();
    jsonb::put_array(&mut nothing, &[]);
    db.execute(
        "INSERT OR REPLACE INTO log_sheets (first, size, base, since, until, newest, ids, rows, shapes)
         VALUES (?1, 0, 0, 0, 0, 0, x'', ?2, ?2)",
        (from.max(next_number(db)?), nothing),
    )?;
    Ok(())
}

/// The elements of a shape, without cost and address.
fn put_shape(
    out: &mut Vec<u8>,
    scope: u32,
    shape: &Shape<&str>,
    names: &[Option<Name<'_>>; Kind::ALL.len()],
) {
    jsonb::put_int(out, i64::from(scope));
    jsonb::put_int(
        out,
        if shape.admitted { ADMITTED } else { 0 }
            | shape.outcome.map_or(0, |outcome| outcome as i64 + 1) << OUTCOME_SHIFT
            | (shape.cost_source as i64) << SOURCE_SHIFT
            | i64::from(shape.status) << STATUS_SHIFT,
    );
    for kind in SHAPE_NAMES {
        put_name(out, names[kind as usize]);
    }
}

fn put_name(out: &mut Vec<u8>, name: Option<Name<'_>>) {
    match name {
        None => jsonb::put_null(out),
        Some(Name::Number(number)) => jsonb::put_int(out, i64::from(number)),
        Some(Name::Text(text)) => jsonb::put_text(out, text),
    }
}

fn put_cost(out: &mut Vec<u8>, cost: Cost) {
    jsonb::put_int(out, int(cost.credits));
    jsonb::put_int(out, int(cost.microcents));
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put_hex(out, &address.octets()),
        IpAddr::V6(address) => put_hex(out, &address.octets()),
    }
}

fn put_hex(out: &mut Vec<u8>, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 2 * ID_BYTES];
    for (pair, octet) in hex.chunks_exact_mut(2).zip(octets) {
        pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 0xf)]]);
    }
    jsonb::put_text(out, std::str::from_utf8(&hex[..2 * octets.len()]).unwrap_or_default());
}
