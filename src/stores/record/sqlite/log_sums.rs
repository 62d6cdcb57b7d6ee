//! Sums of the log, gathered per batch and written in few statements.
//!
//! A row is counted once, in the five minutes of its owner; what its organization, everything and their days get is
//! added up from those when the batch is done.

use std::collections::BTreeMap;

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::columns::{int, micros, opt_micros};
use super::log_rows::{Named, NamedOwner};
use super::names::{EVERYTHING, Scopes};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::time::Timestamp;
pub(super) use crate::stores::record::cells::Width;
use crate::stores::record::parts::{self, Count, Part, Parts};
use crate::stores::record::reports::Totals;

/// Which row of `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Of {
    pub scope: u32,
    pub width: Width,
    pub cell: u64,
}

/// A row of `usage`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum<'a> {
    pub totals: Totals,
    pub parts: Parts<'a>,
}

/// What one batch adds.
#[derive(Default)]
pub(super) struct Sums<'a> {
    /// In the order in which they were met.
    gathered: Vec<Gathered<'a>>,
    /// Where that of some scopes and five minutes stands.
    places: AHashMap<(Scopes, u64), usize>,
}

#[derive(Default)]
struct KeyUsage<'a> {
    organization: &'a str,
    admitted: u64,
    rows: u64,
    last_admitted: Option<Timestamp>,
}

/// Parts looked through for one that is counted: most rows have those of the few before them.
const NEAR: usize = 8;
/// Parts of one sum from which on equal ones are added together, at the latest when they are twice as many as are left.
const PARTS: usize = 64;

/// Rows of one owner in five minutes.
struct Gathered<'a> {
    scopes: Scopes,
    cell: u64,
    /// Whose they are. Nobody pays for a caller that stayed unknown, so no key is counted for it.
    of: Option<(KeyId, &'a str)>,
    totals: Totals,
    last_admitted: Option<Timestamp>,
    /// In no order, and equal ones apart.
    parts: Parts<'a>,
    /// How many were left when equal ones were last added together.
    apart: usize,
}

impl<'a> Gathered<'a> {
    fn of(owner: &NamedOwner<'a>, cell: u64) -> Self {
        Self {
            scopes: owner.scopes,
            cell,
            of: owner.owner.key.zip(owner.owner.organization),
            totals: Totals::default(),
            last_admitted: None,
            parts: Parts::new(),
            apart: 0,
        }
    }

    fn add(&mut self, part: Part<'a>, count: Count) {
        let near = self.parts.len().saturating_sub(NEAR);
        if let Some((_, sum)) = self.parts[near..].iter_mut().find(|(known, _)| *known == part) {
            return sum.add(&count);
        }
        self.parts.push((part, count));
        if self.parts.len() >= PARTS.max(2 * self.apart) {
            parts::coalesce(&mut self.parts);
            self.apart = self.parts.len();
        }
    }
}

impl<'a> Sums<'a> {
    /// Counts a row.
    pub(super) fn add(&mut self, row: &mut Named<'_, 'a>) {
        let Named { row: facts, owner, shape, .. } = row;
        let cell = Width::Cell.cell_of(facts.at);
        let at = match owner.counted.filter(|(counted, _)| *counted == cell) {
            Some((_, at)) => at,
            None => {
                let at = *self.places.entry((owner.scopes, cell)).or_insert(self.gathered.len());
                if at == self.gathered.len() {
                    self.gathered.push(Gathered::of(owner, cell));
                }
                owner.counted = Some((cell, at));
                at
            }
        };
        let Some(sum) = self.gathered.get_mut(at) else { return };
        let (admitted, success) = (shape.shape.admitted, shape.is_success());
        sum.totals.add(&Totals::with(facts, admitted, success));
        sum.last_admitted = sum.last_admitted.max(admitted.then_some(facts.at));
        let count = Count { requests: 1, success: u64::from(success), cost: facts.cost };
        let parts = [
            shape.tier.map(|tier| Part::Tier(Some(tier))),
            row.domain.map(|domain| Part::Domain(Some(domain))),
            (!success).then_some(Part::Failure(shape.shape.status, shape.code)),
        ];
        for part in parts.into_iter().flatten() {
            sum.add(part, count);
        }
    }

    /// What every key used.
    fn keys(&self) -> BTreeMap<KeyId, KeyUsage<'a>> {
        let mut keys = BTreeMap::new();
        for cell in &self.gathered {
            let Some((key, organization)) = cell.of else { continue };
            let usage = keys.entry(key).or_insert(KeyUsage { organization, ..KeyUsage::default() });
            usage.admitted += cell.totals.admitted;
            usage.rows += cell.totals.requests();
            usage.last_admitted = usage.last_admitted.max(cell.last_admitted);
        }
        keys
    }

    /// Adds what was gathered to the tables, each in the order of its keys.
    pub(super) fn write(self, db: &Connection) -> rusqlite::Result<()> {
        write_keys(db, self.keys())?;
        let mut table = Table::prepare(db)?;
        let (mut sums, mut parts) = (Vec::new(), Vec::new());
        for mut gathered in self.gathered {
            parts::coalesce(&mut gathered.parts);
            for of in sums_of(gathered.scopes, gathered.cell).into_iter().flatten() {
                sums.push((of, gathered.totals));
                parts.extend(gathered.parts.iter().map(|(part, count)| (of, *part, *count)));
            }
        }
        sums.sort_unstable_by_key(|(of, _)| *of);
        parts.sort_unstable_by_key(|(of, part, _)| (*of, *part));
        let mut parts = parts.into_iter().peekable();
        for same in sums.chunk_by(|(one, _), (next, _)| one == next) {
            let Some((of, _)) = same.first() else { continue };
            let mut sum = Sum::default();
            same.iter().for_each(|(_, totals)| sum.totals.add(totals));
            while let Some((_, part, count)) = parts.next_if(|(part_of, ..)| part_of == of) {
                sum.parts.push((part, count));
            }
            table.add(*of, sum)?;
        }
        Ok(())
    }
}

