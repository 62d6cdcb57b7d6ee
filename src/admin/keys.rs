//! Keys.

use std::time::Duration;

use super::seal::Seal;
use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::Key;
use crate::domain::limit::{Quotas, SpendLimit};
use crate::domain::secret::{Digest, Secret};
use crate::domain::time::Timestamp;
use crate::stores::record::{KeyEdit, NewKey, NewSecret, RecordError, Seen};

/// Longest grace of a rotated secret.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The category of a key for which none was named.
pub(super) const DEFAULT_CATEGORY: &str = "production";

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
    /// A calendar cap.
    pub limit: Option<SpendLimit>,
    /// `read`, `write`; empty is both.
    pub scopes: Vec<String>,
    /// Networks in CIDR or single addresses; empty is everywhere.
    pub allowed_ips: Vec<String>,
    /// The user it is made by.
    pub created_by: Option<UserId>,
}

/// A change to a key. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// The alias.
    pub name: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// A project of the same organization, by id or name.
    pub project: Option<String>,
    /// `read`, `write`; empty is both.
    pub scopes: Option<Vec<String>>,
    /// When it ends by itself, or that it does not.
    pub expires_at: Option<Option<Timestamp>>,
    /// Networks in CIDR or single addresses; empty is everywhere.
    pub allowed_ips: Option<Vec<String>>,
    /// Disables or enables it.
    pub active: Option<bool>,
    /// Rolling caps, all four together.
    pub quotas: Option<Quotas>,
    /// A calendar cap, or none.
    pub limit: Option<Option<SpendLimit>>,
    /// Only where its settings are still these.
    pub seen: Option<Seen>,
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
        let limit = fields::limit(order.limit)?;
        let expires_at = fields::to_come("expires_at", order.expires_at, now)?;
        let organization = self.record.organization(&order.organization).await?.id;
        let project = match &order.project {
            Some(named) => Some(self.project(&organization, named).await?),
            None => None,
        };
        let prefix = self.settings.load().prefix.clone();
        let secret = random::secret(&prefix)?;
        let id = KeyId(random::uuid()?);
        let new = NewKey {
            id,
            digest: Digest::of(secret.expose().as_bytes()),
            sealed: self.sealed(id, &secret)?,
            organization,
            project,
            name,
            category,
            prefix,
            hint: secret.hint().to_owned(),
            scopes,
            active: true,
            expires_at,
            allowed_ips,
            quotas,
            limit,
            created_by: order.created_by,
        };
        let key = self.done(self.record.create_key(&new, actor, now).await).await?;
        Ok((key, secret))
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

    /// Changes a key.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn edit_key(
        &self,
        id: KeyId,
        change: &KeyChange,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, AdminError> {
        let named =
            |field, text: &Option<String>| text.as_deref().map(|text| fields::name(field, text)).transpose();
        let expires_at = change.expires_at.map(|end| fields::to_come("expires_at", end, now));
        let project = match &change.project {
            Some(named) => Some(self.project(&self.record.key(id).await?.organization, named).await?),
            None => None,
        };
        let edit = KeyEdit {
            name: named("name", &change.name)?,
            category: named("category", &change.category)?,
            project,
            scopes: change.scopes.as_deref().map(fields::scopes).transpose()?,
            expires_at: expires_at.transpose()?,
            allowed_ips: change.allowed_ips.as_deref().map(fields::networks).transpose()?,
            active: change.active,
            revoke: false,
            quotas: change.quotas.map(fields::quotas).transpose()?,
            limit: change.limit.map(fields::limit).transpose()?,
            seen: change.seen.clone(),
        };
        self.done(self.record.edit_key(id, &edit, actor, now).await).await
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
        self.edit_key(id, &KeyChange { name: Some(name.to_owned()), ..KeyChange::default() }, actor, now)
            .await
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
        self.edit_key(id, &KeyChange { active: Some(active), ..KeyChange::default() }, actor, now).await
    }

    /// Revokes a key for good.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn revoke_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<Key, AdminError> {
        let edit = KeyEdit { revoke: true, ..KeyEdit::default() };
        self.done(self.record.edit_key(id, &edit, actor, now).await).await
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
        self.edit_key(id, &KeyChange { limit: Some(limit), ..KeyChange::default() }, actor, now).await
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
        self.edit_key(id, &KeyChange { quotas: Some(quotas), ..KeyChange::default() }, actor, now).await
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
        let secret = random::secret(&self.settings.load().prefix)?;
        let new = NewSecret {
            digest: Digest::of(secret.expose().as_bytes()),
            sealed: self.sealed(id, &secret)?,
            hint: secret.hint().to_owned(),
            old_until,
        };
        let key = self.done(self.record.rotate_key(id, &new, actor, now).await).await?;
        Ok((key, secret))
    }

    /// The secret of a key of which a sealed copy was kept.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] where there is none, or none that opens with the configured key.
    pub async fn reveal_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<Secret, AdminError> {
        let nothing = |why: &str| AdminError::from(RecordError::Conflict(why.to_owned()));
        let Some(seal) = self.seal()? else {
            return Err(nothing(
                "this gateway keeps no sealed copies of keys: rotate the key to get a new secret",
            ));
        };
        let sealed = self.record.reveal_key(id, actor, now).await?;
        let none = "there is no sealed copy of this key: rotate it to get a new secret";
        let sealed = sealed.ok_or_else(|| nothing(none))?;
        let other = "the sealed copy of this key was made under another keys.reveal_key: rotate it to get a new secret";
        let plain = seal.open(&sealed, id.0.as_bytes()).ok_or_else(|| nothing(other))?;
        String::from_utf8(plain).map(Secret::from_text).map_err(|_| nothing(other))
    }

    /// What keys are sealed with, where sealed copies are kept.
    fn seal(&self) -> Result<Option<Seal>, AdminError> {
        self.settings.load().reveal_key.as_ref().map(|key| Seal::new(&key.0)).transpose()
    }

    fn sealed(&self, id: KeyId, secret: &Secret) -> Result<Option<Vec<u8>>, AdminError> {
        let seal = self.seal()?;
        seal.map(|seal| seal.seal(secret.expose().as_bytes(), id.0.as_bytes())).transpose()
    }

    /// Removes a key that was never used.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn delete_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<(), AdminError> {
        self.done(self.record.delete_key(id, actor, now).await).await
    }

    pub(super) async fn project(&self, org: &OrgId, id_or_name: &str) -> Result<ProjectId, AdminError> {
        let projects = self.record.projects(Some(org)).await?;
        let by_id = projects.iter().find(|project| project.id.as_str() == id_or_name);
        let found = by_id.or_else(|| projects.iter().find(|project| project.name == id_or_name));
        let missing = || RecordError::NotFound(format!("`{org}` has no project `{id_or_name}`"));
        Ok(found.ok_or_else(missing)?.id.clone())
    }
}
