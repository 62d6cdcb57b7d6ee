//! What the keyring asks: what a digest leads to, and what has changed.

use async_trait::async_trait;
use sqlx::Row as _;

use super::columns::{Columns, int, unreadable};
use super::engine::{LAST_CHANGE, Record};
use super::keys::{allowed_ips, quotas, scopes};
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::stores::record::{Change, Changed, GrantRecord, RecordError};

#[async_trait]
impl GrantRecord for Record {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        self.within(self.grant_of(digest)).await
    }

    async fn has_imported_keys(&self) -> Result<bool, RecordError> {
        self.within(async {
            let row = sqlx::query(
                "SELECT 1 FROM key_secrets s JOIN keys k ON k.id = s.key
                 WHERE s.imported AND k.revoked_at IS NULL LIMIT 1",
            );
            Ok(row.fetch_optional(self.readers()).await?.is_some())
        })
        .await
    }

    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        self.within(self.organization_of(id_or_name)).await
    }

    async fn changes_after(&self, sequence: i64, most: usize) -> Result<Vec<Change>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT sequence, at, digest, organization FROM changes WHERE sequence > $1 ORDER BY sequence LIMIT $2",
            )
            .bind(sequence)
            .bind(int(most as u64))
            .fetch_all(self.readers())
            .await?;
            rows.iter().map(|row| change(&Columns(row))).collect()
        })
        .await
    }

    async fn last_change(&self) -> Result<i64, RecordError> {
        self.within(async {
            let last = sqlx::query(LAST_CHANGE).fetch_one(self.readers()).await?;
            Columns(&last).number("last")
        })
        .await
    }
}

/// What a row of `keys` grants, with the end of the secret that was asked with.
pub(in crate::stores::record) fn grant(row: &Columns<'_>) -> Result<Grant, RecordError> {
    Ok(Grant {
        id: row.key_id("id")?,
        organization: row.org("organization")?,
        project: row.project("project")?,
        scopes: scopes(row)?,
        active: row.flag("active")?,
        expires_at: row.opt_instant("expires_at")?,
        secret_until: row.opt_instant("valid_until")?,
        allowed_ips: allowed_ips(row)?.into_boxed_slice(),
        quotas: quotas(row)?,
        limit: row.limit()?.map(Box::new),
    })
}

fn change(row: &Columns<'_>) -> Result<Change, RecordError> {
    let digest: Option<&[u8]> = row.0.try_get("digest")?;
    let subject = match digest {
        Some(digest) => Changed::Secret(Digest(digest.try_into().map_err(|_| unreadable("changes.digest"))?)),
        None => Changed::Organization(row.org("organization")?),
    };
    Ok(Change { sequence: row.number("sequence")?, at: row.instant("at")?, subject })
}
