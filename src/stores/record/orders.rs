//! What the record is told to write, and which part of a list it is asked for.

use uuid::Uuid;

use crate::domain::id::{KeyId, OrgId, ProjectId, UserId};
use crate::domain::key::{Key, Scopes};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::people::Role;
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

/// Who makes a change, for the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// `cli`, `demo`, or a user's id.
    pub who: String,
    /// The address it came from; empty for the command line.
    pub from: String,
}

/// A part of a list: what follows `after` in the list's order, at most `most` of it. Lists are walked by what
/// they are ordered by and not by number, so that a page costs the same wherever it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The last entry seen; `None` begins.
    pub after: Option<T>,
    /// At most so many.
    pub most: usize,
}

impl<T> Page<T> {
    /// The beginning of a list.
    pub const fn first(most: usize) -> Self {
        Self { after: None, most }
    }
}

/// The settings of a thing as whoever wants to change it has seen them: the hexadecimal beginning of the SHA-256
/// of what the audit trail would say of it. Counts are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen(pub String);

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

/// A change to an organization. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct OrganizationEdit {
    /// A new name.
    pub name: Option<String>,
    /// Another plan.
    pub plan: Option<String>,
    /// New caps of its own.
    pub negotiated: Option<Caps>,
    /// A new calendar cap, or none.
    pub limit: Option<Option<SpendLimit>>,
    /// Only where its settings are still these.
    pub seen: Option<Seen>,
}

/// A user to be made, with the organization that is its own.
#[derive(Clone)]
pub struct NewUser {
    /// As [`User::id`](crate::domain::people::User::id).
    pub id: UserId,
    /// As [`User::email`](crate::domain::people::User::email); lower-cased by the record.
    pub email: String,
    /// The password as a PHC string; `None` for one that only an outside issuer knows.
    pub password: Option<String>,
    /// As [`User::operator`](crate::domain::people::User::operator).
    pub operator: bool,
    /// An organization to join at once.
    pub membership: Option<(OrgId, Role)>,
    /// Its personal organization, which it owns.
    pub personal: NewOrganization,
    /// The id of the personal organization where the one in `personal` is taken.
    pub personal_otherwise: OrgId,
}

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// As [`Invitation::id`](crate::domain::people::Invitation::id).
    pub id: Uuid,
    /// The digest of its token.
    pub digest: Digest,
    /// Where to.
    pub organization: OrgId,
    /// For whom; lower-cased by the record.
    pub email: String,
    /// As what.
    pub role: Role,
    /// By whom; `None` for the command line.
    pub invited_by: Option<UserId>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Who accepts an invitation.
#[derive(Clone)]
pub enum Joining {
    /// A user there is, whose email must be the invitation's.
    User(UserId),
    /// One to be made, whose email must be the invitation's.
    New(Box<NewUser>),
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// As [`Key::id`](crate::domain::key::Key::id).
    pub id: KeyId,
    /// The digest of its secret.
    pub digest: Digest,
    /// The secret itself, sealed; `None` keeps the digest only.
    pub sealed: Option<Vec<u8>>,
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
    /// As [`Key::active`](crate::domain::key::Key::active).
    pub active: bool,
    /// As [`Key::expires_at`](crate::domain::key::Key::expires_at).
    pub expires_at: Option<Timestamp>,
    /// As [`Key::allowed_ips`](crate::domain::key::Key::allowed_ips).
    pub allowed_ips: Vec<ipnet::IpNet>,
    /// As [`Key::quotas`](crate::domain::key::Key::quotas).
    pub quotas: Quotas,
    /// As [`Key::limit`](crate::domain::key::Key::limit).
    pub limit: Option<SpendLimit>,
    /// As [`Key::created_by`](crate::domain::key::Key::created_by).
    pub created_by: Option<UserId>,
}

/// A change to a key. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new category.
    pub category: Option<String>,
    /// Another project of the same organization.
    pub project: Option<ProjectId>,
    /// New scopes.
    pub scopes: Option<Scopes>,
    /// A new end, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// New networks; empty is everywhere.
    pub allowed_ips: Option<Vec<ipnet::IpNet>>,
    /// Disable or enable.
    pub active: Option<bool>,
    /// Revoke, for good.
    pub revoke: bool,
    /// New rolling caps.
    pub quotas: Option<Quotas>,
    /// A new calendar cap, or none.
    pub limit: Option<Option<SpendLimit>>,
    /// Only where its settings are still these.
    pub seen: Option<Seen>,
}

impl KeyEdit {
    /// The key as it is afterwards. That its name is free and its project the organization's is not looked at.
    pub(in crate::stores::record) fn applied_to(&self, key: &Key, now: Timestamp) -> Key {
        Key {
            name: self.name.clone().unwrap_or_else(|| key.name.clone()),
            category: self.category.clone().unwrap_or_else(|| key.category.clone()),
            scopes: self.scopes.unwrap_or(key.scopes),
            expires_at: self.expires_at.unwrap_or(key.expires_at),
            allowed_ips: self.allowed_ips.clone().unwrap_or_else(|| key.allowed_ips.clone()),
            active: self.active.unwrap_or(key.active),
            revoked_at: self.revoke.then_some(now),
            quotas: self.quotas.unwrap_or(key.quotas),
            limit: self.limit.unwrap_or(key.limit),
            ..key.clone()
        }
    }

    /// What it is called in the audit trail.
    pub(in crate::stores::record) fn verb(&self) -> &'static str {
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
        } = self;
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
}

/// A new secret of a key.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its digest.
    pub digest: Digest,
    /// The secret itself, sealed; `None` keeps the digest only.
    pub sealed: Option<Vec<u8>>,
    /// As [`Key::hint`](crate::domain::key::Key::hint).
    pub hint: String,
    /// Until when the old ones work; `None`: no longer.
    pub old_until: Option<Timestamp>,
}

/// Which keys to list.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this organization only.
    pub organization: Option<OrgId>,
    /// Revoked ones too.
    pub revoked: bool,
}

/// Which of the audit trail to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// What was done to this organization and what belongs to it; `None` is everything.
    pub organization: Option<OrgId>,
    /// What was done to this: the id of a key, user, project or organization.
    pub subject: Option<String>,
}

/// A request that names itself, so that its repetition does nothing twice.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who asks: a user's id.
    pub caller: &'a str,
    /// The digest of the name that the caller gave it.
    pub name: Digest,
    /// The digest of what is asked.
    pub request: Digest,
}

/// What is known of an [`Attempt`].
#[derive(Clone, Debug, PartialEq)]
pub enum Attempted {
    /// Nothing: it is the caller's turn, and is written down as under way.
    First,
    /// It is under way.
    UnderWay,
    /// It was answered so; sealed by whoever answered.
    Answered(Vec<u8>),
    /// The name was given to another request.
    Another,
    /// The caller has as many of them as it may have.
    TooMany,
}
