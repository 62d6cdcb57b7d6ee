//! Rows, read back as they were written.

use std::borrow::Cow;

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::super::columns::key_id;
use super::super::log_take::number_of_row;
use super::super::names::{Kind, Name};
use super::super::sheets::{Reader, Stored};
use super::super::upkeep::cutoff;
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row::Row;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{LoggedRow, Place};

/// Whose a row is.
pub(in super::super) type Owner = (Option<String>, Option<KeyId>);

/// Numbers to words.
pub(in super::super) struct Words<'t> {
    name: Statement<'t>,
    scope: Statement<'t>,
    /// Rows of one page have most of their words in common.
    names: AHashMap<u32, String>,
    owners: AHashMap<u32, Owner>,
}

impl<'t> Words<'t> {
    pub fn new(db: &'t Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            name: db.prepare("SELECT text FROM names WHERE number = ?")?,
            scope: db.prepare("SELECT organization, key FROM scopes WHERE number = ?")?,
            names: AHashMap::new(),
            owners: AHashMap::new(),
        })
    }

    /// The text of a name.
    pub fn text(&mut self, name: Name<'_>) -> Result<String, RecordError> {
        let number = match name {
            Name::Text(text) => return Ok(text.to_owned()),
            Name::Number(number) => number,
        };
        if let Some(text) = self.names.get(&number) {
            return Ok(text.clone());
        }
        let text: Option<String> = self.name.query_row([number], |row| row.get(0)).optional()?;
        let text = text.ok_or_else(|| missing("text", number))?;
        self.names.insert(number, text.clone());
        Ok(text)
    }

    /// Whose the rows of a scope are.
    pub fn owner(&mut self, scope: u32) -> Result<&Owner, RecordError> {
        match self.owners.entry(scope) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                let found = self.scope.query_row([scope], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                let (organization, key): (String, Vec<u8>) = found.ok_or_else(|| missing("scope", scope))?;
                let key = if key.is_empty() { None } else { Some(key_id(&key)?) };
                Ok(free.insert((Some(organization).filter(|text| !text.is_empty()), key)))
            }
        }
    }
}

fn missing(what: &str, number: u32) -> RecordError {
    RecordError::Corrupt(format!("there is no {what} with the number {number}"))
}

/// Reads rows by their numbers.
pub(super) struct Rows<'t> {
    pub reader: Reader<'t>,
    pub words: Words<'t>,
}

impl<'t> Rows<'t> {
    pub fn new(db: &'t Connection) -> Result<Self, RecordError> {
        Ok(Self { reader: Reader::new(db)?, words: Words::new(db)? })
    }

    /// The row with a number; `None` where it has been removed.
    pub fn at(&mut self, number: i64) -> Result<Option<LoggedRow>, RecordError> {
        let Some(row) = self.reader.row(number)? else { return Ok(None) };
        logged(&row, &mut self.words).map(Some)
    }

    /// The rows with some numbers, in that order, those that are there.
    pub fn all(&mut self, numbers: &[i64]) -> Result<Vec<LoggedRow>, RecordError> {
        numbers.iter().filter_map(|number| self.at(*number).transpose()).collect()
    }

    /// One text of a row; `None` where the row has none.
    pub fn text(&mut self, number: i64, kind: Kind) -> Result<Option<String>, RecordError> {
        let Some(row) = self.reader.row(number)? else { return Ok(None) };
        row.names[kind as usize].map(|name| self.words.text(name)).transpose()
    }
}

/// The row of one request.
pub(super) fn of(db: &Connection, id: RequestId) -> Result<Option<LoggedRow>, RecordError> {
    let Some(number) = number_of_row(db, id)? else { return Ok(None) };
    let cutoff = cutoff(db)?;
    Ok(Rows::new(db)?.at(number)?.filter(|found| found.place.0 > cutoff))
}

/// A row with words in the place of numbers.
pub(super) fn logged(row: &Stored<'_>, words: &mut Words<'_>) -> Result<LoggedRow, RecordError> {
    let mut text =
        |kind: Kind| row.names[kind as usize].map(|name| words.text(name).map(Cow::Owned)).transpose();
    let (project, method, path, code) =
        (text(Kind::Project)?, text(Kind::Method)?, text(Kind::Path)?, text(Kind::Code)?);
    let (tier, domain) = (text(Kind::Tier)?, text(Kind::Domain)?);
    let (target, user_agent) = (text(Kind::Target)?, text(Kind::UserAgent)?);
    let (organization, key) = words.owner(row.scope)?;
    let place = Place(row.place);
    let row = Row {
        id: row.id,
        at: row.at,
        organization: organization.clone().map(Cow::Owned),
        project,
        key: *key,
        admitted: row.admitted,
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        status: row.status,
        code: code.unwrap_or_default(),
        outcome: row.outcome,
        first_byte_micros: row.first_byte_micros,
        total_micros: row.total_micros,
        address: row.address,
        cost: row.cost,
        cost_source: row.cost_source,
        tier,
        domain,
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        target,
        user_agent,
        job: None,
    };
    Ok(LoggedRow { place, row })
}
