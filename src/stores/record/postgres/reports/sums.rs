//! Sums over a span: whole days from their own rows, what is left of a day at either end from its five minutes.

use std::cmp::Reverse;
use std::ops::Range;

use ahash::AHashMap;
use sqlx::postgres::{PgConnection, PgRow};

use super::super::columns::{Columns, int, unreadable};
use super::super::log_sums;
use super::super::scopes::number_of;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::cells::{Width, cells, pieces};
use crate::stores::record::parts::{self, Count, Name, Part, Parts};
use crate::stores::record::reports::{
    Failures, PARTS_MAX, POINTS_MAX, Point, Scope, Share, Span, Step, Totals,
};

/// The stored sums of some pieces, in the order of time, and the width of each.
async fn sums(
    db: &mut PgConnection,
    scope: &Scope,
    pieces: &[(Width, Range<u64>)],
) -> Result<Vec<(Width, PgRow)>, RecordError> {
    let mut found = Vec::new();
    let Some(scope) = number_of(db, scope).await? else { return Ok(found) };
    for (width, cells) in pieces.iter().filter(|(_, cells)| !cells.is_empty()) {
        let rows = sqlx::query(
            "SELECT * FROM usage WHERE scope = $1 AND width = $2 AND cell >= $3 AND cell < $4 ORDER BY cell",
        )
        .bind(scope)
        .bind(*width as i32)
        .bind(int(cells.start))
        .bind(int(cells.end))
        .fetch_all(&mut *db)
        .await?;
        found.extend(rows.into_iter().map(|row| (*width, row)));
    }
    Ok(found)
}

pub(super) async fn totals(db: &mut PgConnection, scope: &Scope, span: Span) -> Result<Totals, RecordError> {
    let mut sum = Totals::default();
    for (_, row) in sums(db, scope, &pieces(span)).await? {
        sum.add(&log_sums::totals(&Columns(&row))?);
    }
    Ok(sum)
}

pub(super) async fn series(
    db: &mut PgConnection,
    scope: &Scope,
    span: Span,
    step: Step,
) -> Result<Vec<Point>, RecordError> {
    let mut points = Vec::<Point>::new();
    let width = step.width().as_secs();
    let pieces = match step {
        Step::Day => pieces(span).to_vec(),
        Step::Hour | Step::FiveMinutes => vec![(Width::Cell, cells(span))],
    };
    for (width_of_sum, row) in sums(db, scope, &pieces).await? {
        let row = Columns(&row);
        let totals = log_sums::totals(&row)?;
        let at = width_of_sum.start(row.count("cell")?);
        let at = Timestamp::from_seconds(at.seconds() / width * width);
        let full = points.len() == POINTS_MAX;
        match points.last_mut() {
            Some(point) if point.at == at => point.totals.add(&totals),
            _ if full => break,
            _ => points.push(Point { at, totals }),
        }
    }
    Ok(points)
}

pub(super) async fn by_tier(
    db: &mut PgConnection,
    scope: &Scope,
    span: Span,
) -> Result<Vec<Share>, RecordError> {
    let rows = sums(db, scope, &pieces(span)).await?;
    shares(&rows, PARTS_MAX, |part| match part {
        Part::Tier(name) => Some(name),
        _ => None,
    })
}

pub(super) async fn top_domains(
    db: &mut PgConnection,
    scope: &Scope,
    span: Span,
    most: usize,
) -> Result<Vec<Share>, RecordError> {
    let rows = sums(db, scope, &pieces(span)).await?;
    shares(&rows, most, |part| match part {
        Part::Domain(name) => Some(name),
        _ => None,
    })
}

fn shares(
    rows: &[(Width, PgRow)],
    most: usize,
    of: impl Fn(Part<'_>) -> Option<Option<Name<'_>>>,
) -> Result<Vec<Share>, RecordError> {
    let mut named = Vec::new();
    let mut rest = Count::default();
    for (part, count) in parts_in(rows)? {
        match of(part) {
            Some(Some(name)) => named.push((text_of(name)?, count)),
            Some(None) => rest.add(&count),
            None => {}
        }
    }
    named.sort_unstable_by_key(|(name, count)| (Reverse(count.requests), *name));
    named.drain(most.min(named.len())..).for_each(|(_, count)| rest.add(&count));
    let share = |name: Option<&str>, count: Count| Share {
        name: name.map(str::to_owned),
        requests: count.requests,
        success: count.success,
        cost: count.cost,
    };
    let mut shares: Vec<_> = named.into_iter().map(|(name, count)| share(Some(name), count)).collect();
    shares.extend((rest.requests > 0).then(|| share(None, rest)));
    Ok(shares)
}

pub(super) async fn errors(
    db: &mut PgConnection,
    scope: &Scope,
    span: Span,
) -> Result<Vec<Failures>, RecordError> {
    let rows = sums(db, scope, &pieces(span)).await?;
    let mut kinds = Vec::new();
    let mut rest = 0_u64;
    for (part, count) in parts_in(&rows)? {
        match part {
            Part::Failure(status, code) => {
                kinds.push((status, code.map(text_of).transpose()?.unwrap_or_default(), count.requests));
            }
            Part::Failures => rest = rest.saturating_add(count.requests),
            Part::Tier(_) | Part::Domain(_) => {}
        }
    }
    kinds.sort_unstable_by_key(|(status, code, requests)| (Reverse(*requests), *status, *code));
    rest += kinds.drain(PARTS_MAX.min(kinds.len())..).map(|(.., requests)| requests).sum::<u64>();
    let mut errors: Vec<_> = kinds
        .into_iter()
        .map(|(status, code, requests)| Failures { status, code: code.to_owned(), requests })
        .collect();
    errors.extend((rest > 0).then(|| Failures { status: 0, code: "other".into(), requests: rest }));
    Ok(errors)
}

/// Equal parts added together.
fn parts_in(rows: &[(Width, PgRow)]) -> Result<AHashMap<Part<'_>, Count>, RecordError> {
    let mut sums = AHashMap::<_, Count>::new();
    let mut parts = Parts::new();
    for (_, row) in rows {
        let bytes: &[u8] = sqlx::Row::try_get(row, "parts")?;
        parts::decode(bytes, &mut parts).ok_or_else(|| unreadable("usage.parts"))?;
        parts.drain(..).for_each(|(part, count)| sums.entry(part).or_default().add(&count));
    }
    Ok(sums)
}

/// Here every name is a text: nothing gives numbers to them.
fn text_of(name: Name<'_>) -> Result<&str, RecordError> {
    match name {
        Name::Text(text) => Ok(text),
        Name::Number(_) => Err(unreadable("usage.parts")),
    }
}
