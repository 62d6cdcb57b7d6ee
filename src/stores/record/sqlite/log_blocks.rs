//! Which rows a scope has: the index behind pages, in blocks instead of one entry per row.
//!
//! An index on (scope, place) would cost each row a place of its own in three trees: one for its key, one for its
//! organization, one for everything. A block holds up to [`BLOCK_ROWS`] of them in 8 bytes each, is written once
//! per batch, and carries what pages are filtered by, so that neither a filter nor a count reads rows.
//!
//! **Invariant:** blocks of a scope do not overlap: each covers the places from its first to its last. A row that
//! comes late, as its request took long, is sorted into the block where it belongs.

use rusqlite::{Connection, OptionalExtension as _, Statement};

use crate::stores::record::packed::{self, Bytes};

/// Rows in a block, at most: fewer make pages far behind slower. In at most 14 bytes each they fit a quarter of a page
/// of the file, beyond which SQLite gives a block a page of its own.
pub(super) const BLOCK_ROWS: usize = 128;

/// One row, as far as pages are filtered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: i64,
    pub status: u16,
    pub success: bool,
    pub tier: Label,
    pub domain: Label,
}

/// A tier or domain of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// There is none.
    None,
    /// The row has it as text: look there.
    InRow,
    /// The number of its name.
    Number(u32),
}

impl Label {
    const fn number(self) -> u64 {
        match self {
            Self::None => 0,
            Self::InRow => 1,
            Self::Number(number) => number as u64 + 2,
        }
    }

    fn of(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::InRow,
            number => Self::Number((number - 2).try_into().ok()?),
        })
    }
}

/// Entries of one block, in the order of their places.
fn encode(entries: &[Entry], first: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 9);
    let mut before = first;
    for entry in entries {
        packed::put(&mut out, entry.place.abs_diff(before));
        packed::put(&mut out, u64::from(entry.status) << 1 | u64::from(entry.success));
        packed::put(&mut out, entry.tier.number());
        packed::put(&mut out, entry.domain.number());
        before = entry.place;
    }
    out
}

/// Appends the entries of a block that begins at `first`; `None` where the bytes are not those of a block.
pub(super) fn decode(bytes: &[u8], first: i64, to: &mut Vec<Entry>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let mut place = first;
    while !bytes.is_empty() {
        place = place.checked_add_unsigned(bytes.number()?)?;
        let status = bytes.number()?;
        to.push(Entry {
            place,
            status: (status >> 1).try_into().ok()?,
            success: status & 1 == 1,
            tier: Label::of(bytes.number()?)?,
            domain: Label::of(bytes.number()?)?,
        });
    }
    Some(())
}

/// Writes blocks.
pub(super) struct Blocks<'t> {
    last: Statement<'t>,
    at: Statement<'t>,
    behind: Statement<'t>,
    put: Statement<'t>,
    /// Of one block: used again and again.
    merged: Vec<Entry>,
}

/// A block as it was found.
struct Found {
    first: i64,
    entries: Vec<u8>,
}

impl<'t> Blocks<'t> {
    pub fn prepare(db: &'t Connection) -> rusqlite::Result<Self> {
        let newest = |condition: &str| {
            db.prepare(&format!(
                "SELECT first, entries FROM log_blocks WHERE scope = ?1 {condition} ORDER BY first DESC LIMIT 1"
            ))
        };
        Ok(Self {
            last: newest("")?,
            at: newest("AND first <= ?2")?,
            behind: db.prepare(
                "SELECT first FROM log_blocks WHERE scope = ? AND first > ? ORDER BY first LIMIT 1",
            )?,
            put: db.prepare(
                "INSERT OR REPLACE INTO log_blocks (scope, first, last, rows, success, entries)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?,
            merged: Vec::new(),
        })
    }

    /// Adds entries, in the order of their places, to those of a scope.
    pub fn add(&mut self, scope: u32, mut entries: &[Entry]) -> rusqlite::Result<()> {
        while let Some(next) = entries.first() {
            let last = found(&mut self.last, (scope,))?;
            let (block, end) = match last {
                None => (None, None),
                Some(last) if last.first <= next.place => (Some(last), None),
                // It came late. What belongs to the block behind is left for the next round.
                Some(_) => {
                    let block = found(&mut self.at, (scope, next.place))?;
                    let behind = self.behind.query_row((scope, next.place), |row| row.get(0)).optional()?;
                    (block, behind)
                }
            };
            let count = end.map_or(entries.len(), |end| entries.partition_point(|entry| entry.place < end));
            let (now, later) = entries.split_at(count);
            self.merge(scope, block.as_ref(), now)?;
            entries = later;
        }
        Ok(())
    }

    /// Writes a block anew with more entries, in several where there are too many.
    fn merge(&mut self, scope: u32, block: Option<&Found>, entries: &[Entry]) -> rusqlite::Result<()> {
        self.merged.clear();
        if let Some(block) = block {
            decode(&block.entries, block.first, &mut self.merged).ok_or_else(unreadable)?;
        }
        let appended =
            self.merged.last().is_none_or(|last| entries.iter().all(|entry| last.place < entry.place));
        self.merged.extend_from_slice(entries);
        let mut rows = BLOCK_ROWS;
        if !appended {
            self.merged.sort_unstable_by_key(|entry| entry.place);
            // In even parts, so that each has room for what comes late.
            rows = self.merged.len().div_ceil(self.merged.len().div_ceil(BLOCK_ROWS));
        }
        for chunk in self.merged.chunks(rows) {
            if let ([first, ..], [.., last]) = (chunk, chunk) {
                let bytes = encode(chunk, first.place);
                let success = chunk.iter().filter(|entry| entry.success).count() as i64;
                self.put.execute((scope, first.place, last.place, chunk.len() as i64, success, bytes))?;
            }
        }
        Ok(())
    }
}

fn found(statement: &mut Statement<'_>, of: impl rusqlite::Params) -> rusqlite::Result<Option<Found>> {
    statement.query_row(of, |row| Ok(Found { first: row.get(0)?, entries: row.get(1)? })).optional()
}

fn unreadable() -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        rusqlite::types::Type::Blob,
        "log_blocks.entries holds no value of its kind".into(),
    )
}
