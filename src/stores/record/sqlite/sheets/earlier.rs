//! Rows of sheets from before shapes, each with all it is.

use super::super::log_rows::place_of;
use super::super::names::Kind;
use super::jsonb::{Elements, Value};
use super::read::{Stored, address_of, name, outcome_in, source_in};
use super::{ADMITTED, STATUS_SHIFT};
use crate::domain::cost::Cost;
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// The row with a number, of which what stands behind its instant is left to read.
pub(super) fn row<'a>(
    number: i64,
    id: RequestId,
    at: Timestamp,
    mut row: Elements<'a>,
) -> Option<Stored<'a>> {
    let scope = row.int()?.try_into().ok()?;
    let facts = row.int()?;
    let mut count = || row.int().map(|number| number.max(0) as u64);
    let cost = Cost { credits: count()?, microcents: count()? };
    let (first_byte_micros, total_micros) = (count()?, count()?);
    let (bytes_in, bytes_out) = (count()?, count()?);
    let Value::Text(address) = row.value()? else { return None };
    let mut names = [None; Kind::ALL.len()];
    for text in &mut names {
        *text = name(row.value()?)?;
    }
    Some(Stored {
        number,
        place: place_of(id).checked_add(row.int()?)?,
        id,
        at,
        scope,
        admitted: facts & ADMITTED != 0,
        outcome: outcome_in(facts)?,
        cost,
        cost_source: source_in(facts)?,
        status: (facts >> STATUS_SHIFT).try_into().ok()?,
        first_byte_micros,
        total_micros,
        bytes_in,
        bytes_out,
        address: address_of(address)?,
        names,
    })
}
