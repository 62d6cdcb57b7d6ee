//! Sums over a span: whole days from their own rows, what is left of a day at either end from its five minutes.

use std::cmp::Reverse;
use std::ops::Range;

use ahash::AHashMap;
use rusqlite::{Connection, OptionalExtension as _};

use super::super::columns::int;
use super::super::log_sums;
use super::super::names::Name;
use super::number_of;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::cells::{Width, cells, pieces};
use crate::stores::record::parts::{self, Count, Part, Parts};
use crate::stores::record::reports::{
    Failures, PARTS_MAX, POINTS_MAX, Point, Scope, Share, Span, Step, Totals,
};

/// Hands every stored sum of a piece to `each`, in the order of time, until that says no.
fn each_total(
    db: &Connection,
    scope: u32,
    (width, cells): (Width, Range<u64>),
    mut each: impl FnMut(Timestamp, &Totals) -> bool,
) -> Result<(), RecordError> {
    let mut sums = db.prepare(
        "SELECT cell, admitted, refused, success, credits, microcents, first_byte_micros, total_micros,
                bytes_in, bytes_out
         FROM usage WHERE scope = ? AND width = ? AND cell >= ? AND cell < ? ORDER BY cell",
    )?;
    let mut rows = sums.query((scope, width as u32, int(cells.start), int(cells.end)))?;
    while let Some(row) = rows.next()? {
        let cell = row.get::<_, i64>(0)?.max(0) as u64;
        if !each(width.start(cell), &log_sums::totals(row, 1)?) {
            break;
        }
    }
    Ok(())
}

pub(super) fn totals(db: &Connection, scope: &Scope, span: Span) -> Result<Totals, RecordError> {
    let mut sum = Totals::default();
    let Some(scope) = number_of(db, scope)? else { return Ok(sum) };
    for piece in pieces(span) {
        each_total(db, scope, piece, |_, totals| {
            sum.add(totals);
            true
        })?;
    }
    Ok(sum)
}

pub(super) fn series(
    db: &Connection,
    scope: &Scope,
    span: Span,
    step: Step,
) -> Result<Vec<Point>, RecordError> {
    let mut points = Vec::<Point>::new();
    let Some(scope) = number_of(db, scope)? else { return Ok(points) };
    let width = step.width().as_secs();
    let pieces = match step {
        Step::Day => pieces(span).to_vec(),
        Step::Hour | Step::FiveMinutes => vec![(Width::Cell, cells(span))],
    };
    for piece in pieces {
        each_total(db, scope, piece, |at, totals| {
            let at = Timestamp::from_seconds(at.seconds() / width * width);
            let full = points.len() == POINTS_MAX;
            match points.last_mut() {
                Some(point) if point.at == at => point.totals.add(totals),
                _ if full => return false,
                _ => points.push(Point { at, totals: *totals }),
            }
            true
        })?;
    }
    Ok(points)
}

pub(super) fn by_tier(db: &Connection, scope: &Scope, span: Span) -> Result<Vec<Share>, RecordError> {
    shares(db, scope, span, PARTS_MAX, |part| match part {
        Part::Tier(name) => Some(name),
        _ => None,
    })
}

pub(super) fn top_domains(
    db: &Connection,
    scope: &Scope,
    span: Span,
    most: usize,
) -> Result<Vec<Share>, RecordError> {
    shares(db, scope, span, most, |part| match part {
        Part::Domain(name) => Some(name),
        _ => None,
    })
}

fn shares(
    db: &Connection,
    scope: &Scope,
    span: Span,
    most: usize,
    of: impl Fn(Part<'_>) -> Option<Option<Name<'_>>>,
) -> Result<Vec<Share>, RecordError> {
    let blobs = blobs(db, scope, span)?;
    let mut named = Vec::new();
    let mut rest = Count::default();
    for (part, count) in parts_in(&blobs)? {
        match of(part) {
            Some(Some(name)) => named.push((name, count)),
            Some(None) => rest.add(&count),
            None => {}
        }
    }
    named.sort_unstable_by_key(|(name, count)| (Reverse(count.requests), *name));
    named.drain(most.min(named.len())..).for_each(|(_, count)| rest.add(&count));
    let share = |name, count: Count| Share {
        name,
        requests: count.requests,
        success: count.success,
        cost: count.cost,
    };
    let mut shares = Vec::with_capacity(named.len() + 1);
    for (name, count) in named {
        shares.push(share(Some(text_of(db, name)?), count));
    }
    shares.extend((rest.requests > 0).then(|| share(None, rest)));
    Ok(shares)
}

pub(super) fn errors(db: &Connection, scope: &Scope, span: Span) -> Result<Vec<Failures>, RecordError> {
    let blobs = blobs(db, scope, span)?;
    let mut kinds = Vec::new();
    let mut rest = 0;
    for (part, count) in parts_in(&blobs)? {
        match part {
            Part::Failure(status, code) => kinds.push((status, code, count.requests)),
            Part::Failures => rest += count.requests,
            Part::Tier(_) | Part::Domain(_) => {}
        }
    }
    kinds.sort_unstable_by_key(|(status, code, requests)| (Reverse(*requests), *status, *code));
    rest += kinds.drain(PARTS_MAX.min(kinds.len())..).map(|(.., requests)| requests).sum::<u64>();
    let mut errors = Vec::with_capacity(kinds.len() + 1);
    for (status, code, requests) in kinds {
        let code = code.map_or_else(|| Ok(String::new()), |code| text_of(db, code))?;
        errors.push(Failures { status, code, requests });
    }
    errors.extend((rest > 0).then(|| Failures { status: 0, code: "other".into(), requests: rest }));
    Ok(errors)
}

/// The parts of every sum of a span, as they are stored.
fn blobs(db: &Connection, scope: &Scope, span: Span) -> Result<Vec<Vec<u8>>, RecordError> {
    let mut blobs = Vec::new();
    let Some(scope) = number_of(db, scope)? else { return Ok(blobs) };
    let mut parts =
        db.prepare("SELECT parts FROM usage WHERE scope = ? AND width = ? AND cell >= ? AND cell < ?")?;
    for (width, cells) in pieces(span) {
        let mut rows = parts.query((scope, width as u32, int(cells.start), int(cells.end)))?;
        while let Some(row) = rows.next()? {
            blobs.push(row.get(0)?);
        }
    }
    Ok(blobs)
}

/// Equal parts added together.
fn parts_in(blobs: &[Vec<u8>]) -> Result<AHashMap<Part<'_>, Count>, RecordError> {
    let mut sums = AHashMap::<_, Count>::new();
    let mut parts = Parts::new();
    for blob in blobs {
        parts::decode(blob, &mut parts).ok_or_else(log_sums::unreadable)?;
        parts.drain(..).for_each(|(part, count)| sums.entry(part).or_default().add(&count));
    }
    Ok(sums)
}

fn text_of(db: &Connection, name: Name<'_>) -> Result<String, RecordError> {
    let number = match name {
        Name::Text(text) => return Ok(text.to_owned()),
        Name::Number(number) => number,
    };
    let text =
        db.query_row("SELECT text FROM names WHERE number = ?", [number], |row| row.get(0)).optional()?;
    text.ok_or_else(|| RecordError::Corrupt(format!("there is no text with the number {number}")))
}
