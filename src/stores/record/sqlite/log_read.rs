//! What the log is asked for: the places reached, and what counters are rebuilt from.

use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::SqliteRecord;
use super::columns::{Columns, bytes, int, key_id};
use super::log_blocks::back_to;
use super::log_sums::{Width, cell_of};
use super::names::EVERYTHING;
use super::reports::number_of;
use super::reports::rows::Words;
use super::sheets::Reader;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, RequestId};
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::places::first_place;
use crate::stores::record::reports::Scope;
use crate::stores::record::{OrgUsage, RecordError, SPOOL_LEASE, UsageCell};

/// How much earlier than its admission, on the clock of the counters, a request may have arrived, on the
/// gateway's: the time between the two, and what the clocks differ by.
const ARRIVED_BEFORE_MAX: Duration = Duration::from_secs(60);

impl SqliteRecord {
    pub(super) async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        let rows = sqlx::query("SELECT segment, bytes FROM spool_cursors ORDER BY segment")
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.text("segment")?, row.count("bytes")?))
            })
            .collect()
    }

    pub(super) async fn carried(&self, spool: Uuid) -> Result<Vec<Admission<'static>>, RecordError> {
        let mut tx = self.write().await?;
        // First, so that nobody takes from this one what it takes.
        sqlx::query(
            "INSERT INTO spools (id, seen_at) VALUES (?, unixepoch())
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(bytes(&spool))
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "UPDATE open_admissions SET spool = ?1 WHERE spool NOT IN
             (SELECT id FROM spools WHERE seen_at > unixepoch() - ?2)",
        )
        .bind(bytes(&spool))
        .bind(int(SPOOL_LEASE.as_secs()))
        .execute(&mut *tx)
        .await?;
        let rows = sqlx::query("SELECT * FROM open_admissions WHERE spool = ? ORDER BY at, id")
            .bind(bytes(&spool))
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        rows.iter().map(|row| admission(&Columns(row))).collect()
    }

    pub(super) async fn gateways_beside(&self, spool: Uuid, within: Duration) -> Result<u64, RecordError> {
        let others: i64 =
            sqlx::query_scalar("SELECT count(*) FROM spools WHERE id <> ? AND seen_at > unixepoch() - ?")
                .bind(bytes(&spool))
                .bind(int(within.as_secs()))
                .fetch_one(&self.readers)
                .await?;
        Ok(others.max(0) as u64)
    }

    pub(super) async fn usage_since(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError> {
        self.log_readers.ask(move |db| Ok((cells(db, since, None)?, totals(db)?))).await
    }

    pub(super) async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError> {
        self.log_readers
            .ask(move |db| {
                let mut words = Words::new(db)?;
                let mut all = Vec::new();
                admitted(db, EVERYTHING, since, |scope, at| {
                    if let (Some(organization), key) = words.owner(scope)? {
                        all.push((OrgId::parse(organization).map_err(RecordError::Corrupt)?, *key, at));
                    }
                    Ok(())
                })?;
                all.sort_by_key(|(.., at)| *at);
                Ok(all)
            })
            .await
    }

    pub(super) async fn usage_of(
        &self,
        org: &OrgId,
        since: Timestamp,
        recent: Timestamp,
    ) -> Result<OrgUsage, RecordError> {
        let organization = org.clone();
        self.log_readers
            .ask(move |db| {
                let mut usage = OrgUsage {
                    cells: cells(db, since, Some(&organization))?,
                    totals: totals_of(db, &organization)?,
                    ..OrgUsage::default()
                };
                add_spools(db, &mut usage)?;
                if let Some(scope) = number_of(db, &Scope::Organization(organization))? {
                    admitted(db, scope, recent, |_, at| {
                        usage.recent.push(at);
                        Ok(())
                    })?;
                    usage.recent.sort_unstable();
                }
                Ok(usage)
            })
            .await
    }
}

