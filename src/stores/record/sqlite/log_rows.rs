//! Rows on their way into the log.

use rusqlite::Connection;

use super::log_blocks::{Entry, Label};
use super::names::{Kind, Name, Names, Scopes};
use crate::domain::cost::Outcome;
use crate::domain::row::RowRef;
pub(super) use crate::stores::record::places::{first_place, place_of, time_of};

/// A row whose texts have become numbers, where they have one.
pub(super) struct Named<'a> {
    /// Where it stands, which may be behind the place of its id.
    pub place: i64,
    pub row: RowRef<'a>,
    pub scopes: Scopes,
    /// In the order of [`Kind::ALL`].
    pub names: [Option<Name<'a>>; Kind::ALL.len()],
}

impl<'a> Named<'a> {
    /// A row at the place that it gets.
    pub fn new(place: i64, row: RowRef<'a>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        let texts = [
            row.project,
            Some(row.method),
            Some(row.path),
            Some(row.code).filter(|code| !code.is_empty()),
            row.tier,
            row.domain,
            row.target,
            row.user_agent,
        ];
        let scopes = names.scopes(db, row.organization, row.key)?;
        let mut named = Self { place, row, scopes, names: [None; Kind::ALL.len()] };
        for ((kind, text), name) in Kind::ALL.into_iter().zip(texts).zip(&mut named.names) {
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
            status: self.row.status,
            success: self.row.outcome == Some(Outcome::Success),
            tier: label(self.tier()),
            domain: label(self.domain()),
        }
    }
}
