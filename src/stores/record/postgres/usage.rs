//! What organizations have used, from which their counters are rebuilt: many of them in one go.

use std::collections::HashMap;

use sqlx::PgTransaction;

use super::columns::{Columns, int, micros};
use super::log_read::{ARRIVED_BEFORE_MAX, cell};
use super::{PostgresRecord, within};
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;
use crate::stores::record::cells::Width;
use crate::stores::record::places::first_place;
use crate::stores::record::{OrgUsage, RecordError, SPOOL_LEASE};

/// Rows that are read of each kind for several organizations at most; where there are more, these are asked of in halves.
const ROWS_MAX: usize = 100_000;

/// An organization, and since when its cells and its single admissions are wanted.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub org: OrgId,
    pub since: Timestamp,
    pub recent: Timestamp,
}

const TOTALS: &str = "SELECT s.organization, u.key, u.requests
     FROM scopes s JOIN key_usage u ON u.key = s.key AND u.organization = s.organization
     WHERE s.kind = 0 AND s.organization = ANY ($1) AND u.requests > 0
       AND EXISTS (SELECT FROM keys k WHERE k.id = s.key)";

type Found = HashMap<OrgId, OrgUsage>;

impl Asked {
    /// What was asked for, of what was found for all who asked.
    pub fn only(&self, found: &OrgUsage) -> OrgUsage {
        let since = Width::Cell.start(Width::Cell.cell_of(self.since));
        OrgUsage {
            cells: found.cells.iter().filter(|cell| cell.at >= since).cloned().collect(),
            totals: found.totals.clone(),
            recent: found.recent.iter().filter(|at| **at >= self.recent).copied().collect(),
            shipped: found.shipped.clone(),
            alive: found.alive.clone(),
        }
    }
}

/// What every organization has used, each as of one instant.
pub(super) async fn of_all(record: &PostgresRecord, asked: &[Asked]) -> Result<Found, RecordError> {
    let (mut found, mut parts) = (Found::new(), vec![asked]);
    while let Some(part) = parts.pop() {
        match within(record.answer_timeout, of_some(record, part)).await? {
            Some(usage) => found.extend(usage),
            None => {
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([one, other]);
            }
        }
    }
    Ok(found)
}

/// `None` where that is too much at once.
async fn of_some(record: &PostgresRecord, asked: &[Asked]) -> Result<Option<Found>, RecordError> {
    let most = if asked.len() > 1 { ROWS_MAX } else { usize::MAX };
    let least = |of: fn(&Asked) -> Timestamp| asked.iter().map(of).min().unwrap_or_default();
    let (since, recent) = (least(|asked| asked.since), least(|asked| asked.recent));
    // One snapshot: all of it is of the same instant.
    let mut tx = record.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let blank = spools(&mut tx).await?;
    let mut found: Found = asked.iter().map(|asked| (asked.org.clone(), blank.clone())).collect();
    let organizations = logged(&mut tx, asked).await?;
    if organizations.is_empty() {
        return Ok(Some(found));
    }

    let cells = sqlx::query(
        "SELECT organization, key, cell, admitted, credits, microcents FROM usage_5m
         WHERE organization = ANY ($1) AND cell >= $2 AND admitted > 0 LIMIT $3",
    )
    .bind(&organizations)
    .bind(int(Width::Cell.cell_of(since)))
    .bind(beyond(most))
    .fetch_all(&mut *tx)
    .await?;
    let singly = sqlx::query(
        "SELECT organization, at FROM requests
         WHERE organization = ANY ($3) AND place >= $1 AND at >= $2 AND admitted LIMIT $4",
    )
    .bind(first_place(recent.minus(ARRIVED_BEFORE_MAX)))
    .bind(micros(recent))
    .bind(&organizations)
    .bind(beyond(most))
    .fetch_all(&mut *tx)
    .await?;
    if cells.len() > most || singly.len() > most {
        return Ok(None);
    }
    // By the scopes of keys that were ever used: an organization may have a thousand keys for one of these, and where all
    // its keys are asked of, reading the sums of all keys there are looks cheaper.
    let totals = sqlx::query(TOTALS).bind(&organizations).fetch_all(&mut *tx).await?;
    for row in &cells {
        let cell = cell(&Columns(row))?;
        found.entry(cell.organization.clone()).or_default().cells.push(cell);
    }
    for row in &singly {
        let row = Columns(row);
        found.entry(row.org("organization")?).or_default().recent.push(row.instant("at")?);
    }
    for row in &totals {
        let row = Columns(row);
        found
            .entry(row.org("organization")?)
            .or_default()
            .totals
            .push((row.key_id("key")?, row.count("requests")?));
    }
    for usage in found.values_mut() {
        usage.cells.sort_by_key(|cell| cell.at);
        usage.recent.sort_unstable();
    }
    Ok(Some(found))
}

/// Organizations of which there ever was a row: whose rows come for the first time are given a scope with them.
async fn logged(tx: &mut PgTransaction<'_>, asked: &[Asked]) -> Result<Vec<String>, RecordError> {
    let rows = sqlx::query("SELECT organization FROM scopes WHERE kind = 1 AND organization = ANY ($1)")
        .bind(asked.iter().map(|asked| asked.org.as_str().to_owned()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(|row| Columns(row).text("organization")).collect()
}

/// Nothing but the last batch of every spool, and which are alive.
async fn spools(tx: &mut PgTransaction<'_>) -> Result<OrgUsage, RecordError> {
    let rows =
        sqlx::query("SELECT id, shipped, seen_at > now() - make_interval(secs => $1) AS alive FROM spools")
            .bind(SPOOL_LEASE.as_secs_f64())
            .fetch_all(&mut **tx)
            .await?;
    let mut usage = OrgUsage::default();
    for row in &rows {
        let row = Columns(row);
        let spool = row.uuid("id")?;
        usage.shipped.extend(row.opt_count("shipped")?.map(|last| (spool, last)));
        usage.alive.extend(row.flag("alive")?.then_some(spool));
    }
    Ok(usage)
}

/// One more, by which it is seen that there are more.
fn beyond(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)
}
