//! Two streams of sums in one order, of what is and of what should be.

use rusqlite::Rows;

use super::super::log_sums::{self, Of, Sum, Width};
use crate::stores::record::RecordError;
use crate::stores::record::parts::{self, Count, Part, Parts};
use crate::stores::record::reports::Totals;

/// Bytes of parts that are gathered of one sum before they are added together.
const PARTS_BYTES_MAX: usize = 1 << 20;

/// A sum whose parts are as they are stored; several of these in a row are one, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stored {
    pub totals: Totals,
    pub parts: Vec<u8>,
}

impl Stored {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) -> Result<(), RecordError> {
        self.totals.add(&other.totals);
        self.parts.extend_from_slice(&other.parts);
        if self.parts.len() > PARTS_BYTES_MAX {
            self.parts = parts::encode(&self.settled()?);
        }
        Ok(())
    }

    /// Its parts, each once.
    fn settled(&self) -> Result<Parts<'_>, RecordError> {
        let mut parts = Parts::new();
        parts::decode(&self.parts, &mut parts).ok_or_else(log_sums::unreadable)?;
        parts::settle(&mut parts);
        Ok(parts)
    }

    /// As the table takes it.
    pub fn sum(&self) -> Result<Sum<'_>, RecordError> {
        Ok(Sum { totals: self.totals, parts: self.settled()? })
    }

    /// Whether both say the same. Where one has parts that went to the rest, which ones did is chance.
    pub fn agrees(&self, other: &Self) -> Result<bool, RecordError> {
        Ok(self.totals == other.totals && same(&self.settled()?, &other.settled()?))
    }
}

fn same(one: &Parts<'_>, other: &Parts<'_>) -> bool {
    [Part::Tier(None), Part::Domain(None), Part::Failures].into_iter().all(|rest| {
        let of_kind = |parts: &Parts<'_>| -> Parts<'static> {
            let mut sum = Count::default();
            parts.iter().filter(|(part, _)| part.rest() == rest).for_each(|(_, count)| sum.add(count));
            vec![(rest, sum)]
        };
        let has_rest = |parts: &Parts<'_>| parts.iter().any(|(part, _)| *part == rest);
        let kind = |parts| {
            let parts: &Parts<'_> = parts;
            parts.iter().filter(|(part, _)| part.rest() == rest).copied().collect::<Vec<_>>()
        };
        match has_rest(one) || has_rest(other) {
            true => of_kind(one) == of_kind(other),
            false => kind(one) == kind(other),
        }
    })
}

/// Sums in the order of [`Of`], read from rows that are in that order and of which several may be one sum.
pub(super) struct Stream<'s, F> {
    rows: Rows<'s>,
    read: F,
    /// Read, and not of the sum before.
    ahead: Option<(Of, Stored)>,
    /// Rows read.
    pub count: u64,
}

impl<'s, F: FnMut(&rusqlite::Row<'_>) -> Result<(Of, Stored), RecordError>> Stream<'s, F> {
    pub fn new(rows: Rows<'s>, read: F) -> Self {
        Self { rows, read, ahead: None, count: 0 }
    }

    fn row(&mut self) -> Result<Option<(Of, Stored)>, RecordError> {
        let Some(row) = self.rows.next()? else { return Ok(None) };
        self.count += 1;
        (self.read)(row).map(Some)
    }

    pub fn next(&mut self) -> Result<Option<(Of, Stored)>, RecordError> {
        let first = match self.ahead.take() {
            Some(ahead) => Some(ahead),
            None => self.row()?,
        };
        let Some((of, mut sum)) = first else { return Ok(None) };
        while let Some((next, more)) = self.row()? {
            if next != of {
                self.ahead = Some((next, more));
                break;
            }
            sum.add(&more)?;
        }
        Ok(Some((of, sum)))
    }
}

/// A row that begins with scope and cell, then has the nine totals and the parts.
pub(super) fn read(width: Width) -> impl FnMut(&rusqlite::Row<'_>) -> Result<(Of, Stored), RecordError> {
    move |row| {
        let cell = row.get::<_, i64>(1)?.max(0) as u64;
        let stored = Stored { totals: log_sums::totals(row, 2)?, parts: row.get(11)? };
        Ok((Of { scope: row.get(0)?, width, cell }, stored))
    }
}
