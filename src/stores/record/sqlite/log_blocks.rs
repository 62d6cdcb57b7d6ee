//! Which rows a scope has: the index behind pages, in blocks instead of one entry per row.
//!
//! An index on (scope, place) would cost each row a place of its own in three trees: one for its key, one for its
//! organization, one for everything. A block holds up to [`WIDE_ROWS`] of them in some 5 bytes each, is written once
//! per batch, and carries what pages are filtered by, so that neither a filter nor a count reads rows; and the number
//! of each row, by which it is found. Blocks stand in the order in which they came, so that those of a batch fill their pages,
//! and the index that finds them by scope has all that is needed to count.
//!
//! **Invariant:** blocks of a scope do not overlap: each covers the places from its first to its last. A row that
//! comes late, as its request took long, is sorted into the block where it belongs.

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::columns::unreadable_value;
use super::names::EVERYTHING;
use crate::stores::record::packed::{self, Bytes};

/// Rows of a block of a scope of all, or of an organization: few blocks make pages far behind, and counts, fast.
pub(super) const WIDE_ROWS: usize = 512;
/// Rows of a block of a key, of which there are many, each with few rows in a batch.
pub(super) const OWN_ROWS: usize = 128;

/// One row, as far as pages are filtered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: i64,
    /// Where it stands.
    pub number: i64,
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
    pub(super) const fn number(self) -> u64 {
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

/// What a block begins with. One of the first form has a zero there, as its first entry is where it begins; and every entry tells
/// all it is.
const FORM: u8 = 2;

impl Entry {
    /// Whether pages tell it from the one before it by its place only.
    fn is_like(&self, before: &Self) -> bool {
        (self.status, self.success, self.tier, self.domain)
            == (before.status, before.success, before.tier, before.domain)
    }
}

/// Entries of one block, in the order of their places.
fn encode(entries: &[Entry], first: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + entries.len() * 11);
    out.push(FORM);
    let mut before: Option<&Entry> = None;
    for entry in entries {
        let (place, number) = before.map_or((first, 0), |before| (before.place, before.number));
        packed::put(&mut out, entry.place.abs_diff(place));
        // Mostly the next, sometimes one before; and mostly like the one before it.
        let further = entry.number.wrapping_sub(number);
        let differs = !before.is_some_and(|before| entry.is_like(before));
        packed::put(&mut out, packed::zigzag(further) << 1 | u64::from(differs));
        if differs {
            packed::put(&mut out, u64::from(entry.status) << 1 | u64::from(entry.success));
            packed::put(&mut out, entry.tier.number());
            packed::put(&mut out, entry.domain.number());
        }
        before = Some(entry);
    }
    out
}

/// Appends the entries of a block that begins at `first`; `None` where the bytes are not those of a block.
pub(super) fn decode(bytes: &[u8], first: i64, to: &mut Vec<Entry>) -> Option<()> {
    let (mut bytes, is_first_form) = match bytes {
        [FORM, left @ ..] => (Bytes(left), false),
        all => (Bytes(all), true),
    };
    let nothing =
        Entry { place: first, number: 0, status: 0, success: false, tier: Label::None, domain: Label::None };
    let mut entry = nothing;
    while !bytes.is_empty() {
        entry.place = entry.place.checked_add_unsigned(bytes.number()?)?;
        let told = bytes.number()?;
        let (further, differs) = if is_first_form { (told, true) } else { (told >> 1, told & 1 == 1) };
        entry.number = entry.number.wrapping_add(packed::unzigzag(further));
        if differs {
            let status = bytes.number()?;
            entry.status = (status >> 1).try_into().ok()?;
            entry.success = status & 1 == 1;
            entry.tier = Label::of(bytes.number()?)?;
            entry.domain = Label::of(bytes.number()?)?;
        }
        to.push(entry);
    }
    Some(())
}

/// Writes blocks.
pub(super) struct Blocks<'t> {
    last: Statement<'t>,
    at: Statement<'t>,
    behind: Statement<'t>,
    put: Statement<'t>,
    change: Statement<'t>,
    /// Of one block: used again and again.
    merged: Vec<Entry>,
}

/// A block as it was found.
struct Found {
    id: i64,
    first: i64,
    last: i64,
    size: usize,
    entries: Vec<u8>,
}

impl<'t> Blocks<'t> {
    pub fn prepare(db: &'t Connection) -> rusqlite::Result<Self> {
        let newest = |condition: &str| {
            db.prepare(&format!(
                "SELECT id, first, last, size, entries FROM log_blocks WHERE scope = ?1 {condition}
                 ORDER BY first DESC LIMIT 1"
            ))
        };
        Ok(Self {
            last: newest("")?,
            at: newest("AND first <= ?2")?,
            behind: db.prepare(
                "SELECT first FROM log_blocks WHERE scope = ? AND first > ? ORDER BY first LIMIT 1",
            )?,
            put: db.prepare(
                "INSERT INTO log_blocks (scope, first, last, size, success, entries) VALUES (?, ?, ?, ?, ?, ?)",
            )?,
            change: db
                .prepare("UPDATE log_blocks SET last = ?, size = ?, success = ?, entries = ? WHERE id = ?")?,
            merged: Vec::new(),
        })
    }

