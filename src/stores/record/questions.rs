//! What the record is asked, by who asks it; [`Record`] is all of it.
//!
//! Whoever asks little holds little: the keyring a [`GrantRecord`], the log a [`LogRecord`]. So each is tested
//! over a record that answers only what it asks, and a backend is written part by part.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::reports::ReportRecord;
use super::upkeep::UpkeepRecord;
use super::{
    Actor, Attempt, Attempted, AuditEntry, AuditFilter, Change, Joining, KeyEdit, KeyFilter, NewInvitation,
    NewKey, NewOrganization, NewSecret, NewUser, OrgUsage, OrganizationEdit, Page, RecordError, Seen,
    Shipment, UsageCell,
};
use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::{Grant, Key, Organization};
use crate::domain::people::{Invitation, Member, Project, Role, Session, User};
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
    /// Whether any key's secret was made elsewhere, and so may be of any shape.
    async fn has_imported_keys(&self) -> Result<bool, RecordError>;
    /// The organization with this id, or else with this name.
    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError>;
}

/// What the request log asks.
#[async_trait]
pub trait LogRecord: Send + Sync + 'static {
    /// Moves a batch in; a batch moved twice changes nothing the second time.
    async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError>;
    /// How far each segment of the spool has been moved in.
    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError>;
    /// Admissions that this spool left open with the record, and those of spools that have been silent for
    /// [`SPOOL_LEASE`](super::SPOOL_LEASE), which are this one's from now on: none of them can still end by itself.
    async fn carried(&self, spool: Uuid) -> Result<Vec<Admission<'static>>, RecordError>;
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
    /// How many gateways beside that of `spool` this record has heard of within `within`. One that lives is heard of
    /// every minute.
    async fn gateways_beside(&self, spool: Uuid, within: Duration) -> Result<u64, RecordError>;
    /// Usage and admissions of one organization, as of one instant: cells since `since`, single admissions since
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
    /// Organizations by id: all, or those that a user belongs to.
    async fn organizations_page(
        &self,
        of: Option<UserId>,
        page: &Page<OrgId>,
    ) -> Result<Vec<Organization>, RecordError>;
    /// Changes an organization.
    async fn edit_organization(
        &self,
        id: &OrgId,
        edit: &OrganizationEdit,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError>;
}

