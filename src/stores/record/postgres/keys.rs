//! Keys: made, changed, rotated, removed, and what a digest leads to.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresRecord;
use super::columns::{Columns, micros, opt_int, opt_micros, unreadable};
use super::organizations;
use super::projects;
use super::trail::{Told, key_changed, tell};
use crate::domain::id::{KeyId, OrgId, UserId};
use crate::domain::key::{Key, Scopes};
use crate::domain::limit::Quotas;
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, KeyEdit, KeyFilter, KeyRecord, NewKey, RecordError, snapshot};

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.*, u.last_used_at, coalesce(u.requests, 0) AS requests
             FROM keys k LEFT JOIN key_usage u ON u.key = k.id ",
            $rest
        )
    };
}

/// Keys of one organization. Arguments: whether revoked ones too, the organization.
pub(super) const OF_ORGANIZATION: &str =
    select_keys!("WHERE ($1 OR k.revoked_at IS NULL) AND k.organization = $2 ORDER BY k.name, k.created_at");

#[async_trait]
impl KeyRecord for PostgresRecord {
    async fn create_key(&self, new: &NewKey, actor: &Actor, now: Timestamp) -> Result<Key, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            organizations::find_id(&mut tx, &new.organization).await?;
            let project = projects::of_organization(&mut tx, &new.organization, new.project.as_ref()).await?;
            name_is_free(&mut tx, &new.organization, &new.name, new.id).await?;
            sqlx::query(
                "INSERT INTO keys (id, organization, project, name, category, prefix, hint, scope_read, scope_write,
                     expires_at, allowed_ips, quota_total, quota_daily, quota_weekly, quota_monthly, created_by,
                     created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            )
            .bind(new.id.0)
            .bind(new.organization.as_str())
            .bind(project.as_str())
            .bind(&new.name)
            .bind(&new.category)
            .bind(&new.prefix)
            .bind(&new.hint)
            .bind(new.scopes.read)
            .bind(new.scopes.write)
            .bind(opt_micros(new.expires_at))
            .bind(new.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .bind(opt_int(new.quotas.total))
            .bind(opt_int(new.quotas.daily))
            .bind(opt_int(new.quotas.weekly))
            .bind(opt_int(new.quotas.monthly))
            .bind(new.created_by.map(|user| user.0))
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            insert_secret(&mut tx, &new.digest, new.id).await?;
            let key = find(&mut tx, new.id).await?;
            changed(&mut tx, "key.create", None, Some(&key), actor, now).await?;
            tx.commit().await?;
            Ok(key)
        })
        .await
    }

    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<Key>, RecordError> {
        self.within(async {
            // Two statements, as one that covers both could use no index for either.
            let query = match &filter.organization {
                Some(org) => sqlx::query(OF_ORGANIZATION).bind(filter.revoked).bind(org.as_str()),
                None => sqlx::query(select_keys!(
                    "WHERE $1 OR k.revoked_at IS NULL ORDER BY k.organization, k.name, k.created_at"
                ))
                .bind(filter.revoked),
            };
            let rows = query.fetch_all(&self.pool).await?;
            rows.iter().map(key).collect()
        })
        .await
    }

    async fn key(&self, id: KeyId) -> Result<Key, RecordError> {
        self.within(async { find(&mut *self.pool.acquire().await?, id).await }).await
    }

    async fn key_named(&self, org: &OrgId, name: &str) -> Result<Key, RecordError> {
        self.within(async {
            let row = sqlx::query(select_keys!(
                "WHERE k.organization = $1 AND k.name = $2 AND k.revoked_at IS NULL"
            ))
            .bind(org.as_str())
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
            row.map_or_else(
                || Err(RecordError::NotFound(format!("`{org}` has no key named `{name}`"))),
                |row| key(&row),
            )
        })
        .await
    }

    async fn edit_key(
        &self,
        id: KeyId,
        edit: &KeyEdit,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find_living(&mut tx, id).await?;
            let mut after = before.clone();
            if let Some(name) = &edit.name {
                name_is_free(&mut tx, &before.organization, name, id).await?;
                after.name.clone_from(name);
            }
            after.active = edit.active.unwrap_or(before.active);
            after.revoked_at = edit.revoke.then_some(now);
            after.quotas = edit.quotas.unwrap_or(before.quotas);
            after.limit = edit.limit.unwrap_or(before.limit);
            if after == before {
                return Ok(before);
            }
            update(&mut tx, &after).await?;
            changed(&mut tx, verb(edit), Some(&before), Some(&after), actor, now).await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        digest: Digest,
        hint: &str,
        old_until: Option<Timestamp>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find_living(&mut tx, id).await?;
            insert_secret(&mut tx, &digest, id).await?;
            let after = Key { hint: hint.to_owned(), ..before.clone() };
            // Told while the old secrets are still there, so that what becomes of them is told too.
            changed(&mut tx, "key.rotate", Some(&before), Some(&after), actor, now).await?;
            sqlx::query(
                "DELETE FROM key_secrets WHERE key = $1 AND digest <> $2 AND ($3 IS NULL OR valid_until <= $4)",
            )
            .bind(id.0)
            .bind(digest.0.as_slice())
            .bind(opt_micros(old_until))
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "UPDATE key_secrets SET valid_until = least(coalesce(valid_until, $1), $1)
                 WHERE key = $2 AND digest <> $3",
            )
            .bind(opt_micros(old_until))
            .bind(id.0)
            .bind(digest.0.as_slice())
            .execute(&mut *tx)
            .await?;
            sqlx::query("UPDATE keys SET hint = $1 WHERE id = $2")
                .bind(hint)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }

    async fn delete_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find(&mut tx, id).await?;
            let used = sqlx::query(
                "SELECT 1 FROM key_usage WHERE key = $1 UNION ALL SELECT 1 FROM open_admissions WHERE key = $1",
            )
            .bind(id.0)
            .fetch_optional(&mut *tx)
            .await?;
            if used.is_some() {
                return Err(RecordError::Conflict(format!(
                    "the key `{}` has been used and its history is kept: revoke it instead",
                    before.name
                )));
            }
            changed(&mut tx, "key.delete", Some(&before), None, actor, now).await?;
            // Its secrets go with it (ON DELETE CASCADE).
            sqlx::query("DELETE FROM keys WHERE id = $1").bind(id.0).execute(&mut *tx).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// What an edit is called in the audit trail: its gravest part.
