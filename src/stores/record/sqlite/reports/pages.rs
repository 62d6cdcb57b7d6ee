//! Pages of rows, over the blocks of a scope.

use rusqlite::Connection;

use super::super::log_blocks::{Entry, Label, decode};
use super::super::log_rows::first_place;
use super::super::names::Kind;
use super::super::upkeep::cutoff;
use super::number_of;
use super::rows::Rows;
use crate::domain::cost::Outcome;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{
    COUNTED_MAX, LogFilter, LogPage, NumberedPage, PAGE_ROWS_MAX, Place, StatusFilter, is_part,
};

/// Entries looked at for one page by keyset: some milliseconds.
const LOOKED_AT_MAX: usize = 500_000;

/// A filter, with numbers in the place of texts.
struct Asked<'t> {
    scope: u32,
    /// The first place that is asked for, and the first one behind.
    places: std::ops::Range<i64>,
    status: Option<StatusFilter>,
    tier: Option<Texts>,
    domain: Option<Texts>,
    rows: Rows<'t>,
}

/// Texts that a filter lets through.
struct Texts {
    /// The numbers of those that have one, each a bit: every row that is looked at asks for one.
    numbers: Vec<u64>,
    /// What the others are compared with.
    text: String,
}

impl<'t> Asked<'t> {
    /// `None` where nothing can be asked for.
    fn new(db: &'t Connection, filter: &LogFilter) -> Result<Option<Self>, RecordError> {
        let Some(scope) = number_of(db, &filter.scope)? else { return Ok(None) };
        let oldest = cutoff(db)?.saturating_add(1);
        let tier = |text: &String| {
            let sql = "SELECT number FROM names WHERE kind = ? AND text = ?";
            texts(db, Kind::Tier, sql, text)
        };
        let domain = |text: &String| {
            let sql = "SELECT number FROM names WHERE kind = ? AND instr(lower(text), lower(?)) > 0";
            texts(db, Kind::Domain, sql, text)
        };
        Ok(Some(Self {
            scope,
            // Rows that are gone may still have entries.
            places: filter.since.map_or(i64::MIN, first_place).max(oldest)
                ..filter.until.map_or(i64::MAX, first_place),
            status: filter.status,
            tier: filter.tier.as_ref().map(tier).transpose()?,
            domain: filter.domain.as_ref().map(domain).transpose()?,
            rows: Rows::new(db)?,
        }))
    }

    /// How many rows of a block are asked for, where its head tells that.
    fn count(&self, rows: u64, success: u64) -> Option<u64> {
        match self.status {
            _ if self.tier.is_some() || self.domain.is_some() => None,
            None => Some(rows),
            Some(StatusFilter::Success) => Some(success),
            Some(StatusFilter::Failed) => Some(rows.saturating_sub(success)),
            Some(StatusFilter::Exactly(_) | StatusFilter::Class(_)) => None,
        }
    }

    /// Whether the filter lets an entry through.
    fn lets_through(&mut self, entry: &Entry) -> Result<bool, RecordError> {
        let outcome = entry.success.then_some(Outcome::Success);
        if self.status.is_some_and(|status| !status.matches(outcome, entry.status)) {
            return Ok(false);
        }
        let is_one = |texts: &Option<Texts>, label| match (texts, label) {
            (None, _) => Some(true),
            (Some(_), Label::None) => Some(false),
            (Some(texts), Label::Number(number)) => Some(texts.has(number)),
            (Some(_), Label::InRow) => None,
        };
        match (is_one(&self.tier, entry.tier), is_one(&self.domain, entry.domain)) {
            (Some(tier), Some(domain)) => Ok(tier && domain),
            (Some(false), _) | (_, Some(false)) => Ok(false),
            (tier, domain) => self.row_lets_through(entry.number, tier.is_none(), domain.is_none()),
        }
    }

    /// The same for texts that only the row has.
    fn row_lets_through(&mut self, number: i64, tier: bool, domain: bool) -> Result<bool, RecordError> {
        let mut asked = |texts: &Option<Texts>, kind, same: fn(&str, &str) -> bool| {
            let text = self.rows.text(number, kind)?;
            Ok::<_, RecordError>(
                texts.as_ref().zip(text).is_some_and(|(texts, text)| same(&texts.text, &text)),
            )
        };
        Ok((!tier || asked(&self.tier, Kind::Tier, |asked, text| asked == text)?)
            && (!domain || asked(&self.domain, Kind::Domain, is_part)?))
    }
}

