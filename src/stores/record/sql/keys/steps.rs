//! The statements that changes of keys are put together from.

use super::super::columns::{Columns, micros, opt_int, opt_micros, unreadable};
use super::super::engine::{Connection, Row};
use super::super::trail::{Told, key_changed, tell};
use super::super::{organizations, projects};
use crate::domain::id::{KeyId, OrgId, UserId};
use crate::domain::key::{Key, Scopes};
use crate::domain::limit::Quotas;
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, NewKey, RecordError, snapshot};

pub(super) async fn insert(
    tx: &mut Connection,
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

pub(super) async fn update(tx: &mut Connection, key: &Key) -> Result<(), RecordError> {
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

pub(super) async fn changed(
    tx: &mut Connection,
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

pub(super) async fn insert_secret(
    tx: &mut Connection,
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

pub(super) async fn name_is_free(
    tx: &mut Connection,
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

pub(super) async fn find(tx: &mut Connection, id: KeyId) -> Result<Key, RecordError> {
    let row = sqlx::query(select_keys!("WHERE k.id = $1")).bind(id.0).fetch_optional(tx).await?;
    row.map_or_else(|| Err(RecordError::NotFound(format!("there is no key `{id}`"))), |row| key(&row))
}

pub(super) async fn find_living(tx: &mut Connection, id: KeyId) -> Result<Key, RecordError> {
    let key = find(tx, id).await?;
    if key.revoked_at.is_some() {
        return Err(RecordError::Conflict(format!(
            "the key `{}` was revoked and cannot be changed: create a new one",
            key.name
        )));
    }
    Ok(key)
}

pub(super) fn key(row: &Row) -> Result<Key, RecordError> {
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

pub(in super::super) fn scopes(row: &Columns<'_>) -> Result<Scopes, RecordError> {
    Ok(Scopes { read: row.flag("scope_read")?, write: row.flag("scope_write")? })
}

pub(in super::super) fn allowed_ips(row: &Columns<'_>) -> Result<Vec<ipnet::IpNet>, RecordError> {
    let text = row.text("allowed_ips")?;
    text.split_ascii_whitespace().map(|net| net.parse().map_err(|_| unreadable("keys.allowed_ips"))).collect()
}

pub(in super::super) fn quotas(row: &Columns<'_>) -> Result<Quotas, RecordError> {
    Ok(Quotas {
        total: row.opt_count("quota_total")?,
        daily: row.opt_count("quota_daily")?,
        weekly: row.opt_count("quota_weekly")?,
        monthly: row.opt_count("quota_monthly")?,
    })
}
