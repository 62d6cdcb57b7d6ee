//! Rows, read back as they were written.

use std::borrow::Cow;
use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, Row as Columns, Statement};
use uuid::Uuid;

use super::super::columns::{key_id, unreadable};
use super::super::log::place_of_row;
use super::super::log_rows::time_of;
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{LoggedRow, Place};

macro_rules! text {
    ($column:literal) => {
        concat!(
            "CASE typeof(r.",
            $column,
            ") WHEN 'integer' THEN (SELECT text FROM names WHERE number = r.",
            $column,
            ") ELSE r.",
            $column,
            " END, "
        )
    };
}

/// One row by its place.
const AT_PLACE: &str = concat!(
    "SELECT ",
    text!("project"), text!("method"), text!("path"), text!("code"),
    text!("tier"), text!("domain"), text!("target"), text!("user_agent"),
    "r.id, r.at, s.organization, s.key, r.admitted, r.outcome, r.credits, r.microcents, r.cost_source, r.status,
     r.first_byte_micros, r.total_micros, r.bytes_in, r.bytes_out, r.address, r.place
     FROM requests r JOIN scopes s ON s.number = r.scope WHERE r.place = ?"
);

/// Reads rows by their places.
pub(super) struct Rows<'t>(Statement<'t>);

/// Prepares for reading rows by their places.
pub(super) fn logged(db: &Connection) -> Result<Rows<'_>, RecordError> {
    Ok(Rows(db.prepare(AT_PLACE)?))
}

impl Rows<'_> {
    /// The row at a place; `None` where it has been removed.
    pub fn at(&mut self, place: i64) -> Result<Option<LoggedRow>, RecordError> {
        let row = self.0.query_row([place], |columns| Ok(read(columns))).optional()?;
        row.transpose()
    }
}

/// The row of one request.
pub(super) fn of(db: &Connection, id: RequestId) -> Result<Option<LoggedRow>, RecordError> {
    let Some(place) = place_of_row(db, id)? else { return Ok(None) };
    logged(db)?.at(place)
}

/// When a row arrived, as its place tells.
pub(super) fn arrival_of(place: Place) -> Timestamp {
    time_of(place.0)
}

fn read(columns: &Columns<'_>) -> Result<LoggedRow, RecordError> {
    let text = |column: usize| columns.get::<_, Option<String>>(column).map(|text| text.map(Cow::Owned));
    let number = |column: usize| columns.get::<_, i64>(column).map(|number| number.max(0) as u64);
    let organization: String = columns.get(10)?;
    let key: Vec<u8> = columns.get(11)?;
    let outcome = columns.get::<_, Option<u8>>(13)?;
    let address: Vec<u8> = columns.get(22)?;
    let row = Row {
        id: RequestId(Uuid::from_bytes(columns.get(8)?)),
        at: Timestamp::from_micros(number(9)?),
        organization: Some(organization).filter(|text| !text.is_empty()).map(Cow::Owned),
        project: text(0)?,
        key: if key.is_empty() { None } else { Some(key_id(&key)?) },
        admitted: columns.get(12)?,
        method: text(1)?.unwrap_or_default(),
        path: text(2)?.unwrap_or_default(),
        status: number(17)? as u16,
        code: text(3)?.unwrap_or_default(),
        outcome: outcome.map(read_outcome).transpose()?,
        first_byte_micros: number(18)?,
        total_micros: number(19)?,
        address: read_address(&address)?,
        cost: Cost { credits: number(14)?, microcents: number(15)? },
        cost_source: number(16)
            .map(|number| CostSource::ALL.get(number as usize).copied())?
            .ok_or_else(|| unreadable("cost_source"))?,
        tier: text(4)?,
        domain: text(5)?,
        bytes_in: number(20)?,
        bytes_out: number(21)?,
        target: text(6)?,
        user_agent: text(7)?,
        job: None,
    };
    Ok(LoggedRow { place: Place(columns.get(23)?), row })
}

fn read_outcome(number: u8) -> Result<Outcome, RecordError> {
    Outcome::ALL.get(usize::from(number)).copied().ok_or_else(|| unreadable("outcome"))
}

fn read_address(octets: &[u8]) -> Result<IpAddr, RecordError> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).map_err(|_| unreadable("address"))
}
