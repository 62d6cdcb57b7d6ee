//! Rows on their way into the log, whose texts have become numbers where they have one: once for each owner and each shape of a
//! batch.

use rusqlite::Connection;

use super::log_blocks::{Entry, Label};
use super::names::{Kind, Name, Names, Scopes};
use super::sheets::Sheeted;
use crate::domain::cost::Outcome;
use crate::domain::row::{Owner, Shape, Variables};
pub(super) use crate::stores::record::places::{first_place, place_of, time_of};

/// An owner with names.
pub(super) struct NamedOwner<'a> {
    pub owner: Owner<&'a str>,
    pub scopes: Scopes,
    pub project: Option<Name<'a>>,
    /// Where its rows are counted: a cell of five minutes, and the place of its sum.
    pub counted: Option<(u64, usize)>,
    pub sheeted: Sheeted,
}

/// A shape with names.
pub(super) struct NamedShape<'a> {
    pub shape: Shape<&'a str>,
    pub method: Option<Name<'a>>,
    pub path: Option<Name<'a>>,
    pub code: Option<Name<'a>>,
    pub tier: Option<Name<'a>>,
    pub target: Option<Name<'a>>,
    pub user_agent: Option<Name<'a>>,
    pub sheeted: Sheeted,
}

/// A row with names.
pub(super) struct Named<'r, 'a> {
    /// Where it stands, which may be behind the place of its id.
    pub place: i64,
    pub row: Variables<'a>,
    pub domain: Option<Name<'a>>,
    pub owner: &'r mut NamedOwner<'a>,
    pub shape: &'r mut NamedShape<'a>,
}

impl<'a> NamedOwner<'a> {
    pub fn new(owner: Owner<&'a str>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            owner,
            scopes: names.scopes(db, owner.organization, owner.key)?,
            project: names.some(db, Kind::Project, owner.project)?,
            counted: None,
            sheeted: Sheeted::default(),
        })
    }
}

impl<'a> NamedShape<'a> {
    pub fn new(shape: Shape<&'a str>, names: &mut Names, db: &Connection) -> rusqlite::Result<Self> {
        let mut name = |kind, text| names.some(db, kind, text);
        Ok(Self {
            shape,
            method: name(Kind::Method, Some(shape.method))?,
            path: name(Kind::Path, Some(shape.path))?,
            code: name(Kind::Code, Some(shape.code).filter(|code| !code.is_empty()))?,
            tier: name(Kind::Tier, shape.tier)?,
            target: name(Kind::Target, shape.target)?,
            user_agent: name(Kind::UserAgent, shape.user_agent)?,
            sheeted: Sheeted::default(),
        })
    }

    pub fn is_success(&self) -> bool {
        self.shape.outcome == Some(Outcome::Success)
    }
}

impl Named<'_, '_> {
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
            status: self.shape.shape.status,
            success: self.shape.is_success(),
            tier: label(self.shape.tier),
            domain: label(self.domain),
        }
    }
}
