//! Texts and scopes by number, as the one who writes the log knows them.
//!
//! A row of the log is mostly texts that other rows have too. Held by number it is half as large, and cheaper to
//! write by more than the looking up costs (`benches/ship.rs`).
//!
//! **Bounds.** Of each [`Kind`], [`NAMES_MAX`] texts of at most [`NAME_BYTES_MAX`] bytes get a number, ever; what comes
//! later stands in its row as text. So a client that makes up paths fills the numbers of paths, which then costs
//! some bytes per row, and nothing else.

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension as _};

use crate::domain::id::KeyId;
pub(super) use crate::stores::record::parts::Name;

/// Texts of one kind that get a number.
const NAMES_MAX: usize = 20_000;
/// Longest text that gets one.
const NAME_BYTES_MAX: usize = 64;
/// Keys whose scopes are remembered. Beyond, all are forgotten, and looked up as they come.
const KEYS_MAX: usize = 200_000;

/// What a text is. The numbers are those of the column `names.kind`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Project,
    Method,
    Path,
    Code,
    Tier,
    Domain,
    Target,
    UserAgent,
}

impl Kind {
    /// Every kind, in the order of the columns of `requests`.
    pub const ALL: [Self; 8] = [
        Self::Project,
        Self::Method,
        Self::Path,
        Self::Code,
        Self::Tier,
        Self::Domain,
        Self::Target,
        Self::UserAgent,
    ];
}

/// The number of the scope that every row is in.
pub(super) const EVERYTHING: u32 = 1;
/// The number of the scope of rows whose caller stayed unknown.
const NOBODY: u32 = 2;

/// The scopes that a row is in, beside [`EVERYTHING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scopes {
    /// That of its organization and key, or that of nobody.
    pub own: u32,
    /// That of its organization.
    pub organization: Option<u32>,
}

/// What has a number. Whoever rolls back a transaction in which something was given one loads anew.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: [AHashMap<Box<str>, u32>; Kind::ALL.len()],
    /// Of each kind, what was asked for last: most rows say what the one before them said.
    last: [(String, u32); Kind::ALL.len()],
    keys: AHashMap<KeyId, (Box<str>, Scopes)>,
    organizations: AHashMap<Box<str>, Scopes>,
}

impl Names {
    /// Reads every text that has a number. Scopes are looked up as they come.
    pub fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        let mut all = db.prepare("SELECT number, kind, text FROM names")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(texts) = names.texts.get_mut(usize::from(row.get::<_, u8>(1)?)) {
                texts.insert(row.get(2)?, row.get(0)?);
            }
        }
        Ok(names)
    }

    /// The number of a text, given to it now where it has none and gets one.
    pub fn name<'a>(&mut self, db: &Connection, kind: Kind, text: &'a str) -> rusqlite::Result<Name<'a>> {
        let (last, number) = &mut self.last[kind as usize];
        // Zero is no number of a name.
        if *number != 0 && last == text {
            return Ok(Name::Number(*number));
        }
        let texts = &self.texts[kind as usize];
        if let Some(known) = texts.get(text) {
            text.clone_into(last);
            *number = *known;
            return Ok(Name::Number(*known));
        }
        if text.len() > NAME_BYTES_MAX || texts.len() >= NAMES_MAX {
            return Ok(Name::Text(text));
        }
        // Another process may have given it one.
        db.execute(
            "INSERT INTO names (kind, text) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (kind as u8, text),
        )?;
        let number = db.query_row(
            "SELECT number FROM names WHERE kind = ? AND text = ?",
            (kind as u8, text),
            |row| row.get(0),
        )?;
        self.texts[kind as usize].insert(text.into(), number);
        Ok(Name::Number(number))
    }

    /// The same of a text that may not be there.
    pub fn some<'a>(
        &mut self,
        db: &Connection,
        kind: Kind,
        text: Option<&'a str>,
    ) -> rusqlite::Result<Option<Name<'a>>> {
        text.map(|text| self.name(db, kind, text)).transpose()
    }

    /// The scopes of what an organization's key asked for.
    pub fn scopes(
        &mut self,
        db: &Connection,
        organization: Option<&str>,
        key: Option<KeyId>,
    ) -> rusqlite::Result<Scopes> {
        let Some(organization) = organization else {
            return Ok(Scopes { own: NOBODY, organization: None });
        };
        let known = match key {
            Some(key) => self.keys.get(&key).filter(|(of, _)| **of == *organization).map(|(_, known)| *known),
            None => self.organizations.get(organization).copied(),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let own = number_of(db, 0, key.as_ref().map_or(&[][..], |key| key.0.as_bytes()), organization)?;
        let scopes = Scopes { own, organization: Some(number_of(db, 1, &[], organization)?) };
        if self.keys.len() + self.organizations.len() >= KEYS_MAX {
            self.keys.clear();
            self.organizations.clear();
        }
        match key {
            Some(key) => drop(self.keys.insert(key, (organization.into(), scopes))),
            None => drop(self.organizations.insert(organization.into(), scopes)),
        }
        Ok(scopes)
    }
}

/// The number of a scope, made where there is none.
fn number_of(db: &Connection, kind: u8, key: &[u8], organization: &str) -> rusqlite::Result<u32> {
    let found = find(db, kind, key, organization)?;
    if let Some(number) = found {
        return Ok(number);
    }
    db.execute("INSERT INTO scopes (kind, key, organization) VALUES (?, ?, ?)", (kind, key, organization))?;
    Ok(db.last_insert_rowid().try_into().unwrap_or(u32::MAX))
}

fn find(db: &Connection, kind: u8, key: &[u8], organization: &str) -> rusqlite::Result<Option<u32>> {
    let sql = "SELECT number FROM scopes WHERE kind = ? AND key = ? AND organization = ?";
    db.query_row(sql, (kind, key, organization), |row| row.get(0)).optional()
}
