//! What the log is asked for: the places reached, and what counters are rebuilt from.

use std::time::Duration;

use uuid::Uuid;

use super::PostgresRecord;
use super::columns::{Columns, int, micros};
use super::log::lives;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, RequestId};
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::cells::Width;
use crate::stores::record::places::first_place;
use crate::stores::record::{RecordError, SPOOL_LEASE, UsageCell};

/// Of what came since a place and was admitted since an instant.
pub(super) const ADMITTED_SINCE: &str = "SELECT organization, key, at FROM requests
     WHERE place >= $1 AND at >= $2 AND admitted AND organization IS NOT NULL ORDER BY at";

/// How much earlier than its admission, on the clock of the counters, a request may have arrived, on the
/// gateway's: the time between the two, and what the clocks differ by.
pub(super) const ARRIVED_BEFORE_MAX: Duration = Duration::from_secs(60);

impl PostgresRecord {
    pub(super) async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        self.within(async {
            let rows = sqlx::query("SELECT segment, bytes FROM spool_cursors ORDER BY segment")
                .fetch_all(&self.pool)
                .await?;
            rows.iter()
                .map(|row| {
                    let row = Columns(row);
                    Ok((row.text("segment")?, row.count("bytes")?))
                })
                .collect()
        })
        .await
    }

    pub(super) async fn carried(&self, spool: Uuid) -> Result<Vec<Admission<'static>>, RecordError> {
        self.within(async {
            let mut tx = self.pool.begin().await?;
            // First, so that nobody takes from this one what it takes.
            lives(&mut tx, spool, None).await?;
            sqlx::query(
                "UPDATE open_admissions SET spool = $1 WHERE spool NOT IN
                 (SELECT id FROM spools WHERE seen_at > now() - make_interval(secs => $2))",
            )
            .bind(spool)
            .bind(SPOOL_LEASE.as_secs_f64())
            .execute(&mut *tx)
            .await?;
            let rows = sqlx::query("SELECT * FROM open_admissions WHERE spool = $1 ORDER BY at, id")
                .bind(spool)
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            rows.iter().map(|row| admission(&Columns(row))).collect()
        })
        .await
    }

    pub(super) async fn gateways_beside(&self, spool: Uuid, within: Duration) -> Result<u64, RecordError> {
        let asked =
            "SELECT count(*) FROM spools WHERE id <> $1 AND seen_at > now() - make_interval(secs => $2)";
        self.within(async {
            let others: i64 = sqlx::query_scalar(asked)
                .bind(spool)
                .bind(within.as_secs_f64())
                .fetch_one(&self.pool)
                .await?;
            Ok(others.max(0) as u64)
        })
        .await
    }

    pub(super) async fn usage_since(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError> {
        self.within(async {
            // One snapshot: cells and totals are of the same instant.
            let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let cells = sqlx::query(
                "SELECT organization, key, cell, admitted, credits, microcents FROM usage_5m
                 WHERE cell >= $1 AND admitted > 0 ORDER BY cell",
            )
            .bind(int(Width::Cell.cell_of(since)))
            .fetch_all(&mut *tx)
            .await?;
            let totals = sqlx::query("SELECT organization, key, requests FROM key_usage WHERE requests > 0")
                .fetch_all(&mut *tx)
                .await?;
            let cells = cells.iter().map(|row| cell(&Columns(row))).collect::<Result<_, _>>()?;
            let totals = totals
                .iter()
                .map(|row| {
                    let row = Columns(row);
                    Ok((row.org("organization")?, row.key_id("key")?, row.count("requests")?))
                })
                .collect::<Result<_, RecordError>>()?;
            Ok((cells, totals))
        })
        .await
    }

    pub(super) async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError> {
        self.within(async {
            let rows = sqlx::query(ADMITTED_SINCE)
                .bind(first_place(since.minus(ARRIVED_BEFORE_MAX)))
                .bind(micros(since))
                .fetch_all(&self.pool)
                .await?;
            rows.iter()
                .map(|row| {
                    let row = Columns(row);
                    Ok((row.org("organization")?, row.opt_uuid("key")?.map(KeyId), row.instant("at")?))
                })
                .collect()
        })
        .await
    }
}

/// One row of `usage_5m`.
pub(super) fn cell(row: &Columns<'_>) -> Result<UsageCell, RecordError> {
    Ok(UsageCell {
        organization: row.org("organization")?,
        key: row.opt_uuid("key")?.map(KeyId),
        at: Width::Cell.start(row.count("cell")?),
        admitted: row.count("admitted")?,
        cost: Cost { credits: row.count("credits")?, microcents: row.count("microcents")? },
    })
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
