//! Rows on their way into the log, whose texts have become numbers where they have one: once for each shape of a batch.

use rusqlite::Connection;

use super::log_blocks::{Entry, Label};
use super::names::{Kind, Name, Names, Scopes};
use super::sheets::Sheeted;
use crate::domain::cost::Outcome;
use crate::domain::row::{Shape, Variables};
pub(super) use crate::stores::record::places::{first_place, place_of, time_of};
use crate::stores::record::{RecordError, Rows};

/// The shapes of a batch.
#[derive(Default)]
pub(super) struct Shapes<'a> {
    /// By number, from one.
    numbered: Vec<Option<Named<'a>>>,
    /// That of the last row which was of a shape of its own.
    alone: Option<Named<'a>>,
}

/// A shape with names.
pub(super) struct Named<'a> {
    pub shape: Shape<&'a str>,
    pub scopes: Scopes,
    /// In the order of [`Kind::ALL`], but for the domain, which is not the shape's.
    pub names: [Option<Name<'a>>; Kind::ALL.len()],
    /// Where its rows are counted: a cell of five minutes, and the place of its sum.
    pub counted: Option<(u64, usize)>,
    /// As the sheet that is written has it.
    pub sheeted: Sheeted,
}

/// A row with names.
pub(super) struct Fresh<'a> {
    /// Where it stands, which may be behind the place of its id.
    pub place: i64,
    pub row: Variables<'a>,
    pub domain: Option<Name<'a>>,
}

impl<'a> Shapes<'a> {
    /// The shape of the row at `at`, by its number where that has one.
    pub fn of(
        &mut self,
        rows: &'a Rows,
        at: usize,
        number: Option<u32>,
        names: &mut Names,
        db: &Connection,
    ) -> Result<&mut Named<'a>, RecordError> {
        let slot = match number {
            Some(number) => {
                let number = number as usize;
                if number >= self.numbered.len() {
                    self.numbered.resize_with(number + 1, || None);
                }
                &mut self.numbered[number]
            }
            None => {
                self.alone = None;
                &mut self.alone
            }
        };
        Ok(match slot {
            Some(named) => named,
            none => none.insert(Named::new(rows.shape(at)?, names, db)?),
        })
    }
}

impl<'a> Named<'a> {
    fn new(shape: Shape<&'a str>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        let texts = [
            shape.project,
            Some(shape.method),
            Some(shape.path),
            Some(shape.code).filter(|code| !code.is_empty()),
            shape.tier,
            None,
            shape.target,
            shape.user_agent,
        ];
        let scopes = names.scopes(db, shape.organization, shape.key)?;
        let mut named = Self {
            shape,
            scopes,
            names: [None; Kind::ALL.len()],
            counted: None,
            sheeted: Sheeted::default(),
        };
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

    pub fn is_success(&self) -> bool {
        self.shape.outcome == Some(Outcome::Success)
    }

    /// A row of this shape as a block has it.
    pub fn entry(&self, row: &Fresh<'_>, number: i64) -> Entry {
        let label = |name: Option<Name<'_>>| match name {
            None => Label::None,
            Some(Name::Text(_)) => Label::InRow,
            Some(Name::Number(number)) => Label::Number(number),
        };
        Entry {
            place: row.place,
            number,
            status: self.shape.status,
            success: self.is_success(),
            tier: label(self.tier()),
            domain: label(row.domain),
        }
    }
}

impl<'a> Fresh<'a> {
    /// A row at the place that it gets.
    pub fn new(place: i64, row: Variables<'a>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        let domain = row.domain.map(|text| names.name(db, Kind::Domain, text)).transpose()?;
        Ok(Self { place, row, domain })
    }
}