impl Texts {
    fn has(&self, number: u32) -> bool {
        self.numbers.get(number as usize / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }
}

fn texts(db: &Connection, kind: Kind, sql: &str, text: &str) -> Result<Texts, RecordError> {
    let mut found = db.prepare(sql)?;
    let mut found = found.query((kind as u8, text))?;
    let mut numbers = Vec::new();
    while let Some(row) = found.next()? {
        let number: u32 = row.get(0)?;
        let at = number as usize / 64;
        if numbers.len() <= at {
            numbers.resize(at + 1, 0);
        }
        numbers[at] |= 1 << (number % 64);
    }
    Ok(Texts { numbers, text: text.to_owned() })
}

pub(super) fn before(
    db: &Connection,
    filter: &LogFilter,
    before: Option<Place>,
    most: usize,
) -> Result<LogPage, RecordError> {
    let most = most.min(PAGE_ROWS_MAX);
    let nothing = LogPage { rows: Vec::new(), next: None };
    let Some(mut asked) = Asked::new(db, filter)? else { return Ok(nothing) };
    let end = before.map_or(i64::MAX, |place| place.0).min(asked.places.end);
    let mut blocks = db.prepare(
        "SELECT first, last, entries FROM log_blocks WHERE scope = ? AND first < ? ORDER BY first DESC",
    )?;
    let mut blocks = blocks.query((asked.scope, end))?;
    let (mut numbers, mut entries) = (Vec::new(), Vec::new());
    let (mut looked_at, mut next) = (0, None);
    'blocks: while let Some(block) = blocks.next()? {
        if block.get::<_, i64>(1)? < asked.places.start {
            break;
        }
        read(block, &mut entries)?;
        for entry in entries.iter().rev().filter(|entry| entry.place < end) {
            if entry.place < asked.places.start {
                break 'blocks;
            }
            if numbers.len() == most || looked_at == LOOKED_AT_MAX {
                // Before the entry behind this one.
                next = entry.place.checked_add(1).map(Place);
                break 'blocks;
            }
            looked_at += 1;
            if asked.lets_through(entry)? {
                numbers.push(entry.number);
            }
        }
    }
    Ok(LogPage { rows: asked.rows.all(&numbers)?, next })
}

pub(super) fn numbered(
    db: &Connection,
    filter: &LogFilter,
    page: u64,
    size: usize,
) -> Result<NumberedPage, RecordError> {
    let size = size.min(PAGE_ROWS_MAX);
    let nothing = NumberedPage { rows: Vec::new(), total: 0 };
    let Some(mut asked) = Asked::new(db, filter)? else { return Ok(nothing) };
    let first = page.saturating_sub(1).saturating_mul(size as u64);
    let wanted = first..first.saturating_add(size as u64);
    // From the index alone: the entries are read only where they are looked at.
    let mut blocks = db.prepare(
        "SELECT first, last, size, success, id FROM log_blocks WHERE scope = ? AND first < ? ORDER BY first DESC",
    )?;
    let mut whole = db.prepare("SELECT first, last, entries FROM log_blocks WHERE id = ?")?;
    let mut blocks = blocks.query((asked.scope, asked.places.end))?;
    let (mut total, mut numbers, mut entries) = (0_u64, Vec::new(), Vec::new());
    let mut looked_at = 0;
    while looked_at < COUNTED_MAX
        && let Some(block) = blocks.next()?
    {
        let (first, last) = (block.get::<_, i64>(0)?, block.get::<_, i64>(1)?);
        if last < asked.places.start {
            break;
        }
        let number = |column: usize| block.get::<_, i64>(column).map(|number| number.max(0) as u64);
        if let Some(count) = asked.count(number(2)?, number(3)?)
            && asked.places.start <= first
            && last < asked.places.end
            && (total + count <= wanted.start || total >= wanted.end)
        {
            total += count;
            continue;
        }
        let mut block = whole.query([block.get::<_, i64>(4)?])?;
        let Some(block) = block.next()? else { continue };
        read(block, &mut entries)?;
        if asked.count(0, 0).is_none() {
            looked_at += entries.len();
        }
        for entry in entries.iter().rev() {
            if asked.places.contains(&entry.place) && asked.lets_through(entry)? {
                if wanted.contains(&total) {
                    numbers.push(entry.number);
                }
                total += 1;
            }
        }
    }
    Ok(NumberedPage { rows: asked.rows.all(&numbers)?, total })
}

/// The entries of a block, in the place of those that were there.
fn read(block: &rusqlite::Row<'_>, entries: &mut Vec<Entry>) -> Result<(), RecordError> {
    entries.clear();
    let bytes = block.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    decode(bytes, block.get(0)?, entries)
        .ok_or_else(|| RecordError::Corrupt("log_blocks.entries holds no value of its kind".into()))
}
