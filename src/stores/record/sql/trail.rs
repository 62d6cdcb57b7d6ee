//! What every write leaves behind: its row of the audit trail, and its rows of `changes`.

use async_trait::async_trait;
use serde_json::Value;

use super::columns::{Columns, int, micros};
use super::engine::{Connection, Record};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, AuditEntry, AuditFilter, AuditRecord, Page, RecordError};

/// One change, as the audit trail tells it.
pub(in crate::stores::record) struct Told<'a> {
    pub what: &'static str,
    pub subject: &'a str,
    /// Whose that is.
    pub organization: Option<&'a OrgId>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// Writes the audit row of a change, in the transaction of the change.
pub(in crate::stores::record) async fn tell(
    tx: &mut Connection,
    told: Told<'_>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO audit (at, who, origin, what, subject, organization, before, after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(micros(now))
    .bind(&actor.who)
    .bind(&actor.from)
    .bind(told.what)
    .bind(told.subject)
    .bind(told.organization.map(OrgId::as_str))
    .bind(told.before.map(|value| value.to_string()))
    .bind(told.after.map(|value| value.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

/// One row of `changes` for each secret that `key` has at this point of the transaction.
pub(in crate::stores::record) async fn key_changed(
    tx: &mut Connection,
    key: KeyId,
    now: Timestamp,
) -> Result<(), RecordError> {
    sqlx::query("INSERT INTO changes (at, digest) SELECT $1, digest FROM key_secrets WHERE key = $2")
        .bind(micros(now))
        .bind(key.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// One row of `changes` for an organization.
pub(in crate::stores::record) async fn organization_changed(
    tx: &mut Connection,
    org: &OrgId,
    now: Timestamp,
) -> Result<(), RecordError> {
    sqlx::query("INSERT INTO changes (at, organization) VALUES ($1, $2)")
        .bind(micros(now))
        .bind(org.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// `$1` the organization, `$2` the subject, `$3` the last entry seen, `$4` how many. Statements of their own, so
/// that each goes by an index.
const OF_EVERYTHING: &str =
    "SELECT * FROM audit WHERE ($1 IS NULL) AND ($2 IS NULL OR subject = $2) AND id < $3
     ORDER BY id DESC LIMIT $4";
const OF_ORGANIZATION: &str = "SELECT * FROM audit WHERE organization = $1 AND ($2 IS NULL OR subject = $2)
     AND id < $3 ORDER BY id DESC LIMIT $4";

#[async_trait]
impl AuditRecord for Record {
    async fn audit(&self, filter: &AuditFilter, page: &Page<i64>) -> Result<Vec<AuditEntry>, RecordError> {
        self.within(async {
            let statement = if filter.organization.is_some() { OF_ORGANIZATION } else { OF_EVERYTHING };
            let rows = sqlx::query(statement)
                .bind(filter.organization.as_ref().map(OrgId::as_str))
                .bind(filter.subject.as_deref())
                .bind(page.after.unwrap_or(i64::MAX))
                .bind(int(page.most as u64))
                .fetch_all(self.readers())
                .await?;
            rows.iter().map(|row| entry(&Columns(row))).collect()
        })
        .await
    }
}

fn entry(row: &Columns<'_>) -> Result<AuditEntry, RecordError> {
    Ok(AuditEntry {
        id: row.number("id")?,
        at: row.instant("at")?,
        actor: Actor { who: row.text("who")?, from: row.text("origin")? },
        what: row.text("what")?,
        subject: row.text("subject")?,
        organization: row.opt_org("organization")?,
        before: row.opt_text("before")?,
        after: row.opt_text("after")?,
    })
}
