//! Reading rows by their numbers.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, Statement};
use uuid::Uuid;

use super::super::columns::{unreadable, unreadable_value};
use super::super::log_rows::place_of;
use super::super::names::{Kind, Name};
use super::jsonb::{self, Elements, Value};
use super::{ADMITTED, ID_BYTES, OUTCOME_SHIFT, SHEET_ROWS, SOURCE_SHIFT, STATUS_SHIFT, THREE_BITS};
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
                "SELECT first, base, ids, rows FROM log_sheets WHERE first <= ? ORDER BY first DESC LIMIT 1",
            )?,
            from: db.prepare(
                "SELECT first, base, ids, rows FROM log_sheets WHERE first > ? AND size > 0 ORDER BY first LIMIT 1",
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
        };
        sheet.index().ok_or_else(|| unreadable_value("log_sheets.rows"))?;
        Ok(sheet)
    }

    fn index(&mut self) -> Option<()> {
        let mut rows = jsonb::array(&self.rows)?;
        while !rows.is_empty() {
            self.starts.push(self.rows.len() - rows.bytes().len());
            rows.array()?;
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
        let scope = row.int()?.try_into().ok()?;
        let facts = row.int()?;
        let mut count = || row.int().map(|number| number.max(0) as u64);
        let cost = Cost { credits: count()?, microcents: count()? };
        let (first_byte_micros, total_micros) = (count()?, count()?);
        let (bytes_in, bytes_out) = (count()?, count()?);
        let Value::Text(address) = row.value()? else { return None };
        let mut names = [None; Kind::ALL.len()];
        for name in &mut names {
            *name = match row.value()? {
                Value::Null => None,
                Value::Int(number) => Some(Name::Number(number.try_into().ok()?)),
                Value::Text(text) => Some(Name::Text(text)),
                Value::Array(_) => return None,
            };
        }
        let outcome = (facts >> OUTCOME_SHIFT & THREE_BITS) as usize;
        Some(Stored {
            number: self.first + position as i64,
            place: place_of(id).checked_add(row.int()?)?,
            id,
            at,
            scope,
            admitted: facts & ADMITTED != 0,
            outcome: match outcome.checked_sub(1) {
                None => None,
                Some(outcome) => Some(*Outcome::ALL.get(outcome)?),
            },
            cost,
            cost_source: *CostSource::ALL.get((facts >> SOURCE_SHIFT & THREE_BITS) as usize)?,
            status: (facts >> STATUS_SHIFT).try_into().ok()?,
            first_byte_micros,
            total_micros,
            bytes_in,
            bytes_out,
            address: address_of(address)?,
            names,
        })
    }
}

/// Four or sixteen bytes in hexadecimal digits.
fn address_of(text: &str) -> Option<IpAddr> {
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
