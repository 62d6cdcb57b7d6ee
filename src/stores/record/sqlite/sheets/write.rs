//! Appending rows.

use std::net::IpAddr;

use ahash::AHashMap;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::super::columns::{int, micros, unreadable_value};
use super::super::log_rows::{Named, NamedOwner, NamedShape, place_of};
use super::super::names::Name;
use super::jsonb::{self, Elements};
use super::read::{SheetOwner, SheetShape, next_number};
use super::{ADMITTED, ID_BYTES, OUTCOME_SHIFT, SHAPE_NAMES, SHEET_ROWS, SOURCE_SHIFT, STATUS_SHIFT};
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
    owners: Commons<IpAddr>,
    shapes: Commons<Cost>,
}

/// What rows of a sheet have in common, each with what is usual among its rows.
#[derive(Debug)]
struct Commons<U> {
    /// All of them, without the header of the array that they are.
    text: Vec<u8>,
    /// Which there are, by what they are in JSONB without what is usual.
    known: AHashMap<Box<[u8]>, u32>,
    usual: Vec<U>,
}

/// An owner or a shape as sheets have it.
#[derive(Debug, Default)]
pub(in super::super) struct Sheeted {
    /// What it is in JSONB, without what is usual; empty as long as no sheet has it.
    text: Vec<u8>,
    /// The sheet that had it last, and its number there.
    last: Option<(i64, u32)>,
}

impl<'t> Writer<'t> {
    /// Goes on behind the last row.
    pub fn begin(db: &'t Connection) -> rusqlite::Result<Self> {
        let last = "SELECT first, size, base, since, until, newest, ids, rows, owners, shapes FROM log_sheets
                    ORDER BY first DESC LIMIT 1";
        let sheet = db.query_row(last, [], Sheet::read).optional()?;
        let put = db.prepare(
            "INSERT OR REPLACE INTO log_sheets
                 (first, size, base, since, until, newest, ids, rows, owners, shapes)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let sheet = sheet.unwrap_or(Sheet { first: 1, ..Sheet::default() });
        Ok(Self { put, sheet, changed: false, scratch: Vec::new() })
    }

    /// Appends a row; its number.
    pub fn push(&mut self, row: &mut Named<'_, '_>) -> rusqlite::Result<i64> {
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
        self.scratch.clear();
        sheet.encode(row, at, &mut self.scratch);
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
        let Sheet { first, size, base, since, until, newest, ids, rows, owners, shapes } = &self.sheet;
        self.scratch.clear();
        let mut ends = [0; 3];
        for (elements, end) in [rows, &owners.text, &shapes.text].into_iter().zip(&mut ends) {
            jsonb::put_array(&mut self.scratch, elements);
            *end = self.scratch.len();
        }
        let blob = |bytes| ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        let array = |from: usize, to: usize| blob(self.scratch.get(from..to).unwrap_or_default());
        let [rows, owners, shapes] = [array(0, ends[0]), array(ends[0], ends[1]), array(ends[1], ends[2])];
        let size = *size as i64;
        self.put.execute((first, size, base, since, until, newest, blob(ids), rows, owners, shapes))?;
        Ok(())
    }
}

impl Sheet {
    /// The last sheet, or a new one behind it where that is of an earlier version.
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let (first, size) = (row.get(0)?, row.get::<_, u32>(1)?);
        let unreadable = || unreadable_value("log_sheets.rows");
        let elements = |column: usize| {
            let array = row.get_ref(column)?.as_blob()?;
            jsonb::array(array).ok_or_else(unreadable)
        };
        if row.get_ref(9)?.as_blob_or_null()?.is_none() {
            return Ok(Self { first: first + i64::from(size), ..Self::default() });
        }
        let usual_address = |owner: &mut Elements<'_>| SheetOwner::read(owner).map(|owner| owner.address);
        let usual_cost = |shape: &mut Elements<'_>| SheetShape::read(shape).map(|shape| shape.cost);
        Ok(Self {
            first,
            size: size as usize,
            base: row.get(2)?,
            since: row.get(3)?,
            until: row.get(4)?,
            newest: row.get(5)?,
            ids: row.get(6)?,
            rows: elements(7)?.bytes().to_vec(),
            owners: Commons::read(elements(8)?, 2, usual_address).ok_or_else(unreadable)?,
            shapes: Commons::read(elements(9)?, 1 + SHAPE_NAMES.len(), usual_cost).ok_or_else(unreadable)?,
        })
    }

    fn clear_for(&mut self, first: i64) {
        self.first = first;
        self.size = 0;
        self.ids.clear();
        self.ids.reserve(SHEET_ROWS * ID_BYTES);
        self.rows.clear();
        self.owners.clear();
        self.shapes.clear();
    }

