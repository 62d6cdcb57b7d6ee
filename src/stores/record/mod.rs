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

pub mod open;
pub mod postgres;
mod questions;
mod snapshot;
pub mod sqlite;
#[cfg(test)]
mod story;

use std::sync::Arc;

use uuid::Uuid;

pub use self::questions::{
    AuditRecord, GrantRecord, KeyRecord, LogRecord, OrganizationRecord, PeopleRecord, ProjectRecord, Record,
    UsageRecord,
};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::Scopes;
use crate::domain::limit::{Quotas, SpendLimit};
use crate::domain::people::Role;
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
    /// As [`Organization::id`](crate::domain::key::Organization::id).
    pub id: OrgId,
    /// As [`Organization::name`](crate::domain::key::Organization::name).
    pub name: String,
    /// As [`Organization::plan`](crate::domain::key::Organization::plan).
    pub plan: String,
    /// The id of its default project.
    pub default_project: ProjectId,
}

/// A user to be made, with the organization that is its own.
#[derive(Clone)]
pub struct NewUser {
    /// As [`User::id`](crate::domain::people::User::id).
    pub id: UserId,
    /// As [`User::email`](crate::domain::people::User::email); lower-cased by the record.
    pub email: String,
    /// The password as a PHC string.
    pub password: String,
    /// As [`User::operator`](crate::domain::people::User::operator).
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
    /// As [`Key::id`](crate::domain::key::Key::id).
    pub id: KeyId,
    /// The digest of its secret.
    pub digest: Digest,
    /// As [`Key::organization`](crate::domain::key::Key::organization).
    pub organization: OrgId,
    /// As [`Key::project`](crate::domain::key::Key::project); `None` is the organization's default project.
    pub project: Option<ProjectId>,
    /// As [`Key::name`](crate::domain::key::Key::name).
    pub name: String,
    /// As [`Key::category`](crate::domain::key::Key::category).
    pub category: String,
    /// As [`Key::prefix`](crate::domain::key::Key::prefix).
    pub prefix: String,
    /// As [`Key::hint`](crate::domain::key::Key::hint).
    pub hint: String,
    /// As [`Key::scopes`](crate::domain::key::Key::scopes).
    pub scopes: Scopes,
    /// As [`Key::expires_at`](crate::domain::key::Key::expires_at).
    pub expires_at: Option<Timestamp>,
    /// As [`Key::allowed_ips`](crate::domain::key::Key::allowed_ips).
    pub allowed_ips: Vec<ipnet::IpNet>,
    /// As [`Key::quotas`](crate::domain::key::Key::quotas).
    pub quotas: Quotas,
    /// As [`Key::created_by`](crate::domain::key::Key::created_by).
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

/// The record as everything holds it.
pub type SharedRecord = Arc<dyn Record>;