    /// The numbers of the rows that stand at some of `places`, which are in order.
    pub fn taken(&mut self, mut places: &[i64]) -> rusqlite::Result<AHashMap<i64, i64>> {
        let mut taken = AHashMap::new();
        while let Some(next) = places.first() {
            let block = found(&mut self.at, (EVERYTHING, next))?;
            let behind: Option<i64> =
                self.behind.query_row((EVERYTHING, next), |row| row.get(0)).optional()?;
            let count = behind.map_or(places.len(), |end| places.partition_point(|place| *place < end));
            let (now, later) = places.split_at(count);
            if let Some(block) = block.filter(|block| block.last >= *next) {
                self.merged.clear();
                block.decode(&mut self.merged)?;
                for place in now {
                    if let Ok(at) = self.merged.binary_search_by_key(place, |entry| entry.place) {
                        taken.insert(*place, self.merged[at].number);
                    }
                }
            }
            places = later;
        }
        Ok(taken)
    }

    /// Adds entries, in the order of their places, to those of a scope, in blocks of at most `most`.
    pub fn add(&mut self, scope: u32, most: usize, mut entries: &[Entry]) -> rusqlite::Result<()> {
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
            // Behind a full block there is a new one.
            let block = block.filter(|block| block.size < most || next.place < block.last);
            self.merge(scope, most, block.as_ref(), now)?;
            entries = later;
        }
        Ok(())
    }

    /// Writes a block anew with more entries, in several where there are too many.
    fn merge(
        &mut self,
        scope: u32,
        most: usize,
        block: Option<&Found>,
        entries: &[Entry],
    ) -> rusqlite::Result<()> {
        self.merged.clear();
        if let Some(block) = block {
            block.decode(&mut self.merged)?;
        }
        let appended =
            self.merged.last().zip(entries.first()).is_none_or(|(last, next)| last.place < next.place);
        self.merged.extend_from_slice(entries);
        let mut rows = most;
        if !appended {
            // Two runs, each in order.
            self.merged.sort_by_key(|entry| entry.place);
            // In even parts, so that each has room for what comes late.
            rows = self.merged.len().div_ceil(self.merged.len().div_ceil(most));
        }
        // What is added never stands before the block that it is added to.
        let mut found = block.map(|block| block.id);
        for chunk in self.merged.chunks(rows) {
            if let ([first, ..], [.., last]) = (chunk, chunk) {
                let bytes = encode(chunk, first.place);
                let (size, success) =
                    (chunk.len() as i64, chunk.iter().filter(|entry| entry.success).count() as i64);
                match found.take() {
                    Some(id) => self.change.execute((last.place, size, success, bytes, id))?,
                    None => self.put.execute((scope, first.place, last.place, size, success, bytes))?,
                };
            }
        }
        Ok(())
    }
}

impl Found {
    fn decode(&self, to: &mut Vec<Entry>) -> rusqlite::Result<()> {
        decode(&self.entries, self.first, to).ok_or_else(|| unreadable_value("log_blocks.entries"))
    }
}

fn found(statement: &mut Statement<'_>, of: impl rusqlite::Params) -> rusqlite::Result<Option<Found>> {
    statement
        .query_row(of, |row| {
            let size = row.get::<_, u32>(3)? as usize;
            Ok(Found { id: row.get(0)?, first: row.get(1)?, last: row.get(2)?, size, entries: row.get(4)? })
        })
        .optional()
}

/// Hands the entries of a scope from a place on to `each`, newest first.
pub(super) fn back_to(
    db: &Connection,
    scope: u32,
    place: i64,
    mut each: impl FnMut(&Entry),
) -> rusqlite::Result<()> {
    let mut blocks =
        db.prepare("SELECT first, last, entries FROM log_blocks WHERE scope = ? ORDER BY first DESC")?;
    let mut blocks = blocks.query([scope])?;
    let mut entries = Vec::new();
    while let Some(block) = blocks.next()? {
        if block.get::<_, i64>(1)? < place {
            break;
        }
        entries.clear();
        decode(block.get_ref(2)?.as_blob()?, block.get(0)?, &mut entries)
            .ok_or_else(|| unreadable_value("log_blocks.entries"))?;
        entries.iter().rev().take_while(|entry| entry.place >= place).for_each(&mut each);
    }
    Ok(())
}
