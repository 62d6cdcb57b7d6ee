//! Rows of a batch, each once: into sheets, blocks and sums.

use std::collections::hash_map::Entry as Slot;

use ahash::{AHashMap, AHashSet};
use rusqlite::Connection;

use super::jobs;
use super::log_blocks::{Blocks, Entry, OWN_ROWS, WIDE_ROWS};
use super::log_rows::{Named, NamedOwner, NamedShape, place_of};
use super::log_sums::Sums;
use super::names::{EVERYTHING, Kind, Names, Scopes};
use super::sheets::{Reader, Writer};
use crate::domain::id::RequestId;
use crate::stores::record::rows::Known;
use crate::stores::record::{RecordError, Rows};

/// Places looked at for one row. Each is taken by another row of the same millisecond, so that in truth it is
/// one, and two once in 100,000 rows; the bound is for a file that somebody else filled.
const PLACES_MAX: i64 = 10_000;

/// Whether rows are in the sums already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// They are counted with being taken.
    Now,
    /// They were counted when an older version of this program took them.
    Before,
}

/// Rows that room is kept for from one batch to the next: some 10 MiB.
const KEPT_ROWS: usize = 80_000;

/// What is of use while a batch is taken: kept for the next, as the kernel clears memory that is new.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Places, and the rows that stand there.
    placed: Vec<(i64, usize)>,
    entries: Vec<(Scopes, Entry)>,
    run: Vec<Entry>,
    /// Where in `run` the next entry of a scope goes.
    ends: AHashMap<u32, usize>,
}

/// Takes the rows that are not there yet.
pub(super) fn take_rows(
    db: &Connection,
    names: &mut Names,
    rows: &Rows,
    room: &mut Room,
    counted: Counted,
) -> Result<(), RecordError> {
    let mut blocks = Blocks::prepare(db)?;
    place(db, &mut blocks, rows, &mut room.placed)?;
    let mut writer = Writer::begin(db)?;
    let (mut owners, mut shapes) = (Known::default(), Known::default());
    let (mut sums, mut jobs) = (Sums::default(), Vec::new());
    room.entries.clear();
    for (place, at) in &room.placed {
        let (row, numbers) = rows.variables(*at)?;
        let owner = owners
            .get(numbers.owner, || Ok::<_, RecordError>(NamedOwner::new(rows.owner(*at)?, names, db)?))?;
        let shape = shapes
            .get(numbers.shape, || Ok::<_, RecordError>(NamedShape::new(rows.shape(*at)?, names, db)?))?;
        let domain = names.some(db, Kind::Domain, row.domain)?;
        let mut row = Named { place: *place, row, domain, owner, shape };
        jobs.extend(jobs::of(&row.row, &row.owner.owner));
        let number = writer.push(&mut row)?;
        room.entries.push((row.owner.scopes, row.entry(number)));
        if counted == Counted::Now {
            sums.add(&mut row);
        }
    }
    writer.finish()?;
    list(&mut blocks, room)?;
    sums.write(db)?;
    jobs::take(db, &jobs)?;
    if rows.len() > KEPT_ROWS {
        *room = Room::default();
    }
    Ok(())
}

/// Which rows are new, and where each stands: in the order of their places, so that they are appended, whatever order they
/// ended in.
fn place(
    db: &Connection,
    blocks: &mut Blocks<'_>,
    rows: &Rows,
    placed: &mut Vec<(i64, usize)>,
) -> Result<(), RecordError> {
    placed.clear();
    placed.extend((0..rows.len()).filter_map(|at| rows.id(at).map(|id| (place_of(id), at))));
    placed.sort_unstable();
    let first: Vec<_> = placed.iter().map(|(place, _)| *place).collect();
    let taken = blocks.taken(&first)?;
    if taken.is_empty() && first.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(());
    }
    // Rows of this batch or of the log stand where others belong: by chance, or as they are the same.
    let mut reader = Reader::new(db)?;
    let mut mine = AHashMap::<i64, RequestId>::with_capacity(first.len());
    let mut settled = Vec::with_capacity(first.len());
    for (place, at) in placed.drain(..) {
        let Some(id) = rows.id(at) else { continue };
        let mut further = choices(place);
        loop {
            let place = further.next().ok_or_else(|| {
                RecordError::Refused(format!(
                    "{PLACES_MAX} rows of other requests stand where that of {id} belongs"
                ))
            })?;
            let number = match taken.get(&place) {
                Some(number) => Some(*number),
                // Of a first choice it is known.
                None if first.binary_search(&place).is_ok() => None,
                None => blocks.taken(&[place])?.remove(&place),
            };
            if let Some(number) = number {
                if reader.row(number)?.is_some_and(|row| row.id == id) {
                    break;
                }
                continue;
            }
            match mine.entry(place) {
                Slot::Occupied(other) if *other.get() == id => break,
                Slot::Occupied(_) => {}
                Slot::Vacant(free) => {
                    free.insert(id);
                    settled.push((place, at));
                    break;
                }
            }
        }
    }
    settled.sort_unstable();
    *placed = settled;
    Ok(())
}

