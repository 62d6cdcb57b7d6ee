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
    /// The organizations it belongs to, with its role in each.
    pub memberships: Vec<(OrgId, Role)>,
    /// When it was made.
    pub created_at: Timestamp,
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
    /// The `jti` of the token.
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
