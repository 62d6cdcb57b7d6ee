//! Keys.

use std::time::Duration;

use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::Key;
use crate::domain::limit::{Quotas, SpendLimit};
use crate::domain::secret::{Digest, Secret};
use crate::domain::time::Timestamp;
use crate::stores::record::{KeyEdit, NewKey, RecordError};

/// Longest grace of a rotated secret.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The category of a key for which none was named.
const DEFAULT_CATEGORY: &str = "production";

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct KeyOrder {
    /// The organization, by id or name.
    pub organization: String,
    /// The project, by id or name; `None` is the organization's default project.
    pub project: Option<String>,
    /// The alias.
    pub name: String,
    /// `None` is `production`.
    pub category: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Rolling caps; zero admits nothing.
    pub quotas: Quotas,
    /// `read`, `write`; empty is both.
    pub scopes: Vec<String>,
    /// Networks in CIDR or single addresses; empty is everywhere.
    pub allowed_ips: Vec<String>,
    /// The user it is made by.
    pub created_by: Option<UserId>,
}

impl Admin {
    /// Makes a key. Its secret is in no store: this is the only time it is seen.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_key(
        &self,
        order: &KeyOrder,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(Key, Secret), AdminError> {
        let name = fields::name("name", &order.name)?;
        let category = fields::name("category", order.category.as_deref().unwrap_or(DEFAULT_CATEGORY))?;
        let quotas = fields::quotas(order.quotas)?;
        let scopes = fields::scopes(&order.scopes)?;
        let allowed_ips = fields::networks(&order.allowed_ips)?;
        if order.expires_at.is_some_and(|end| end <= now) {
            return Err(AdminError::invalid("expires_at", "lies in the past: give a time to come"));
        }
        let organization = self.record.organization(&order.organization).await?.id;
        let project = match &order.project {
            Some(named) => Some(self.project(&organization, named).await?),
            None => None,
        };
        let secret = random::secret(&self.settings.prefix)?;
        let new = NewKey {
            id: KeyId(random::uuid()?),
            digest: Digest::of(secret.expose().as_bytes()),
            organization,
            project,
            name,
            category,
            prefix: self.settings.prefix.clone(),
            hint: secret.hint().to_owned(),
            scopes,
            expires_at: order.expires_at,
            allowed_ips,
            quotas,
            created_by: order.created_by,
        };
        Ok((self.record.create_key(&new, actor, now).await?, secret))
    }

    /// The key with this id, or, in an organization (id or name), the one that is not revoked with this name.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn key(&self, id_or_name: &str, org: Option<&str>) -> Result<Key, AdminError> {
        let org = match org {
            Some(org) => Some(self.record.organization(org).await?.id),
            None => None,
        };
        match (uuid::Uuid::try_parse(id_or_name), org) {
            (Ok(id), None) => Ok(self.record.key(KeyId(id)).await?),
            (Ok(id), Some(org)) => {
                let key = self.record.key(KeyId(id)).await?;
                let missing = || RecordError::NotFound(format!("`{org}` has no key `{id}`"));
                if key.organization == org { Ok(key) } else { Err(missing().into()) }
            }
            (Err(_), Some(org)) => Ok(self.record.key_named(&org, id_or_name).await?),
            (Err(_), None) => Err(AdminError::invalid(
                "key",
                format!(
                    "`{}` is no key's id (a UUID): give the organization too to find a key by its name",
                    id_or_name.escape_debug()
                ),
            )),
        }
    }

    /// Renames a key.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn rename_key(
        &self,
        id: KeyId,
        name: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, AdminError> {
        let edit = KeyEdit { name: Some(fields::name("name", name)?), ..KeyEdit::default() };
        Ok(self.record.edit_key(id, &edit, actor, now).await?)
    }

    /// Disables or enables a key.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_key_active(
        &self,
        id: KeyId,
        active: bool,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, AdminError> {
        let edit = KeyEdit { active: Some(active), ..KeyEdit::default() };
        Ok(self.record.edit_key(id, &edit, actor, now).await?)
    }

    /// Revokes a key for good.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn revoke_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<Key, AdminError> {
        let edit = KeyEdit { revoke: true, ..KeyEdit::default() };
        Ok(self.record.edit_key(id, &edit, actor, now).await?)
    }

    /// Sets or removes a key's calendar cap.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_key_limit(
        &self,
        id: KeyId,
        limit: Option<SpendLimit>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, AdminError> {
        let edit = KeyEdit { limit: Some(fields::limit(limit)?), ..KeyEdit::default() };
        Ok(self.record.edit_key(id, &edit, actor, now).await?)
    }

    /// Sets a key's rolling caps, all four together.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_key_quotas(
        &self,
        id: KeyId,
        quotas: Quotas,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, AdminError> {
        let edit = KeyEdit { quotas: Some(fields::quotas(quotas)?), ..KeyEdit::default() };
        Ok(self.record.edit_key(id, &edit, actor, now).await?)
    }

    /// Gives a key a new secret, seen only now; the old ones work for `grace` more, zero being not at all.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn rotate_key(
        &self,
        id: KeyId,
        grace: Duration,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(Key, Secret), AdminError> {
        if grace > GRACE_MAX {
            return Err(AdminError::invalid("grace", "give at most 30d"));
        }
        let old_until = (!grace.is_zero()).then(|| now.plus(grace));
        let secret = random::secret(&self.settings.prefix)?;
        let digest = Digest::of(secret.expose().as_bytes());
        let key = self.record.rotate_key(id, digest, secret.hint(), old_until, actor, now).await?;
        Ok((key, secret))
    }

    /// Removes a key that was never used.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn delete_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<(), AdminError> {
        Ok(self.record.delete_key(id, actor, now).await?)
    }

    async fn project(&self, org: &OrgId, id_or_name: &str) -> Result<ProjectId, AdminError> {
        let projects = self.record.projects(Some(org)).await?;
        let by_id = projects.iter().find(|project| project.id.as_str() == id_or_name);
        let found = by_id.or_else(|| projects.iter().find(|project| project.name == id_or_name));
        let missing = || RecordError::NotFound(format!("`{org}` has no project `{id_or_name}`"));
        Ok(found.ok_or_else(missing)?.id.clone())
    }
}