/// Hands the own scope and the instant of every row of a scope that was admitted since an instant to `each`.
fn admitted(
    db: &Connection,
    scope: u32,
    since: Timestamp,
    mut each: impl FnMut(u32, Timestamp) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let mut numbers = Vec::new();
    back_to(db, scope, first_place(since.minus(ARRIVED_BEFORE_MAX)), |entry| numbers.push(entry.number))?;
    // As they stand: each sheet is read once.
    numbers.sort_unstable();
    let mut reader = Reader::new(db)?;
    for number in numbers {
        if let Some(row) = reader.row(number)?.filter(|row| row.admitted && row.at >= since) {
            each(row.scope, row.at)?;
        }
    }
    Ok(())
}

/// A month of a thousand keys are millions of these: they are read at once, and put in the order of time here.
fn cells(db: &Connection, since: Timestamp, of: Option<&OrgId>) -> Result<Vec<UsageCell>, RecordError> {
    const OF_ALL: &str = "SELECT organization, key, cell, admitted, credits, microcents FROM usage_5m
         WHERE cell >= ? AND admitted > 0";
    let since = cell_of(since);
    let mut cells = match of {
        None => db.prepare(OF_ALL)?,
        Some(_) => db.prepare(&format!("{OF_ALL} AND organization = ?"))?,
    };
    let mut rows = match of {
        None => cells.query([since])?,
        Some(organization) => cells.query((since, organization.as_str()))?,
    };
    let (mut cells, mut last) = (Vec::<UsageCell>::new(), String::new());
    while let Some(row) = rows.next()? {
        let number = |column: usize| row.get::<_, i64>(column).map(|number| number.max(0) as u64);
        let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let organization = match cells.last() {
            Some(before) if last == text => before.organization.clone(),
            _ => OrgId::parse(text).map_err(RecordError::Corrupt)?,
        };
        text.clone_into(&mut last);
        let key = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        cells.push(UsageCell {
            organization,
            key: if key.is_empty() { None } else { Some(key_id(key)?) },
            at: Width::Cell.start(number(2)?),
            admitted: number(3)?,
            cost: Cost { credits: number(4)?, microcents: number(5)? },
        });
    }
    cells.sort_by_key(|cell| cell.at);
    Ok(cells)
}

fn totals(db: &Connection) -> Result<Vec<(OrgId, KeyId, u64)>, RecordError> {
    let mut totals = db.prepare("SELECT organization, key, requests FROM key_usage WHERE requests > 0")?;
    let mut rows = totals.query([])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let organization: String = row.get(0)?;
        let key: Vec<u8> = row.get(1)?;
        let requests = row.get::<_, i64>(2)?.max(0) as u64;
        totals.push((OrgId::parse(&organization).map_err(RecordError::Corrupt)?, key_id(&key)?, requests));
    }
    Ok(totals)
}

/// Of the keys that an organization has now.
fn totals_of(db: &Connection, organization: &OrgId) -> Result<Vec<(KeyId, u64)>, RecordError> {
    let mut totals = db.prepare(
        "SELECT key, requests FROM key_usage
         WHERE key IN (SELECT id FROM keys WHERE organization = ?) AND requests > 0",
    )?;
    let mut rows = totals.query([organization.as_str()])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        totals.push((
            key_id(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?,
            row.get::<_, i64>(1)?.max(0) as u64,
        ));
    }
    Ok(totals)
}

/// Puts down the last batch of every spool, and which are alive.
fn add_spools(db: &Connection, usage: &mut OrgUsage) -> Result<(), RecordError> {
    let mut spools = db.prepare("SELECT id, shipped, seen_at > unixepoch() - ? FROM spools")?;
    let mut rows = spools.query([SPOOL_LEASE.as_secs() as i64])?;
    while let Some(row) = rows.next()? {
        let spool = Uuid::from_bytes(row.get(0)?);
        usage.shipped.extend(row.get::<_, Option<i64>>(1)?.map(|last| (spool, last.max(0) as u64)));
        usage.alive.extend(row.get::<_, bool>(2)?.then_some(spool));
    }
    Ok(())
}

fn admission(row: &Columns<'_>) -> Result<Admission<'static>, RecordError> {
    Ok(Admission {
        id: RequestId(row.uuid("id")?),
        at: row.instant("at")?,
        key: row.opt_uuid("key")?.map(KeyId),
        organization: row.opt_text("organization")?.map(Into::into),
        project: row.opt_text("project")?.map(Into::into),
        estimate: Cost { credits: row.count("credits")?, microcents: row.count("microcents")? },
    })
}
