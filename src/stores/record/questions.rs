//! What the record is asked, by who asks it; [`Record`] is all of it.
//!
//! Whoever asks little holds little: the keyring a [`GrantRecord`], the log a [`LogRecord`]. So each is tested
//! over a record that answers only what it asks, and a backend is written part by part.

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Actor, AuditEntry, Change, KeyEdit, KeyFilter, NewKey, NewOrganization, NewUser, OrgUsage, RecordError,
    Shipment, UsageCell,
};
use crate::domain::id::{KeyId, OrgId, ProjectId};
use crate::domain::key::{Grant, Key, Organization};
use crate::domain::limit::{Caps, SpendLimit};
use crate::domain::people::{Project, Session, User};
use crate::domain::row::Admission;
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

/// What the keyring asks: who may do what, and what of it has changed.
#[async_trait]
pub trait GrantRecord: Send + Sync + 'static {
    /// The grant that a digest leads to; `None` for unknown and revoked keys.
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError>;
    /// Changes after `sequence`, oldest first, at most `most`.
    async fn changes_after(&self, sequence: i64, most: usize) -> Result<Vec<Change>, RecordError>;
    /// The number of the last change; 0 where there is none.
    async fn last_change(&self) -> Result<i64, RecordError>;
    /// The organization with this id, or else with this name.
    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError>;
}

/// What the request log asks.
#[async_trait]
pub trait LogRecord: Send + Sync + 'static {
    /// Moves a batch in; a batch moved twice changes nothing the second time.
    async fn ship(&self, shipment: &Shipment<'_>) -> Result<(), RecordError>;
    /// How far each segment of the spool has been moved in.
    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError>;
    /// Admissions carried from a spool that is gone; they never ended if no process is left that could.
    async fn carried(&self) -> Result<Vec<Admission<'static>>, RecordError>;
}

/// What counters are rebuilt from.
#[async_trait]
pub trait UsageRecord: Send + Sync + 'static {
    /// Usage since `since` in five-minute cells, oldest first, and every key's total.
    async fn usage_since(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError>;
    /// Admitted requests since `since`, one by one, oldest first: for the windows finer than a cell.
    async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError>;
    /// All of the above for one organization, as of one instant: cells since `since`, single admissions since
    /// `recent`.
    async fn usage_of(
        &self,
        org: &OrgId,
        since: Timestamp,
        recent: Timestamp,
    ) -> Result<OrgUsage, RecordError>;
}

/// Organizations and what they may.
#[async_trait]
pub trait OrganizationRecord: Send + Sync + 'static {
    /// Makes an organization and its default project.
    async fn create_organization(
        &self,
        new: &NewOrganization,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError>;
    /// Every organization, by id.
    async fn organizations(&self) -> Result<Vec<Organization>, RecordError>;
    /// Sets plan and negotiated caps together.
    async fn set_plan(
        &self,
        id: &OrgId,
        plan: &str,
        negotiated: Caps,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError>;
    /// Sets or removes the calendar cap.
    async fn set_organization_limit(
        &self,
        id: &OrgId,
        limit: Option<SpendLimit>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError>;
}

/// People and their sessions.
#[async_trait]
pub trait PeopleRecord: Send + Sync + 'static {
    /// Makes a user and its personal organization.
    async fn create_user(&self, new: &NewUser, actor: &Actor, now: Timestamp) -> Result<User, RecordError>;
    /// Every user, by email.
    async fn users(&self) -> Result<Vec<User>, RecordError>;
    /// The user with this email (any case).
    async fn user(&self, email: &str) -> Result<User, RecordError>;
    /// Writes a session down.
    async fn create_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;
    /// The session with this id, ended or not.
    async fn session(&self, id: Uuid) -> Result<Option<Session>, RecordError>;
}

/// Projects.
#[async_trait]
pub trait ProjectRecord: Send + Sync + 'static {
    /// Makes a project.
    async fn create_project(
        &self,
        id: &ProjectId,
        org: &OrgId,
        name: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, RecordError>;
    /// Every project, or those of one organization, by name.
    async fn projects(&self, org: Option<&OrgId>) -> Result<Vec<Project>, RecordError>;
}

/// Keys, as people manage them.
#[async_trait]
pub trait KeyRecord: Send + Sync + 'static {
    /// Makes a key.
    async fn create_key(&self, new: &NewKey, actor: &Actor, now: Timestamp) -> Result<Key, RecordError>;
    /// Keys by organization and name.
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<Key>, RecordError>;
    /// One key, revoked or not.
    async fn key(&self, id: KeyId) -> Result<Key, RecordError>;
    /// The key of this name that is not revoked.
    async fn key_named(&self, org: &OrgId, name: &str) -> Result<Key, RecordError>;
    /// Changes a key. A revoked key cannot be changed.
    async fn edit_key(
        &self,
        id: KeyId,
        edit: &KeyEdit,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError>;
    /// Gives a key a new secret; the old ones work until `old_until` (`None`: no longer).
    async fn rotate_key(
        &self,
        id: KeyId,
        digest: Digest,
        hint: &str,
        old_until: Option<Timestamp>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError>;
    /// Removes a key that the log has never seen.
    async fn delete_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<(), RecordError>;
}

/// Who did what.
#[async_trait]
pub trait AuditRecord: Send + Sync + 'static {
    /// The audit trail before entry `before` (`None`: from its end), newest first, at most `most`.
    async fn audit_before(&self, before: Option<i64>, most: usize) -> Result<Vec<AuditEntry>, RecordError>;
}

/// The whole durable store.
pub trait Record:
    GrantRecord
    + LogRecord
    + UsageRecord
    + OrganizationRecord
    + PeopleRecord
    + ProjectRecord
    + KeyRecord
    + AuditRecord
{
}

impl<T> Record for T where
    T: GrantRecord
        + LogRecord
        + UsageRecord
        + OrganizationRecord
        + PeopleRecord
        + ProjectRecord
        + KeyRecord
        + AuditRecord
{
}
