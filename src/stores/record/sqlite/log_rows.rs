//! Rows on their way to the thread that writes them, and into the table.

use std::net::IpAddr;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, Transaction};

use super::columns::{int, micros};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row;
use crate::domain::time::Timestamp;

/// Places that one millisecond has.
const PLACES_PER_MILLI: i64 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 21;
/// Milliseconds of Unix time until the year 2109.
const MILLI_BITS: u32 = 42;

/// Where a row belongs: the millisecond of its arrival, from the upper 48 bits of its id (RFC 9562 section 5.7), and
/// then as many of the id's lowest, random bits as an `INTEGER PRIMARY KEY` has left. So rows are
/// appended, in the order of time, and need no index to be asked for by time or by id.
pub(super) fn place_of(id: RequestId) -> i64 {
    let id = id.0.as_u128();
    let milli = (id >> 80) as i64 & ((1 << MILLI_BITS) - 1);
    milli << PLACE_BITS | (id as i64 & (PLACES_PER_MILLI - 1))
}

/// The first place of what arrived at `at` or later.
pub(super) fn first_place(at: Timestamp) -> i64 {
    (micros(at) / 1_000).saturating_mul(PLACES_PER_MILLI)
}

/// Rows that own what they hold, so that they can go to another thread: texts in one allocation, not one each.
pub(super) struct Rows {
    rows: Vec<Packed>,
    texts: String,
}

const TEXTS: usize = 9;

struct Packed {
    place: i64,
    facts: Facts,
    /// Where its first text begins.
    texts: usize,
    lengths: [Option<usize>; TEXTS],
}

/// What of a row is no text.
pub(super) struct Facts {
    pub id: RequestId,
    pub at: Timestamp,
    pub key: Option<KeyId>,
    pub admitted: bool,
    pub outcome: Option<Outcome>,
    pub cost: Cost,
    cost_source: CostSource,
    status: u16,
    first_byte_micros: u64,
    total_micros: u64,
    bytes_in: u64,
    bytes_out: u64,
    address: IpAddr,
}

/// One of [`Rows`].
pub(super) struct Row<'a> {
    pub place: i64,
    pub facts: &'a Facts,
    /// In the order of the table's columns.
    texts: [Option<&'a str>; TEXTS],
}

impl<'a> Row<'a> {
    pub fn organization(&self) -> Option<&'a str> {
        self.texts.first().copied().flatten()
    }
}

impl Rows {
    /// Packs rows in the order of their places: so they are appended, whatever order they ended in.
    pub fn pack(rows: &[row::Row<'_>]) -> Self {
        let mut order: Vec<_> = rows.iter().map(|row| (place_of(row.id), row)).collect();
        order.sort_by_key(|(place, _)| *place);
        let mut packed = Self { rows: Vec::with_capacity(rows.len()), texts: String::new() };
        for (place, row) in order {
            packed.push(place, row);
        }
        packed
    }

    fn push(&mut self, place: i64, row: &row::Row<'_>) {
        let texts = [
            row.organization.as_deref(),
            row.project.as_deref(),
            Some(row.method.as_ref()),
            Some(row.path.as_ref()),
            Some(row.code.as_ref()).filter(|code| !code.is_empty()),
            row.tier.as_deref(),
            row.domain.as_deref(),
            row.target.as_deref(),
            row.user_agent.as_deref(),
        ];
        self.rows.push(Packed {
            place,
            facts: Facts {
                id: row.id,
                at: row.at,
                key: row.key,
                admitted: row.admitted,
                outcome: row.outcome,
                cost: row.cost,
                cost_source: row.cost_source,
                status: row.status,
                first_byte_micros: row.first_byte_micros,
                total_micros: row.total_micros,
                bytes_in: row.bytes_in,
                bytes_out: row.bytes_out,
                address: row.address,
            },
            texts: self.texts.len(),
            lengths: texts.map(|text| text.map(str::len)),
        });
        texts.into_iter().flatten().for_each(|text| self.texts.push_str(text));
    }

    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|row| {
            let mut rest = self.texts.get(row.texts..).unwrap_or_default();
            let texts = row.lengths.map(|length| {
                let (text, behind) = rest.split_at_checked(length?)?;
                rest = behind;
                Some(text)
            });
            Row { place: row.place, facts: &row.facts, texts }
        })
    }
}

/// The statement that inserts a row.
pub(super) struct Insert<'t>(Statement<'t>);

impl<'t> Insert<'t> {
    pub fn prepare(tx: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        tx.prepare(
            "INSERT INTO requests (
                 place, id, at, key, admitted, outcome, credits, microcents, cost_source, status,
                 first_byte_micros, total_micros, bytes_in, bytes_out, address,
                 organization, project, method, path, code, tier, domain, target, user_agent)
             VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (place) DO NOTHING",
        )
        .map(Self)
    }

    /// Takes the row that [`Insert::at`] inserts.
    pub fn bind(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let facts = row.facts;
        let (v4, v6);
        let address: &[u8] = match facts.address {
            IpAddr::V4(address) => {
                v4 = address.octets();
                &v4
            }
            IpAddr::V6(address) => {
                v6 = address.octets();
                &v6
            }
        };
        let values = [
            ValueRef::Blob(facts.id.0.as_bytes()),
            ValueRef::Integer(micros(facts.at)),
            facts.key.as_ref().map_or(ValueRef::Null, |key| ValueRef::Blob(key.0.as_bytes())),
            ValueRef::Integer(i64::from(facts.admitted)),
            facts.outcome.map_or(ValueRef::Null, |outcome| ValueRef::Integer(outcome as i64)),
            ValueRef::Integer(int(facts.cost.credits)),
            ValueRef::Integer(int(facts.cost.microcents)),
            ValueRef::Integer(facts.cost_source as i64),
            ValueRef::Integer(i64::from(facts.status)),
            ValueRef::Integer(int(facts.first_byte_micros)),
            ValueRef::Integer(int(facts.total_micros)),
            ValueRef::Integer(int(facts.bytes_in)),
            ValueRef::Integer(int(facts.bytes_out)),
            ValueRef::Blob(address),
        ];
        let texts = row.texts.iter().map(|text| text.map_or(ValueRef::Null, ValueRef::from));
        // The first parameter is the place.
        for (parameter, value) in (2..).zip(values.into_iter().chain(texts)) {
            self.0.raw_bind_parameter(parameter, ToSqlOutput::Borrowed(value))?;
        }
        Ok(())
    }

    /// Inserts the row that was bound last; `false` where the place is taken.
    pub fn at(&mut self, place: i64) -> rusqlite::Result<bool> {
        self.0.raw_bind_parameter(1, place)?;
        Ok(self.0.raw_execute()? == 1)
    }
}
