//! The record: durable truth, in the words of the domain.
//!
//! Every change of an organization, key or project is written together with its row of the audit trail and,
//! where admission could be affected, its row of `changes`, in one transaction. Whoever follows `changes`
//! therefore misses nothing and sees nothing that did not happen.
//!
//! **Invariant:** of a secret only its digest is kept, of a password only its PHC string, and neither reaches
//! the audit trail.
//!
//! **Deliberately absent:** rules. What a name, an email or a plan may be is decided a floor up; the record
//! keeps only what must hold whoever writes: uniqueness, belonging, and that a revoked key stays revoked.

mod snapshot;
pub mod sqlite;
#[cfg(test)]
mod story;

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::{Grant, Key, Organization, Scopes};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::people::{Project, Role, Session, User};
use crate::domain::row::{Admission, Row};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// What was asked for is not there. The text names it.
    #[error("{0}")]
    NotFound(String),
    /// What was to be made is there already, or what stands in the way of a change. The text names it.
    #[error("{0}")]
    Conflict(String),
    /// The store could not be asked, or did not answer.
    #[error("the record cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The store holds something this program cannot read.
    #[error("the record holds something unreadable: {0}")]
    Corrupt(String),
}

/// What cannot be decoded is the store's content; everything else is the way to it.
impl From<sqlx::Error> for RecordError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. } => Self::Corrupt(error.to_string()),
            other => Self::Unavailable(other),
        }
    }
}

/// Who makes a change, for the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// `cli`, `demo`, or a user's id.
    pub who: String,
    /// The address it came from; empty for the command line.
    pub from: String,
}

/// An organization to be made. Its default project is made with it.
#[derive(Clone, Debug)]
pub struct NewOrganization {
    /// As [`Organization::id`].
    pub id: OrgId,
    /// As [`Organization::name`].
    pub name: String,
    /// As [`Organization::plan`].
    pub plan: String,
    /// The id of its default project.
    pub default_project: ProjectId,
}

/// A user to be made, with the organization that is its own.
#[derive(Clone)]
pub struct NewUser {
    /// As [`User::id`].
    pub id: UserId,
    /// As [`User::email`]; lower-cased by the record.
    pub email: String,
    /// The password as a PHC string.
    pub password: String,
    /// As [`User::operator`].
    pub operator: bool,
    /// An organization to join at once.
    pub membership: Option<(OrgId, Role)>,
    /// Its personal organization, which it owns.
    pub personal: NewOrganization,
    /// The id of the personal organization where the one in `personal` is taken.
    pub personal_otherwise: OrgId,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// As [`Key::id`].
    pub id: KeyId,
    /// The digest of its secret.
    pub digest: Digest,
    /// As [`Key::organization`].
    pub organization: OrgId,
    /// As [`Key::project`]; `None` is the organization's default project.
    pub project: Option<ProjectId>,
    /// As [`Key::name`].
    pub name: String,
    /// As [`Key::category`].
    pub category: String,
    /// As [`Key::prefix`].
    pub prefix: String,
    /// As [`Key::hint`].
    pub hint: String,
    /// As [`Key::scopes`].
    pub scopes: Scopes,
    /// As [`Key::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// As [`Key::allowed_ips`].
    pub allowed_ips: Vec<ipnet::IpNet>,
    /// As [`Key::quotas`].
    pub quotas: Quotas,
    /// As [`Key::created_by`].
    pub created_by: Option<UserId>,
}

/// A change to a key. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyEdit {
    /// A new name.
    pub name: Option<String>,
    /// Disable or enable.
    pub active: Option<bool>,
    /// Revoke, for good.
    pub revoke: bool,
    /// New rolling caps.
    pub quotas: Option<Quotas>,
    /// A new calendar cap, or none.
    pub limit: Option<Option<SpendLimit>>,
}

/// Which keys to list.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this organization only.
    pub organization: Option<OrgId>,
    /// Revoked ones too.
    pub revoked: bool,
}

/// One row of `changes`: what a cache must forget.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number; rises with time, and no lower number appears after a higher one was read.
    pub sequence: i64,
    /// When it was made.
    pub at: Timestamp,
    /// What changed.
    pub subject: Changed,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// What this digest leads to.
    Secret(Digest),
    /// An organization's plan, caps or limit.
    Organization(OrgId),
}

/// One row of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its number; rises with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub actor: Actor,
    /// What was done, such as `key.revoke`.
    pub what: String,
    /// The id of what it was done to.
    pub subject: String,
    /// What it was before, as JSON; `None` where there was nothing.
    pub before: Option<String>,
    /// What it was after, as JSON; `None` where nothing is left.
    pub after: Option<String>,
}

/// A batch of the log, moved into the record in one transaction with the place reached in the spool.
#[derive(Debug, Default)]
pub struct Shipment<'a> {
    /// Finished requests.
    pub rows: Vec<Row<'a>>,
    /// Admissions without a row yet, whose frames are about to be deleted from the spool.
    pub carried: Vec<Admission<'a>>,
    /// Ids of admissions carried earlier whose rows are in this batch.
    pub finished: Vec<Uuid>,
    /// The place reached: (segment name, bytes read).
    pub cursor: Option<(String, u64)>,
    /// Segments whose cursors are no longer needed.
    pub forgotten: Vec<String>,
}

/// Admitted requests of one key in one cell of five minutes: what counters are rebuilt from.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageCell {
    /// Who paid.
    pub organization: OrgId,
    /// The key; `None` for what was not made with a key.
    pub key: Option<KeyId>,
    /// The first instant of the cell.
    pub at: Timestamp,
    /// Admitted requests.
    pub admitted: u64,
    /// What they cost.
    pub cost: Cost,
}

/// What the keyring asks: who may do what, and what of it has changed.
#[async_trait]
pub trait KeyRecord: Send + Sync + 'static {
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

/// The whole durable store: what the two above ask, and what people and commands do. `sqlite.rs` keeps the
/// order of methods of these traits.
#[async_trait]
pub trait Record: KeyRecord + LogRecord {
    // Organizations.
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

    // People.
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

    // Projects.
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

    // Keys.
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

    // Who did what.
    /// The audit trail before entry `before` (`None`: from its end), newest first, at most `most`.
    async fn audit_before(&self, before: Option<i64>, most: usize) -> Result<Vec<AuditEntry>, RecordError>;

    // What counters are rebuilt from.
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
}

/// The record as everything holds it.
pub type SharedRecord = Arc<dyn Record>;