/// People, what they belong to, and who is invited.
#[async_trait]
pub trait PeopleRecord: Send + Sync + 'static {
    /// Makes a user and its personal organization.
    async fn create_user(&self, new: &NewUser, actor: &Actor, now: Timestamp) -> Result<User, RecordError>;
    /// Every user, by email.
    async fn users(&self) -> Result<Vec<User>, RecordError>;
    /// Users, by email.
    async fn users_page(&self, page: &Page<String>) -> Result<Vec<User>, RecordError>;
    /// The user with this email (any case).
    async fn user(&self, email: &str) -> Result<User, RecordError>;
    /// The user with this id.
    async fn user_by_id(&self, id: UserId) -> Result<User, RecordError>;
    /// The user that is `subject` to the outside issuer.
    async fn user_of_subject(&self, subject: &str) -> Result<Option<User>, RecordError>;
    /// Remembers that a user is `subject` to the outside issuer; one who is another already stays so.
    async fn link_subject(
        &self,
        id: UserId,
        subject: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, RecordError>;
    /// The PHC string of the password of the user with this email (any case); the string is `None` for one
    /// that has no password.
    async fn password(&self, email: &str) -> Result<Option<(UserId, Option<String>)>, RecordError>;
    /// Sets a password, and ends every session of the user but `keep`.
    async fn set_password(
        &self,
        id: UserId,
        password: &str,
        keep: Option<Uuid>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;

    /// The members of an organization, by id.
    async fn members(&self, org: &OrgId, page: &Page<UserId>) -> Result<Vec<Member>, RecordError>;
    /// Makes a user a member.
    async fn add_member(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError>;
    /// Gives a member another role. The last owner stays owner.
    async fn set_role(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError>;
    /// Ends a membership. The last owner stays.
    async fn remove_member(
        &self,
        org: &OrgId,
        user: UserId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;

    /// Makes an invitation; one that has ended makes room for it.
    async fn create_invitation(
        &self,
        new: &NewInvitation,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Invitation, RecordError>;
    /// The invitations of an organization, by id, ended ones too.
    async fn invitations(&self, org: &OrgId, page: &Page<Uuid>) -> Result<Vec<Invitation>, RecordError>;
    /// The invitation whose token has this digest.
    async fn invitation(&self, digest: &Digest) -> Result<Option<Invitation>, RecordError>;
    /// Takes an invitation back.
    async fn withdraw_invitation(
        &self,
        org: &OrgId,
        id: Uuid,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;
    /// Makes whoever accepts a member, and the invitation gone. One that has ended is not there.
    async fn accept_invitation(
        &self,
        digest: &Digest,
        joining: &Joining,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, RecordError>;
}

/// Logins.
#[async_trait]
pub trait SessionRecord: Send + Sync + 'static {
    /// Writes a session down.
    async fn create_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;
    /// The session with this id and its user, ended or not.
    async fn session(&self, id: Uuid) -> Result<Option<(Session, User)>, RecordError>;
    /// Ends a session, which need not have been written down: an outside issuer's is not.
    async fn revoke_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;
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
    /// The projects of an organization, by id.
    async fn projects_page(&self, org: &OrgId, page: &Page<ProjectId>) -> Result<Vec<Project>, RecordError>;
    /// The project with this id.
    async fn project(&self, id: &ProjectId) -> Result<Project, RecordError>;
    /// Gives a project another name.
    async fn rename_project(
        &self,
        id: &ProjectId,
        name: &str,
        seen: Option<&Seen>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, RecordError>;
}

/// Keys, as people manage them.
#[async_trait]
pub trait KeyRecord: Send + Sync + 'static {
    /// Makes a key.
    async fn create_key(&self, new: &NewKey, actor: &Actor, now: Timestamp) -> Result<Key, RecordError>;
    /// Makes keys of which only the digest is known: all, or none and what stands in the way, by position. A `dry`
    /// run makes none in any case.
    async fn import_keys(
        &self,
        new: &[NewKey],
        dry: bool,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<Key>, Vec<(usize, RecordError)>>;
    /// Keys by organization and name.
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<Key>, RecordError>;
    /// Keys of one organization, oldest first. A place in the list is when a key was made, and its id.
    async fn keys_page(
        &self,
        org: &OrgId,
        revoked: bool,
        page: &Page<(Timestamp, KeyId)>,
    ) -> Result<Vec<Key>, RecordError>;
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
    /// Gives a key a new secret.
    async fn rotate_key(
        &self,
        id: KeyId,
        secret: &NewSecret,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Key, RecordError>;
    /// The sealed copy of a key's secret; `None` where only its digest was kept. Writes down who was given it.
    async fn reveal_key(
        &self,
        id: KeyId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, RecordError>;
    /// Keys of an organization, not revoked, of whose secret there is no sealed copy.
    async fn unsealed_keys(&self, org: &OrgId) -> Result<u64, RecordError>;
    /// Removes a key that the log has never seen.
    async fn delete_key(&self, id: KeyId, actor: &Actor, now: Timestamp) -> Result<(), RecordError>;
}

/// Who did what.
#[async_trait]
pub trait AuditRecord: Send + Sync + 'static {
    /// The audit trail, newest first; `after` is the last entry seen.
    async fn audit(&self, filter: &AuditFilter, page: &Page<i64>) -> Result<Vec<AuditEntry>, RecordError>;
}

/// Requests that name themselves.
#[async_trait]
pub trait AttemptRecord: Send + Sync + 'static {
    /// What is known of an attempt. The first of it is under way until `lease`; a caller may have `most`.
    async fn attempt(
        &self,
        attempt: &Attempt<'_>,
        lease: Timestamp,
        most: u64,
        now: Timestamp,
    ) -> Result<Attempted, RecordError>;
    /// Keeps the sealed answer until `until`; without an answer, the attempt is as if it had not been made.
    async fn answered(
        &self,
        attempt: &Attempt<'_>,
        answer: Option<(&[u8], Timestamp)>,
    ) -> Result<(), RecordError>;
}

/// What answers made.
#[async_trait]
pub trait JobRecord: Send + Sync + 'static {
    /// The project whose key first made this, as far as the log has been moved in; `None` where nothing is known
    /// of it.
    async fn job_owner(&self, job: &str) -> Result<Option<ProjectId>, RecordError>;
}

/// Notices that users are shown once.
#[async_trait]
pub trait NoticeRecord: Send + Sync + 'static {
    /// Whether a user was shown a notice.
    async fn notice_shown(&self, user: UserId, notice: &str) -> Result<bool, RecordError>;
    /// Writes down that a user was shown a notice; again is nothing.
    async fn show_notice(
        &self,
        user: UserId,
        notice: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError>;
}

/// The whole durable store.
pub trait Record:
    GrantRecord
    + LogRecord
    + UsageRecord
    + OrganizationRecord
    + PeopleRecord
    + SessionRecord
    + ProjectRecord
    + KeyRecord
    + AuditRecord
    + AttemptRecord
    + JobRecord
    + NoticeRecord
    + ReportRecord
    + UpkeepRecord
{
}

impl<T> Record for T where
    T: GrantRecord
        + LogRecord
        + UsageRecord
        + OrganizationRecord
        + PeopleRecord
        + SessionRecord
        + ProjectRecord
        + KeyRecord
        + AuditRecord
        + AttemptRecord
        + JobRecord
        + NoticeRecord
        + ReportRecord
        + UpkeepRecord
{
}