fn verb(edit: &KeyEdit) -> &'static str {
    match edit {
        KeyEdit { revoke: true, .. } => "key.revoke",
        KeyEdit { active: Some(false), .. } => "key.disable",
        KeyEdit { active: Some(true), .. } => "key.enable",
        KeyEdit { quotas: Some(_), .. } => "key.set_quotas",
        KeyEdit { limit: Some(_), .. } => "key.set_limit",
        _ => "key.rename",
    }
}

async fn update(tx: &mut PgConnection, key: &Key) -> Result<(), RecordError> {
    sqlx::query(
        "UPDATE keys SET name = $1, active = $2, revoked_at = $3,
             quota_total = $4, quota_daily = $5, quota_weekly = $6, quota_monthly = $7,
             limit_requests = $8, limit_microcents = $9, limit_period = $10, limit_enabled = $11
         WHERE id = $12",
    )
    .bind(&key.name)
    .bind(key.active)
    .bind(opt_micros(key.revoked_at))
    .bind(opt_int(key.quotas.total))
    .bind(opt_int(key.quotas.daily))
    .bind(opt_int(key.quotas.weekly))
    .bind(opt_int(key.quotas.monthly))
    .bind(opt_int(key.limit.and_then(|limit| limit.requests)))
    .bind(opt_int(key.limit.and_then(|limit| limit.microcents)))
    .bind(key.limit.map(|limit| limit.period.name()))
    .bind(key.limit.is_some_and(|limit| limit.enabled))
    .bind(key.id.0)
    .execute(tx)
    .await?;
    Ok(())
}

