//! Keys: made, changed, rotated, removed, and what a digest leads to.

use async_trait::async_trait;
use uuid::Uuid;

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.*, u.last_used_at, coalesce(u.requests, 0) AS requests
             FROM keys k LEFT JOIN key_usage u ON u.key = k.id ",
            $rest
        )
    };
}

mod steps;

pub(super) use self::steps::{allowed_ips, quotas, scopes};
use self::steps::{changed, find, find_living, insert, insert_secret, key, name_is_free, update};
use super::columns::{Columns, int, micros, opt_micros};
use super::engine::Record;
use super::projects;
use super::trail::{Told, tell};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::key::Key;
use crate::domain::time::Timestamp;
use crate::stores::record::{
    Actor, KeyEdit, KeyFilter, KeyRecord, NewKey, NewSecret, Page, RecordError, is_still, seen_key, snapshot,
};

/// Keys of one organization. Arguments: whether revoked ones too, the organization.
pub(in crate::stores::record) const OF_ORGANIZATION: &str =
    select_keys!("WHERE ($1 OR k.revoked_at IS NULL) AND k.organization = $2 ORDER BY k.name, k.created_at");

/// A part of the keys of one organization.
pub(in crate::stores::record) const PAGE: &str = select_keys!(
    "WHERE k.organization = $1 AND ($2 OR k.revoked_at IS NULL) AND (k.created_at, k.id) > ($3, $4)
     ORDER BY k.created_at, k.id LIMIT $5"
);

#[async_trait]
impl KeyRecord for Record {
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
        dry: bool,
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
        if dry {
            return Ok(Vec::new());
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
            let rows = query.fetch_all(self.readers()).await?;
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
                .fetch_all(self.readers())
                .await?;
            rows.iter().map(key).collect()
        })
        .await
    }

    async fn key(&self, id: KeyId) -> Result<Key, RecordError> {
        self.within(async { find(&mut *self.readers().acquire().await?, id).await }).await
    }

    async fn key_named(&self, org: &OrgId, name: &str) -> Result<Key, RecordError> {
        self.within(async {
            let row = sqlx::query(select_keys!(
                "WHERE k.organization = $1 AND k.name = $2 AND k.revoked_at IS NULL"
            ))
            .bind(org.as_str())
            .bind(name)
            .fetch_optional(self.readers())
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
            let mut after = edit.applied_to(&before, now);
            if edit.name.is_some() {
                name_is_free(&mut tx, &after.organization, &after.name, id).await?;
            }
            if edit.project.is_some() {
                after.project =
                    projects::of_organization(&mut tx, &before.organization, edit.project.as_ref()).await?;
            }
            if after == before {
                return Ok(before);
            }
            update(&mut tx, &after).await?;
            changed(&mut tx, edit.verb(), Some(&before), Some(&after), actor, now).await?;
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
                "UPDATE key_secrets SET valid_until = CASE WHEN valid_until < $1 THEN valid_until ELSE $1 END
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
            .fetch_one(self.readers())
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