    /// The elements of a row.
    fn encode(&mut self, row: &mut Named<'_, '_>, at: i64, out: &mut Vec<u8>) {
        let facts = &row.row;
        let NamedOwner { scopes, project, sheeted, .. } = &mut *row.owner;
        let owner = self.owners.number(self.first, sheeted, facts.address, put_address, |text| {
            put_owner(text, scopes.own, *project);
        });
        let NamedShape { shape, method, path, code, tier, target, user_agent, sheeted } = &mut *row.shape;
        let names = [*method, *path, *code, *tier, *target, *user_agent];
        let shape = self.shapes.number(self.first, sheeted, facts.cost, put_cost, |text| {
            put_shape(text, shape, names);
        });
        jsonb::put_int(out, at.saturating_sub(self.base));
        jsonb::put_int(out, i64::from(owner));
        jsonb::put_int(out, i64::from(shape));
        for number in [facts.first_byte_micros, facts.total_micros, facts.bytes_in, facts.bytes_out] {
            jsonb::put_int(out, int(number));
        }
        let further = row.place - place_of(facts.id);
        let own_cost = self.shapes.usual.get(shape as usize) != Some(&facts.cost);
        let own_address = self.owners.usual.get(owner as usize) != Some(&facts.address);
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

impl<U> Default for Commons<U> {
    fn default() -> Self {
        Self { text: Vec::new(), known: AHashMap::new(), usual: Vec::new() }
    }
}

impl<U> Commons<U> {
    /// Those of an array, of whose elements so many stand before what is usual, which `usual` reads.
    fn read<'a>(
        mut elements: Elements<'a>,
        before: usize,
        usual: impl Fn(&mut Elements<'a>) -> Option<U>,
    ) -> Option<Self> {
        let mut commons = Self { text: elements.bytes().to_vec(), ..Self::default() };
        while !elements.is_empty() {
            let whole = elements.array()?;
            let mut behind = whole;
            (0..before).try_for_each(|_| behind.value().map(drop))?;
            let text = whole.bytes().get(..whole.bytes().len() - behind.bytes().len())?;
            commons.known.insert(text.into(), commons.usual.len() as u32);
            commons.usual.push(usual(&mut { whole })?);
        }
        Some(commons)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.known.clear();
        self.usual.clear();
    }

    /// The number in the sheet `first` of what is `sheeted`, given to it now where it has none: with the text that `write` makes
    /// of it, and with what is usual from now on, which `put` appends.
    #[inline]
    fn number(
        &mut self,
        first: i64,
        sheeted: &mut Sheeted,
        usual: U,
        put: fn(&mut Vec<u8>, U),
        write: impl FnOnce(&mut Vec<u8>),
    ) -> u32
    where
        U: Copy,
    {
        if let Some((_, number)) = sheeted.last.filter(|(sheet, _)| *sheet == first) {
            return number;
        }
        if sheeted.text.is_empty() {
            write(&mut sheeted.text);
        }
        let number = match self.known.get(sheeted.text.as_slice()) {
            Some(number) => *number,
            None => self.add(&sheeted.text, usual, put),
        };
        sheeted.last = Some((first, number));
        number
    }

    fn add(&mut self, text: &[u8], usual: U, put: fn(&mut Vec<u8>, U)) -> u32
    where
        U: Copy,
    {
        let number = self.usual.len() as u32;
        let mut element = text.to_vec();
        put(&mut element, usual);
        jsonb::put_array(&mut self.text, &element);
        self.known.insert(text.into(), number);
        self.usual.push(usual);
        number
    }
}

/// Puts a sheet without rows behind the last one, from the number `from` on or a later one: numbers go on there, also where
/// that last one is dropped.
pub(in super::super) fn go_on_from(db: &Connection, from: i64) -> rusqlite::Result<()> {
    let mut nothing = Vec::new();
    jsonb::put_array(&mut nothing, &[]);
    db.execute(
        "INSERT OR REPLACE INTO log_sheets (first, size, base, since, until, newest, ids, rows, owners, shapes)
         VALUES (?1, 0, 0, 0, 0, 0, x'', ?2, ?2, ?2)",
        (from.max(next_number(db)?), nothing),
    )?;
    Ok(())
}

/// The elements of an owner, without an address.
fn put_owner(out: &mut Vec<u8>, scope: u32, project: Option<Name<'_>>) {
    jsonb::put_int(out, i64::from(scope));
    put_name(out, project);
}

/// The elements of a shape, without a cost.
fn put_shape(out: &mut Vec<u8>, shape: &Shape<&str>, names: [Option<Name<'_>>; SHAPE_NAMES.len()]) {
    jsonb::put_int(
        out,
        if shape.admitted { ADMITTED } else { 0 }
            | shape.outcome.map_or(0, |outcome| outcome as i64 + 1) << OUTCOME_SHIFT
            | (shape.cost_source as i64) << SOURCE_SHIFT
            | i64::from(shape.status) << STATUS_SHIFT,
    );
    names.into_iter().for_each(|name| put_name(out, name));
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
