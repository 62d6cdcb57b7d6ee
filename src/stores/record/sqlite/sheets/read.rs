//! Reading rows by their numbers.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, Statement};
use uuid::Uuid;

use super::super::columns::{unreadable, unreadable_value};
use super::super::log_rows::place_of;
use super::super::names::{Kind, Name};
use super::jsonb::{self, Elements, Value};
use super::{
    ADMITTED, ID_BYTES, OUTCOME_SHIFT, SHAPE_NAMES, SHEET_ROWS, SOURCE_SHIFT, STATUS_SHIFT, THREE_BITS,
    earlier,
};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;

/// Reads rows; one sheet is kept, as what is read together often stands together.
pub(in super::super) struct Reader<'t> {
    at: Statement<'t>,
    from: Statement<'t>,
    sheet: Sheet,
}

#[derive(Default)]
struct Sheet {
    first: i64,
    base: i64,
    ids: Vec<u8>,
    rows: Vec<u8>,
    /// Where in `rows` each of them begins.
    starts: Vec<usize>,
    /// None in a sheet of an earlier version.
    shapes: Option<Vec<u8>>,
    /// Where in `shapes` each of them begins.
    shape_starts: Vec<usize>,
}

/// What rows of a sheet have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct SheetShape<'a> {
    pub scope: u32,
    /// Whether the limits admitted it, outcome, source of the cost, and status.
    pub facts: i64,
    /// In the order of [`Kind::ALL`], without a domain.
    pub names: [Option<Name<'a>>; Kind::ALL.len()],
    pub cost: Cost,
    pub address: IpAddr,
}

/// A row as it stands in its sheet.
#[derive(Clone, Debug)]
pub(in super::super) struct Stored<'a> {
    pub number: i64,
    pub place: i64,
    pub id: RequestId,
    pub at: Timestamp,
    /// Its own.
    pub scope: u32,
    pub admitted: bool,
    pub outcome: Option<Outcome>,
    pub cost: Cost,
    pub cost_source: CostSource,
    pub status: u16,
    pub first_byte_micros: u64,
    pub total_micros: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub address: IpAddr,
    /// In the order of [`Kind::ALL`].
    pub names: [Option<Name<'a>>; Kind::ALL.len()],
}

impl<'t> Reader<'t> {
    pub fn new(db: &'t Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            at: db.prepare(
                "SELECT first, base, ids, rows, shapes FROM log_sheets WHERE first <= ? ORDER BY first DESC LIMIT 1",
            )?,
            from: db.prepare(
                "SELECT first, base, ids, rows, shapes FROM log_sheets WHERE first > ? AND size > 0 ORDER BY first LIMIT 1",
            )?,
            sheet: Sheet::default(),
        })
    }

    /// The row with a number; `None` where it has been removed.
    pub fn row(&mut self, number: i64) -> Result<Option<Stored<'_>>, RecordError> {
        if self.sheet.position(number).is_none() {
            self.sheet = self.at.query_row([number], Sheet::read).optional()?.unwrap_or_default();
        }
        self.sheet.position(number).map(|position| self.sheet.row(position)).transpose()
    }

    /// The rows of the sheet that has a number, from it on, and otherwise those of the first sheet behind; none at the end.
    pub fn rows_from(
        &mut self,
        number: i64,
    ) -> Result<impl Iterator<Item = Result<Stored<'_>, RecordError>>, RecordError> {
        self.sheet = self.at.query_row([number], Sheet::read).optional()?.unwrap_or_default();
        let position = match self.sheet.position(number) {
            Some(position) => position,
            None => {
                self.sheet = self.from.query_row([number], Sheet::read).optional()?.unwrap_or_default();
                0
            }
        };
        let sheet = &self.sheet;
        Ok((position..sheet.starts.len()).map(|position| sheet.row(position)))
    }
}

/// The number that the next row gets.
pub(in super::super) fn next_number(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT first + size FROM log_sheets ORDER BY first DESC LIMIT 1";
    Ok(db.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(1))
}