async fn changed(
    tx: &mut PgConnection,
    what: &'static str,
    before: Option<&Key>,
    after: Option<&Key>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    let Some(key) = after.or(before) else { return Ok(()) };
    let subject = key.id.to_string();
    let (before, after) = (before.map(snapshot::key), after.map(snapshot::key));
    tell(tx, Told { what, subject: &subject, before, after }, actor, now).await?;
    key_changed(tx, key.id, now).await
}

async fn insert_secret(tx: &mut PgConnection, digest: &Digest, key: KeyId) -> Result<(), RecordError> {
    sqlx::query("INSERT INTO key_secrets (digest, key) VALUES ($1, $2)")
        .bind(digest.0.as_slice())
        .bind(key.0)
        .execute(tx)
        .await
        .map_err(|error| match error.as_database_error() {
            Some(cause) if cause.is_unique_violation() => {
                RecordError::Conflict("this secret belongs to a key already".into())
            }
            _ => error.into(),
        })?;
    Ok(())
}

async fn name_is_free(
    tx: &mut PgConnection,
    org: &OrgId,
    name: &str,
    except: KeyId,
) -> Result<(), RecordError> {
    let taken = sqlx::query(
        "SELECT 1 FROM keys WHERE organization = $1 AND name = $2 AND revoked_at IS NULL AND id <> $3",
    )
    .bind(org.as_str())
    .bind(name)
    .bind(except.0)
    .fetch_optional(tx)
    .await?;
    taken.map_or(Ok(()), |_| {
        Err(RecordError::Conflict(format!(
            "`{org}` has a key named `{name}` already: choose another name, or revoke that key first"
        )))
    })
}

async fn find(tx: &mut PgConnection, id: KeyId) -> Result<Key, RecordError> {
    let row = sqlx::query(select_keys!("WHERE k.id = $1")).bind(id.0).fetch_optional(tx).await?;
    row.map_or_else(|| Err(RecordError::NotFound(format!("there is no key `{id}`"))), |row| key(&row))
}

async fn find_living(tx: &mut PgConnection, id: KeyId) -> Result<Key, RecordError> {
    let key = find(tx, id).await?;
    if key.revoked_at.is_some() {
        return Err(RecordError::Conflict(format!(
            "the key `{}` was revoked and cannot be changed: create a new one",
            key.name
        )));
    }
    Ok(key)
}

fn key(row: &PgRow) -> Result<Key, RecordError> {
    let row = Columns(row);
    Ok(Key {
        id: row.key_id("id")?,
        organization: row.org("organization")?,
        project: row.project("project")?,
        name: row.text("name")?,
        category: row.text("category")?,
        prefix: row.text("prefix")?,
        hint: row.text("hint")?,
        scopes: scopes(&row)?,
        active: row.flag("active")?,
        expires_at: row.opt_instant("expires_at")?,
        revoked_at: row.opt_instant("revoked_at")?,
        allowed_ips: allowed_ips(&row)?,
        quotas: quotas(&row)?,
        limit: row.limit()?,
        created_by: row.opt_uuid("created_by")?.map(UserId),
        created_at: row.instant("created_at")?,
        last_used_at: row.opt_instant("last_used_at")?,
        requests: row.count("requests")?,
    })
}

pub(super) fn scopes(row: &Columns<'_>) -> Result<Scopes, RecordError> {
    Ok(Scopes { read: row.flag("scope_read")?, write: row.flag("scope_write")? })
}

pub(super) fn allowed_ips(row: &Columns<'_>) -> Result<Vec<ipnet::IpNet>, RecordError> {
    let text = row.text("allowed_ips")?;
    text.split_ascii_whitespace().map(|net| net.parse().map_err(|_| unreadable("keys.allowed_ips"))).collect()
}

pub(super) fn quotas(row: &Columns<'_>) -> Result<Quotas, RecordError> {
    Ok(Quotas {
        total: row.opt_count("quota_total")?,
        daily: row.opt_count("quota_daily")?,
        weekly: row.opt_count("quota_weekly")?,
        monthly: row.opt_count("quota_monthly")?,
    })
}