/// Lists rows, which are in the order of their places, in the blocks of their scopes.
fn list(blocks: &mut Blocks<'_>, room: &mut Room) -> rusqlite::Result<()> {
    room.run.clear();
    room.run.extend(room.entries.iter().map(|(_, entry)| *entry));
    blocks.add(EVERYTHING, WIDE_ROWS, &room.run)?;
    let organization = |scopes: &Scopes| scopes.organization;
    let own = |scopes: &Scopes| Some(scopes.own);
    for (of, most) in [(organization as fn(&Scopes) -> Option<u32>, WIDE_ROWS), (own, OWN_ROWS)] {
        let mut begin = 0;
        for (scope, end) in room.divide(of) {
            blocks.add(scope, most, &room.run[begin..end])?;
            begin = end;
        }
    }
    Ok(())
}

impl Room {
    /// Divides the entries into runs of one scope each, which keep their order, and says where in `run` each ends. By counting:
    /// a sort that keeps an order takes memory of its own, as much as there are entries.
    fn divide(&mut self, of: fn(&Scopes) -> Option<u32>) -> Vec<(u32, usize)> {
        self.ends.clear();
        for scope in self.entries.iter().filter_map(|(scopes, _)| of(scopes)) {
            *self.ends.entry(scope).or_default() += 1;
        }
        let mut runs: Vec<_> = self.ends.iter().map(|(scope, count)| (*scope, *count)).collect();
        runs.sort_unstable();
        let mut end = 0;
        for (scope, count) in &mut runs {
            self.ends.insert(*scope, end);
            end += *count;
            *count = end;
        }
        for (scopes, entry) in &self.entries {
            if let Some(at) = of(scopes).and_then(|scope| self.ends.get_mut(&scope)) {
                self.run[*at] = *entry;
                *at += 1;
            }
        }
        runs
    }
}

/// Where the row of a request stands, by number; `None` where the log has none.
pub(super) fn number_of_row(db: &Connection, id: RequestId) -> Result<Option<i64>, RecordError> {
    let mut blocks = Blocks::prepare(db)?;
    let mut reader = Reader::new(db)?;
    for place in choices(place_of(id)) {
        let Some(number) = blocks.taken(&[place])?.remove(&place) else { return Ok(None) };
        if reader.row(number)?.is_some_and(|row| row.id == id) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Which of some requests have a row.
pub(super) fn logged_of(
    db: &Connection,
    ids: impl Iterator<Item = RequestId>,
) -> Result<AHashSet<RequestId>, RecordError> {
    let mut wanted: Vec<_> = ids.map(|id| (place_of(id), id)).collect();
    wanted.sort_unstable();
    let places: Vec<_> = wanted.iter().map(|(place, _)| *place).collect();
    let taken = Blocks::prepare(db)?.taken(&places)?;
    let mut reader = Reader::new(db)?;
    let mut logged = AHashSet::new();
    for (place, id) in wanted {
        let Some(number) = taken.get(&place) else { continue };
        if reader.row(*number)?.is_some_and(|row| row.id == id) || number_of_row(db, id)?.is_some() {
            logged.insert(id);
        }
    }
    Ok(logged)
}

/// Where a row can stand, first choice first.
fn choices(first: i64) -> impl Iterator<Item = i64> {
    // Not beyond the largest: only an id that is none of ours stands so far up.
    (0..PLACES_MAX).map_while(move |further| first.checked_add(further))
}
