//! Users, their roles, projects and sessions.

use super::id::{OrgId, ProjectId, UserId};
use super::time::Timestamp;

/// What a user may do in an organization; each role includes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Uses and reads.
    Member,
    /// Manages keys and limits.
    Admin,
    /// Manages members and the organization.
    Owner,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The word in commands, APIs and the record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Lower-cased; unique.
    pub email: String,
    /// Whether this user runs the gateway and sees every organization.
    pub operator: bool,
    /// The organization that it means where it names none: the one it was made for, by `--org` or an invitation; its
    /// personal one where it was made for none, or has left.
    pub home: OrgId,
    /// The organizations it belongs to, with its role in each.
    pub memberships: Vec<(OrgId, Role)>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl User {
    /// Its role in `org`; `None` where it does not belong to it.
    pub fn role_in(&self, org: &OrgId) -> Option<Role> {
        self.memberships.iter().find(|(member_of, _)| member_of == org).map(|(_, role)| *role)
    }
}

/// A user as one organization knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// As [`User::email`].
    pub email: String,
    /// What it may do there.
    pub role: Role,
    /// When it joined.
    pub since: Timestamp,
}

/// An offer to join an organization. Who holds its token may accept it; only the token's digest is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    /// Its id.
    pub id: uuid::Uuid,
    /// Where to.
    pub organization: OrgId,
    /// For whom; lower-cased.
    pub email: String,
    /// As what.
    pub role: Role,
    /// By whom; `None` for the command line.
    pub invited_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A part of an organization; a key belongs to exactly one.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id, unique over all organizations, as a path may name it.
    pub id: ProjectId,
    /// Who it belongs to.
    pub organization: OrgId,
    /// What people call it; unique in its organization.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A login: a token names it, and it can be revoked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Session {
    /// The `jti` of the token; of an outside issuer's token, the first half of its SHA-256.
    pub id: uuid::Uuid,
    /// Who is logged in.
    pub user: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was ended by hand.
    pub revoked_at: Option<Timestamp>,
}

impl Session {
    /// Whether it has neither ended nor been ended.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}
