//! Rows on their way to the thread that writes them, and into the table.

use std::fmt;
use std::net::IpAddr;

use rusqlite::Connection;

use super::log_blocks::{Entry, Label};
use super::names::{Kind, Name, Names, Scopes};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row;
use crate::domain::time::Timestamp;
pub(super) use crate::stores::record::places::{first_place, place_of, time_of};

/// Rows that own what they hold, so that they can go to another thread: texts in one allocation, not one each.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Packed>,
    texts: String,
    /// Places, and whose they are: of use while it is filled.
    order: Vec<(i64, usize)>,
}

/// Rows that room is kept for from one batch to the next: 16 MiB and some.
const KEPT_ROWS: usize = 40_000;
/// The same of their texts, in bytes.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

const TEXTS: usize = 9;
const NO_TEXT: u32 = u32::MAX;

struct Packed {
    place: i64,
    facts: Facts,
    /// Where its first text begins.
    texts: usize,
    /// Their lengths in bytes; [`NO_TEXT`] where there is none.
    lengths: [u32; TEXTS],
}

/// What of a row is no text.
pub(super) struct Facts {
    pub id: RequestId,
    pub at: Timestamp,
    pub key: Option<KeyId>,
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
}

/// One of [`Rows`].
pub(super) struct Row<'a> {
    pub facts: &'a Facts,
    organization: Option<&'a str>,
    /// In the order of [`Kind::ALL`].
    texts: [Option<&'a str>; Kind::ALL.len()],
}

/// A row whose texts have become numbers, where they have one.
pub(super) struct Named<'a> {
    pub place: i64,
    pub facts: &'a Facts,
    pub organization: Option<&'a str>,
    pub scopes: Scopes,
    /// In the order of [`Kind::ALL`].
    pub names: [Option<Name<'a>>; Kind::ALL.len()],
}

impl<'a> Named<'a> {
    /// A row at the place that it gets.
    pub fn new(place: i64, row: &Row<'a>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        let mut named = Self {
            place,
            facts: row.facts,
            organization: row.organization,
            scopes: names.scopes(db, row.organization, row.facts.key)?,
            names: [None; Kind::ALL.len()],
        };
        for ((kind, text), name) in Kind::ALL.into_iter().zip(row.texts).zip(&mut named.names) {
            *name = text.map(|text| names.name(db, kind, text)).transpose()?;
        }
        Ok(named)
    }

    pub const fn code(&self) -> Option<Name<'a>> {
        self.names[Kind::Code as usize]
    }

    pub const fn tier(&self) -> Option<Name<'a>> {
        self.names[Kind::Tier as usize]
    }

    pub const fn domain(&self) -> Option<Name<'a>> {
        self.names[Kind::Domain as usize]
    }

    /// The row as a block has it.
    pub fn entry(&self, number: i64) -> Entry {
        let label = |name: Option<Name<'_>>| match name {
            None => Label::None,
            Some(Name::Text(_)) => Label::InRow,
            Some(Name::Number(number)) => Label::Number(number),
        };
        Entry {
            place: self.place,
            number,
            status: self.facts.status,
            success: self.facts.outcome == Some(Outcome::Success),
            tier: label(self.tier()),
            domain: label(self.domain()),
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Rows {
    /// Packs rows in the order of their places: so they are appended, whatever order they ended in. They take the place of
    /// those that were there; memory is used again, as the kernel clears what is new.
    pub fn pack(&mut self, rows: &[row::Row<'_>]) {
        self.rows.clear();
        self.texts.clear();
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(rows.iter().map(|row| place_of(row.id)).zip(0..));
        order.sort_unstable();
        self.rows.reserve(rows.len());
        for (place, at) in &order {
            self.push(*place, &rows[*at]);
        }
        self.order = order;
    }

    /// Whether it is small enough to be kept for the next batch.
    pub const fn is_small(&self) -> bool {
        self.rows.capacity() <= KEPT_ROWS && self.texts.capacity() <= KEPT_BYTES
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
            lengths: texts.map(|text| text.map_or(NO_TEXT, |text| text.len() as u32)),
        });
        texts.into_iter().flatten().for_each(|text| self.texts.push_str(text));
    }

    /// The first choices of their places, in order.
    pub fn places(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().map(|row| row.place)
    }

    /// The id of one of them.
    pub fn id(&self, at: usize) -> Option<RequestId> {
        self.rows.get(at).map(|row| row.facts.id)
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<Row<'_>> {
        let row = self.rows.get(at)?;
        let mut rest = self.texts.get(row.texts..).unwrap_or_default();
        let [organization, texts @ ..] = row.lengths.map(|length| {
            let (text, behind) = rest.split_at_checked(length as usize).filter(|_| length != NO_TEXT)?;
            rest = behind;
            Some(text)
        });
        Some(Row { facts: &row.facts, organization, texts })
    }
}
