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

mod away;
mod cells;
pub mod migrate;
pub mod open;
mod orders;
pub(crate) mod packed;
mod parts;
mod places;
pub mod postgres;
mod questions;
pub mod reports;
mod rows;
mod snapshot;
pub mod sqlite;
#[cfg(test)]
mod story;
pub mod upkeep;

use std::sync::Arc;

use sqlx::migrate::MigrateError;
use uuid::Uuid;

pub use self::orders::{
    Actor, Attempt, Attempted, AuditFilter, Joining, KeyEdit, KeyFilter, NewInvitation, NewKey,
    NewOrganization, NewSecret, NewUser, OrganizationEdit, Page, Seen,
};
pub use self::questions::{
    AttemptRecord, AuditRecord, GrantRecord, JobRecord, KeyRecord, LogRecord, NoticeRecord,
    OrganizationRecord, PeopleRecord, ProjectRecord, Record, SessionRecord, UsageRecord,
};
pub use self::rows::{Numbers, RowSource, Rows};
pub use self::snapshot::{seen_key, seen_organization, seen_project};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::row::Admission;
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
    /// What was to be changed is no longer what whoever changes it has seen. The text names it.
    #[error("{0}")]
    Stale(String),
    /// The store could not be asked, or did not answer.
    #[error("the record cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The store will never take this, for what it holds.
    #[error("the record refuses it: {0}")]
    Refused(String),
    /// The store holds something this program cannot read.
    #[error("the record holds something unreadable: {0}")]
    Corrupt(String),
}

impl RecordError {
    /// Whether the store says that its disk is full, or fails: an extended code of `SQLITE_IOERR` or `SQLITE_FULL`, or
    /// PostgreSQL's `disk_full`.
    pub fn is_of_disk(&self) -> bool {
        const SQLITE_IOERR: u32 = 10;
        const SQLITE_FULL: u32 = 13;
        let Self::Unavailable(sqlx::Error::Database(cause)) = self else { return false };
        let Some(code) = cause.code() else { return false };
        // SQLite's is a small number, of which the lowest byte is the primary code; PostgreSQL's has five characters.
        let sqlite = code
            .parse::<u32>()
            .ok()
            .filter(|_| cause.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some());
        code == "53100" || sqlite.is_some_and(|code| matches!(code & 0xff, SQLITE_IOERR | SQLITE_FULL))
    }

    /// The same failure for one more of those who waited.
    pub(in crate::stores) fn repeated(&self) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(text.clone()),
            Self::Conflict(text) => Self::Conflict(text.clone()),
            Self::Stale(text) => Self::Stale(text.clone()),
            Self::Refused(text) => Self::Refused(text.clone()),
            Self::Corrupt(text) => Self::Corrupt(text.clone()),
            Self::Unavailable(cause) => {
                Self::Unavailable(sqlx::Error::Io(std::io::Error::other(cause.to_string())))
            }
        }
    }
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

/// What went wrong with bringing tables up to date.
fn unmigrated(error: MigrateError) -> RecordError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => RecordError::Corrupt(
            "it was made by a newer version of tollgate: run that version, or restore a copy from before"
                .into(),
        ),
        other => RecordError::Corrupt(other.to_string()),
    }
}

/// Whether a thing's settings are still those that whoever changes it has seen.
fn is_still(seen: Option<&Seen>, now: &Seen, what: impl FnOnce() -> String) -> Result<(), RecordError> {
    match seen {
        Some(seen) if seen != now => {
            Err(RecordError::Stale(format!("{} has changed since: read it again", what())))
        }
        _ => Ok(()),
    }
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
    /// Whose that is; `None` where it is nobody's.
    pub organization: Option<OrgId>,
    /// What it was before, as JSON; `None` where there was nothing.
    pub before: Option<String>,
    /// What it was after, as JSON; `None` where nothing is left.
    pub after: Option<String>,
}

/// How long a spool may be silent before another gateway ends what it left open: longer than any outage that its
/// gateway comes back from. A gateway that lives ships something every minute, be it nothing.
pub const SPOOL_LEASE: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// A batch of the log, moved into the record in one transaction with the place reached in the spool.
#[derive(Debug, Default)]
pub struct Shipment {
    /// The spool that it comes from.
    pub spool: Uuid,
    /// Finished requests.
    pub rows: Rows,
    /// Admissions without a row yet, whose frames are about to be deleted from the spool.
    pub carried: Vec<Admission<'static>>,
    /// Ids of admissions carried earlier whose rows are in this batch.
    pub finished: Vec<Uuid>,
    /// The place reached: (segment name, bytes read).
    pub cursor: Option<(String, u64)>,
    /// The batch that is complete with this: rises with every one of the process. See [`OrgUsage::shipped`].
    pub number: Option<u64>,
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

/// What one organization has used: what its counters are rebuilt from where they were lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrgUsage {
    /// Usage in five-minute cells, oldest first.
    pub cells: Vec<UsageCell>,
    /// Admitted requests of every key in all time.
    pub totals: Vec<(KeyId, u64)>,
    /// Admitted requests one by one, oldest first.
    pub recent: Vec<Timestamp>,
    /// The last batch of every spool that all of this holds: what a gateway has shipped since is not in it.
    pub shipped: Vec<(Uuid, u64)>,
    /// Every spool whose gateway was heard of within [`SPOOL_LEASE`], or is to be: each says so before it counts anything.
    pub alive: Vec<Uuid>,
}

/// The record as everything holds it.
pub type SharedRecord = Arc<dyn Record>;