/// The rows of `usage` that count what falls into five minutes of some scopes.
fn sums_of(scopes: Scopes, cell: u64) -> [Option<Of>; 6] {
    let day = Width::Day.cell_of(Width::Cell.start(cell));
    let of = |scope| [Of { scope, width: Width::Cell, cell }, Of { scope, width: Width::Day, cell: day }];
    let [own, own_day] = of(scopes.own).map(Some);
    let [all, all_day] = of(EVERYTHING).map(Some);
    let [organization, organization_day] =
        scopes.organization.map_or([None; 2], |organization| of(organization).map(Some));
    [own, own_day, organization, organization_day, all, all_day]
}

/// The table `usage`, for one who writes it.
pub(super) struct Table<'t> {
    get: Statement<'t>,
    put: Statement<'t>,
}

impl<'t> Table<'t> {
    pub(super) fn prepare(db: &'t Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            get: db.prepare(
                "SELECT admitted, refused, success, credits, microcents, first_byte_micros, total_micros,
                        bytes_in, bytes_out, parts
                 FROM usage WHERE scope = ? AND width = ? AND cell = ?",
            )?,
            put: db.prepare(
                "INSERT OR REPLACE INTO usage (scope, width, cell, admitted, refused, success, credits, microcents,
                     first_byte_micros, total_micros, bytes_in, bytes_out, parts)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
        })
    }

    /// Adds to a sum. In this program and not in SQL, so that what is too large for a column saturates.
    fn add(&mut self, of: Of, added: Sum<'_>) -> rusqlite::Result<()> {
        let stored = self.get(of)?;
        let mut sum = added;
        if let Some((totals, bytes)) = &stored {
            sum.totals.add(totals);
            parts::decode(bytes, &mut sum.parts).ok_or_else(unreadable)?;
        }
        parts::settle(&mut sum.parts);
        self.put(of, &sum)
    }

    /// What is stored, with its parts as they are.
    pub(super) fn get(&mut self, of: Of) -> rusqlite::Result<Option<(Totals, Vec<u8>)>> {
        self.get
            .query_row((of.scope, of.width as u32, int(of.cell)), |row| Ok((totals(row, 0)?, row.get(9)?)))
            .optional()
    }

    pub(super) fn put(&mut self, of: Of, sum: &Sum<'_>) -> rusqlite::Result<()> {
        let totals = &sum.totals;
        self.put.execute((
            of.scope,
            of.width as u32,
            int(of.cell),
            int(totals.admitted),
            int(totals.refused),
            int(totals.success),
            int(totals.cost.credits),
            int(totals.cost.microcents),
            int(totals.first_byte_micros),
            int(totals.total_micros),
            int(totals.bytes_in),
            int(totals.bytes_out),
            parts::encode(&sum.parts),
        ))?;
        Ok(())
    }
}

/// The nine columns of totals, in their order, from `first` on.
pub(super) fn totals(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Totals> {
    let number = |column: usize| row.get::<_, i64>(first + column).map(|number| number.max(0) as u64);
    Ok(Totals {
        admitted: number(0)?,
        refused: number(1)?,
        success: number(2)?,
        cost: Cost { credits: number(3)?, microcents: number(4)? },
        first_byte_micros: number(5)?,
        total_micros: number(6)?,
        bytes_in: number(7)?,
        bytes_out: number(8)?,
    })
}

/// What is said of parts that this program did not write.
pub(super) fn unreadable() -> rusqlite::Error {
    let what = "usage.parts holds no value of its kind";
    rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Blob, what.into())
}

fn write_keys(db: &Connection, keys: BTreeMap<KeyId, KeyUsage<'_>>) -> rusqlite::Result<()> {
    let mut add = db.prepare(
        "INSERT INTO key_usage (key, organization, requests, rows, last_used_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET
             requests = requests + excluded.requests, rows = rows + excluded.rows,
             last_used_at = coalesce(max(last_used_at, excluded.last_used_at),
                                     last_used_at, excluded.last_used_at)",
    )?;
    for (key, usage) in keys {
        add.execute((
            key.0.as_bytes(),
            usage.organization,
            int(usage.admitted),
            int(usage.rows),
            opt_micros(usage.last_admitted),
        ))?;
    }
    Ok(())
}

/// The cell of five minutes that `at` lies in, as SQLite holds it.
pub(super) fn cell_of(at: Timestamp) -> i64 {
    micros(at) / (Width::Cell as i64 * 1_000_000)
}
