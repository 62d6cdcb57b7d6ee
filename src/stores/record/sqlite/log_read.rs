//! What the log is asked for: the places reached, and what counters are rebuilt from.

use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::SqliteRecord;
use super::columns::{Columns, bytes, int, key_id, micros};
use super::log_rows::first_place;
use super::log_sums::{Width, cell_of};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, RequestId};
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::{OrgUsage, RecordError, SPOOL_LEASE, UsageCell};

/// Of what came since a place and was admitted since an instant.
pub(super) const ADMITTED_SINCE: &str =
    "SELECT organization, key, at FROM requests JOIN scopes ON scopes.number = requests.scope
     WHERE place >= ? AND at >= ? AND admitted AND organization <> '' ORDER BY at";

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

    pub(super) async fn usage_since(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError> {
        self.log_readers.ask(move |db| Ok((cells(db, since)?, totals(db)?))).await
    }

    pub(super) async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError> {
        let rows = sqlx::query(ADMITTED_SINCE)
            .bind(first_place(since.minus(ARRIVED_BEFORE_MAX)))
            .bind(micros(since))
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                let row = Columns(row);
                Ok((row.org("organization")?, row.opt_uuid("key")?.map(KeyId), row.instant("at")?))
            })
            .collect()
    }

    pub(super) async fn usage_of(
        &self,
        org: &OrgId,
        since: Timestamp,
        recent: Timestamp,
    ) -> Result<OrgUsage, RecordError> {
        // One transaction: all of it is of the same instant.
        let mut tx = self.readers.begin().await?;
        let cells = sqlx::query(
            "SELECT organization, key, cell, admitted, credits, microcents FROM usage_5m
             WHERE organization = ? AND cell >= ? AND admitted > 0 ORDER BY cell",
        )
        .bind(org.as_str())
        .bind(cell_of(since))
        .fetch_all(&mut *tx)
        .await?;
        let totals = sqlx::query(
            "SELECT key, requests FROM key_usage
             WHERE key IN (SELECT id FROM keys WHERE organization = ?) AND requests > 0",
        )
        .bind(org.as_str())
        .fetch_all(&mut *tx)
        .await?;
        let recent = sqlx::query(
            "SELECT at FROM requests JOIN scopes ON scopes.number = requests.scope
             WHERE place >= ? AND at >= ? AND admitted AND organization = ? ORDER BY at",
        )
        .bind(first_place(recent.minus(ARRIVED_BEFORE_MAX)))
        .bind(micros(recent))
        .bind(org.as_str())
        .fetch_all(&mut *tx)
        .await?;
        let shipped = sqlx::query("SELECT id, shipped FROM spools WHERE shipped IS NOT NULL")
            .fetch_all(&mut *tx)
            .await?;
        let total = |row| {
            let row = Columns(row);
            Ok((row.key_id("key")?, row.count("requests")?))
        };
        let spool = |row| {
            let row = Columns(row);
            Ok((row.uuid("id")?, row.count("shipped")?))
        };
        Ok(OrgUsage {
            cells: cells.iter().map(|row| cell(&Columns(row))).collect::<Result<_, _>>()?,
            totals: totals.iter().map(total).collect::<Result<_, RecordError>>()?,
            recent: recent.iter().map(|row| Columns(row).instant("at")).collect::<Result<_, _>>()?,
            shipped: shipped.iter().map(spool).collect::<Result<_, RecordError>>()?,
        })
    }
}

fn cell(row: &Columns<'_>) -> Result<UsageCell, RecordError> {
    Ok(UsageCell {
        organization: row.org("organization")?,
        key: row.opt_uuid("key")?.map(KeyId),
        at: Width::Cell.start(row.count("cell")?),
        admitted: row.count("admitted")?,
        cost: Cost { credits: row.count("credits")?, microcents: row.count("microcents")? },
    })
}

/// A month of a thousand keys are millions of these: they are read at once, and put in the order of time here.
fn cells(db: &Connection, since: Timestamp) -> Result<Vec<UsageCell>, RecordError> {
    let mut cells = db.prepare(
        "SELECT organization, key, cell, admitted, credits, microcents FROM usage_5m WHERE cell >= ? AND admitted > 0",
    )?;
    let mut rows = cells.query([cell_of(since)])?;
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