impl Sheet {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let mut sheet = Self {
            first: row.get(0)?,
            base: row.get(1)?,
            ids: row.get(2)?,
            rows: row.get(3)?,
            starts: Vec::with_capacity(SHEET_ROWS),
            shapes: row.get(4)?,
            shape_starts: Vec::new(),
        };
        sheet.index().ok_or_else(|| unreadable_value("log_sheets.rows"))?;
        Ok(sheet)
    }

    fn index(&mut self) -> Option<()> {
        starts(&self.rows, &mut self.starts)?;
        if let Some(shapes) = &self.shapes {
            starts(shapes, &mut self.shape_starts)?;
        }
        (self.ids.len() == self.starts.len() * ID_BYTES).then_some(())
    }

    fn position(&self, number: i64) -> Option<usize> {
        let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (position < self.starts.len()).then_some(position)
    }

    fn row(&self, position: usize) -> Result<Stored<'_>, RecordError> {
        self.decode(position).ok_or_else(|| unreadable("log_sheets.rows"))
    }

    fn decode(&self, position: usize) -> Option<Stored<'_>> {
        let id = self.ids.get(position * ID_BYTES..)?.first_chunk()?;
        let id = RequestId(Uuid::from_bytes(*id));
        let mut row = Elements::at(self.rows.get(*self.starts.get(position)?..)?).array()?;
        let at = Timestamp::from_micros(self.base.checked_add(row.int()?)?.try_into().ok()?);
        let Some(shapes) = &self.shapes else {
            return earlier::row(self.first + position as i64, id, at, row);
        };
        let start = *self.shape_starts.get(usize::try_from(row.int()?).ok()?)?;
        let mut shape = shape(&mut Elements::at(shapes.get(start..)?).array()?)?;
        let mut count = || row.int().map(|number| number.max(0) as u64);
        let (first_byte_micros, total_micros) = (count()?, count()?);
        let (bytes_in, bytes_out) = (count()?, count()?);
        let mut optional = || if row.is_empty() { Some(Value::Null) } else { row.value() };
        shape.names[Kind::Domain as usize] = name(optional()?)?;
        let further = number(optional()?)?.unwrap_or(0);
        if let (Some(credits), Some(microcents)) = (number(optional()?)?, number(optional()?)?) {
            shape.cost = Cost { credits: credits.max(0) as u64, microcents: microcents.max(0) as u64 };
        }
        match optional()? {
            Value::Null => {}
            Value::Text(address) => shape.address = address_of(address)?,
            Value::Int(_) | Value::Array(_) => return None,
        }
        Some(Stored {
            number: self.first + position as i64,
            place: place_of(id).checked_add(further)?,
            id,
            at,
            scope: shape.scope,
            admitted: shape.facts & ADMITTED != 0,
            outcome: outcome_in(shape.facts)?,
            cost: shape.cost,
            cost_source: source_in(shape.facts)?,
            status: (shape.facts >> STATUS_SHIFT).try_into().ok()?,
            first_byte_micros,
            total_micros,
            bytes_in,
            bytes_out,
            address: shape.address,
            names: shape.names,
        })
    }
}

/// Where each element of an array begins.
fn starts(array: &[u8], to: &mut Vec<usize>) -> Option<()> {
    let mut elements = jsonb::array(array)?;
    while !elements.is_empty() {
        to.push(array.len() - elements.bytes().len());
        elements.array()?;
    }
    Some(())
}

/// The shapes of a sheet, each with the bytes of what it is without cost and address.
pub(super) fn shapes_in(array: &[u8]) -> Option<Vec<(&[u8], SheetShape<'_>)>> {
    let mut shapes = Vec::new();
    let mut elements = jsonb::array(array)?;
    while !elements.is_empty() {
        let whole = elements.array()?;
        let mut behind = whole;
        (0..2 + SHAPE_NAMES.len()).try_for_each(|_| behind.value().map(drop))?;
        let bytes = whole.bytes();
        let text = bytes.get(..bytes.len() - behind.bytes().len())?;
        shapes.push((text, shape(&mut { whole })?));
    }
    Some(shapes)
}

fn shape<'a>(elements: &mut Elements<'a>) -> Option<SheetShape<'a>> {
    let (scope, facts) = (elements.int()?.try_into().ok()?, elements.int()?);
    let mut names = [None; Kind::ALL.len()];
    for kind in SHAPE_NAMES {
        names[kind as usize] = name(elements.value()?)?;
    }
    let mut count = || elements.int().map(|number| number.max(0) as u64);
    let cost = Cost { credits: count()?, microcents: count()? };
    let Value::Text(address) = elements.value()? else { return None };
    Some(SheetShape { scope, facts, names, cost, address: address_of(address)? })
}

pub(super) fn name(value: Value<'_>) -> Option<Option<Name<'_>>> {
    Some(match value {
        Value::Null => None,
        Value::Int(number) => Some(Name::Number(number.try_into().ok()?)),
        Value::Text(text) => Some(Name::Text(text)),
        Value::Array(_) => return None,
    })
}

fn number(value: Value<'_>) -> Option<Option<i64>> {
    match value {
        Value::Null => Some(None),
        Value::Int(number) => Some(Some(number)),
        Value::Text(_) | Value::Array(_) => None,
    }
}

pub(super) fn outcome_in(facts: i64) -> Option<Option<Outcome>> {
    match ((facts >> OUTCOME_SHIFT & THREE_BITS) as usize).checked_sub(1) {
        None => Some(None),
        Some(outcome) => Some(Some(*Outcome::ALL.get(outcome)?)),
    }
}

pub(super) fn source_in(facts: i64) -> Option<CostSource> {
    CostSource::ALL.get((facts >> SOURCE_SHIFT & THREE_BITS) as usize).copied()
}

/// Four or sixteen bytes in hexadecimal digits.
pub(super) fn address_of(text: &str) -> Option<IpAddr> {
    let mut octets = [0; ID_BYTES];
    let text = text.as_bytes();
    for (octet, pair) in octets.iter_mut().zip(text.chunks(2)) {
        let &[high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *octet = (digit(high)? << 4 | digit(low)?) as u8;
    }
    match text.len() {
        8 => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        32 => Some(IpAddr::from(octets)),
        _ => None,
    }
}
