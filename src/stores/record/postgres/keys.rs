//! Keys: made, changed, rotated, removed, and what a digest leads to.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::PostgresRecord;
use super::columns::{Columns, int, micros, opt_int, opt_micros, unreadable};
use super::is_still;
use super::organizations;
use super::projects;
use super::trail::{Told, key_changed, tell};
use crate::domain::id::{KeyId, OrgId, UserId};
use crate::domain::key::{Key, Scopes};
use crate::domain::limit::Quotas;
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::{
    Actor, KeyEdit, KeyFilter, KeyRecord, NewKey, NewSecret, Page, RecordError, seen_key, snapshot,
};

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

/// A part of the keys of one organization.
pub(super) const PAGE: &str = select_keys!(
    "WHERE k.organization = $1 AND ($2 OR k.revoked_at IS NULL) AND (k.created_at, k.id) > ($3, $4)
     ORDER BY k.created_at, k.id LIMIT $5"
);

#[async_trait]
impl KeyRecord for PostgresRecord {
    async fn create_key(&self, new: &NewKey, actor: &Actor, now: Timestamp) -> Result<Key, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let key = insert(&mut tx, new, false, actor, now).await?;
            tx.commit().await?;
            Ok(key)
        })
        .await
    }

    async fn import_keys(
        &self,
        new: &[NewKey],
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<Key>, Vec<(usize, RecordError)>> {
        let mut tx = self.write().await.map_err(|error| vec![(0, error)])?;
        let (mut keys, mut wrong) = (Vec::with_capacity(new.len()), Vec::new());
        for (at, new) in new.iter().enumerate() {
            match insert(&mut tx, new, true, actor, now).await {
                Ok(key) => keys.push(key),
                // What is wrong with this one does not keep from looking at the next; nothing is committed.
                Err(error @ (RecordError::NotFound(_) | RecordError::Conflict(_))) => wrong.push((at, error)),
                Err(error) => return Err(vec![(at, error)]),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        tx.commit().await.map_err(|error| vec![(0, error.into())])?;
        Ok(keys)
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
            let rows = query.fetch_all(self.pool()?).await?;
            rows.iter().map(key).collect()
        })
        .await
    }

    async fn keys_page(
        &self,
        org: &OrgId,
        revoked: bool,
        page: &Page<(Timestamp, KeyId)>,
    ) -> Result<Vec<Key>, RecordError> {
        self.within(async {
            let (at, id) = page.after.unwrap_or((Timestamp::default(), KeyId(Uuid::nil())));
            let rows = sqlx::query(PAGE)
                .bind(org.as_str())
                .bind(revoked)
                .bind(micros(at))
                .bind(id.0)
                .bind(int(page.most as u64))
                .fetch_all(self.pool()?)
                .await?;
            rows.iter().map(key).collect()
        })
        .await
    }

    async fn key(&self, id: KeyId) -> Result<Key, RecordError> {
        self.within(async { find(&mut *self.pool()?.acquire().await?, id).await }).await
    }

    async fn key_named(&self, org: &OrgId, name: &str) -> Result<Key, RecordError> {
        self.within(async {
            let row = sqlx::query(select_keys!(
                "WHERE k.organization = $1 AND k.name = $2 AND k.revoked_at IS NULL"
            ))
            .bind(org.as_str())
            .bind(name)
            .fetch_optional(self.pool()?)
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
            is_still(edit.seen.as_ref(), &seen_key(&before), || format!("the key `{}`", before.name))?;
            let mut after = before.clone();
            if let Some(name) = &edit.name {
                name_is_free(&mut tx, &before.organization, name, id).await?;
                after.name.clone_from(name);
            }
            if let Some(project) = &edit.project {
                after.project =
                    projects::of_organization(&mut tx, &before.organization, Some(project)).await?;
            }
            after.category = edit.category.clone().unwrap_or(after.category);
            after.scopes = edit.scopes.unwrap_or(before.scopes);
            after.expires_at = edit.expires_at.unwrap_or(before.expires_at);
            after.allowed_ips = edit.allowed_ips.clone().unwrap_or(after.allowed_ips);
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
        secret: &NewSecret,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError> {
        self.within(async {
            let NewSecret { digest, old_until, .. } = secret;
            let mut tx = self.write().await?;
            let before = find_living(&mut tx, id).await?;
            insert_secret(&mut tx, id, digest, secret.sealed.as_deref(), false).await?;
            let after = Key { hint: secret.hint.clone(), ..before.clone() };
            // Told while the old secrets are still there, so that what becomes of them is told too.
            changed(&mut tx, "key.rotate", Some(&before), Some(&after), actor, now).await?;
            sqlx::query(
                "DELETE FROM key_secrets WHERE key = $1 AND digest <> $2 AND ($3 IS NULL OR valid_until <= $4)",
            )
            .bind(id.0)
            .bind(digest.0.as_slice())
            .bind(opt_micros(*old_until))
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "UPDATE key_secrets SET valid_until = least(coalesce(valid_until, $1), $1)
                 WHERE key = $2 AND digest <> $3",
            )
            .bind(opt_micros(*old_until))
            .bind(id.0)
            .bind(digest.0.as_slice())
            .execute(&mut *tx)
            .await?;
            sqlx::query("UPDATE keys SET hint = $1 WHERE id = $2")
                .bind(&secret.hint)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }

    async fn reveal_key(
        &self,
        id: KeyId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let key = find_living(&mut tx, id).await?;
            let row = sqlx::query("SELECT sealed FROM key_secrets WHERE key = $1 AND valid_until IS NULL")
                .bind(id.0)
                .fetch_optional(&mut *tx)
                .await?;
            let sealed = row.map(|row| Columns(&row).opt_bytes("sealed")).transpose()?.flatten();
            if sealed.is_some() {
                let subject = id.to_string();
                let snapshot = Some(snapshot::key(&key));
                let told = Told {
                    what: "key.reveal",
                    subject: &subject,
                    organization: Some(&key.organization),
                    before: snapshot.clone(),
                    after: snapshot,
                };
                tell(&mut tx, told, actor, now).await?;
                tx.commit().await?;
            }
            Ok(sealed)
        })
        .await
    }

    async fn unsealed_keys(&self, org: &OrgId) -> Result<u64, RecordError> {
        self.within(async {
            let row = sqlx::query(
                "SELECT count(*) AS keys FROM keys k JOIN key_secrets s ON s.key = k.id
                 WHERE k.organization = $1 AND k.revoked_at IS NULL AND s.valid_until IS NULL AND s.sealed IS NULL",
            )
            .bind(org.as_str())
            .fetch_one(self.pool()?)
            .await?;
            Columns(&row).count("keys")
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

/// What an edit is called in the audit trail.
fn verb(edit: &KeyEdit) -> &'static str {
    let KeyEdit {
        name,
        active,
        revoke,
        quotas,
        limit,
        category,
        project,
        scopes,
        expires_at,
        allowed_ips,
        ..
    } = edit;
    let others = [
        category.is_some(),
        project.is_some(),
        scopes.is_some(),
        expires_at.is_some(),
        allowed_ips.is_some(),
    ];
    match [
        name.is_some(),
        active.is_some(),
        *revoke,
        quotas.is_some(),
        limit.is_some(),
        others.contains(&true),
    ] {
        [_, _, true, _, _, _] => "key.revoke",
        [false, true, _, false, false, false] if *active == Some(false) => "key.disable",
        [false, true, _, false, false, false] => "key.enable",
        [false, false, _, true, false, false] => "key.set_quotas",
        [false, false, _, false, true, false] => "key.set_limit",
        [true, false, _, false, false, false] => "key.rename",
        _ => "key.edit",
    }
}

async fn insert(
    tx: &mut PgConnection,
    new: &NewKey,
    imported: bool,
    actor: &Actor,
    now: Timestamp,
) -> Result<Key, RecordError> {
    organizations::find_id(tx, &new.organization).await?;
    let key = Key {
        id: new.id,
        organization: new.organization.clone(),
        project: projects::of_organization(tx, &new.organization, new.project.as_ref()).await?,
        name: new.name.clone(),
        category: new.category.clone(),
        prefix: new.prefix.clone(),
        hint: new.hint.clone(),
        scopes: new.scopes,
        active: new.active,
        expires_at: new.expires_at,
        revoked_at: None,
        allowed_ips: new.allowed_ips.clone(),
        quotas: new.quotas,
        limit: new.limit,
        created_by: new.created_by,
        created_at: now,
        last_used_at: None,
        requests: 0,
    };
    name_is_free(tx, &key.organization, &key.name, key.id).await?;
    sqlx::query(
        "INSERT INTO keys (id, organization, project, name, category, prefix, hint, scope_read, scope_write,
             allowed_ips, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key.id.0)
    .bind(key.organization.as_str())
    .bind(key.project.as_str())
    .bind(&key.name)
    .bind(&key.category)
    .bind(&key.prefix)
    .bind(&key.hint)
    .bind(key.scopes.read)
    .bind(key.scopes.write)
    .bind(networks(&key))
    .bind(key.created_by.map(|user| user.0))
    .bind(micros(now))
    .execute(&mut *tx)
    .await?;
    update(tx, &key).await?;
    insert_secret(tx, key.id, &new.digest, new.sealed.as_deref(), imported).await?;
    changed(tx, if imported { "key.import" } else { "key.create" }, None, Some(&key), actor, now).await?;
    Ok(key)
}

fn networks(key: &Key) -> String {
    key.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

async fn update(tx: &mut PgConnection, key: &Key) -> Result<(), RecordError> {
    sqlx::query(
        "UPDATE keys SET name = $1, category = $2, project = $3, scope_read = $4, scope_write = $5, expires_at = $6,
             allowed_ips = $7, active = $8, revoked_at = $9,
             quota_total = $10, quota_daily = $11, quota_weekly = $12, quota_monthly = $13,
             limit_requests = $14, limit_microcents = $15, limit_period = $16, limit_enabled = $17
         WHERE id = $18",
    )
    .bind(&key.name)
    .bind(&key.category)
    .bind(key.project.as_str())
    .bind(key.scopes.read)
    .bind(key.scopes.write)
    .bind(opt_micros(key.expires_at))
    .bind(networks(key))
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
    let told = Told { what, subject: &subject, organization: Some(&key.organization), before, after };
    tell(tx, told, actor, now).await?;
    key_changed(tx, key.id, now).await
}

async fn insert_secret(
    tx: &mut PgConnection,
    key: KeyId,
    digest: &Digest,
    sealed: Option<&[u8]>,
    imported: bool,
) -> Result<(), RecordError> {
    // Without an error, which would end the transaction: an import goes on to look for further mistakes.
    let inserted = sqlx::query(
        "INSERT INTO key_secrets (digest, key, sealed, imported) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(digest.0.as_slice())
    .bind(key.0)
    .bind(sealed)
    .bind(imported)
    .execute(tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(RecordError::Conflict("this secret belongs to a key already".into()));
    }
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
