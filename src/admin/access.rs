//! Who a caller is, and what it may do: one table, [`RULES`].
//!
//! A way in (an API) finds out who calls with [`Admin::identify`](super::Admin::identify), and asks
//! [`may`] before each deed, mostly through [`Admin::enter`](super::Admin::enter) and
//! [`Admin::reach_key`](super::Admin::reach_key), which also find what the deed is about.
//!
//! **Invariants.** What belongs to an organization that the caller does not belong to is answered as if it were not
//! there, in the same words. An API key only reads: it can never make, reveal, change or revoke a key, whatever its
//! scopes are.
//!
//! **Deliberately absent:** the command line, which whoever may read and write the record's file may use.

use crate::domain::id::OrgId;
use crate::domain::key::{Key, Scope};
use crate::domain::people::{Role, Session, User};
use crate::stores::record::Actor;

/// Who is calling.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// A person, by a session.
    Person {
        /// Who.
        user: User,
        /// The session; of an outside issuer's token, what would end it.
        session: Session,
    },
    /// A program, by an API key in good standing.
    Key(Box<Key>),
}

impl Caller {
    /// The organization that is meant where none is named.
    pub fn home(&self) -> &OrgId {
        match self {
            Self::Person { user, .. } => &user.home,
            Self::Key(key) => &key.organization,
        }
    }

    /// For the audit trail; `from` is the caller's address.
    pub fn actor(&self, from: std::net::IpAddr) -> Actor {
        let who = match self {
            Self::Person { user, .. } => user.id.to_string(),
            Self::Key(key) => format!("key:{}", key.id),
        };
        Actor { who, from: from.to_string() }
    }

    /// The person; `None` for a program.
    pub const fn person(&self) -> Option<&User> {
        match self {
            Self::Person { user, .. } => Some(user),
            Self::Key(_) => None,
        }
    }
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it, and the table says the rest")]
pub enum Deed {
    ReadSelf,
    ChangeSelf,
    ReadPlans,
    ReadOrganization,
    RenameOrganization,
    ReadMembers,
    ManageMembers,
    ReadProjects,
    ManageProjects,
    ReadKeys,
    ManageKeys,
    RevealKey,
    ReadLimits,
    ManageLimits,
    ReadUsage,
    ReadAudit,
    CreateOrganization,
    SetPlan,
    AddMember,
    ImportKeys,
    ManageUsers,
    ReadBlocked,
    Unblock,
}

/// The least that someone must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Least {
    /// Whoever is known.
    Anyone,
    /// A member of the organization with this role, or a higher one.
    Role(Role),
    /// Who runs the gateway.
    Operator,
}

/// One row of [`RULES`].
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What is done.
    pub deed: Deed,
    /// Its name, in documents.
    pub name: &'static str,
    /// Which person may.
    pub least: Least,
    /// Whether a key of the organization may, which needs the scope `read` for it.
    pub keys: bool,
}

const fn rule(deed: Deed, name: &'static str, least: Least, keys: bool) -> Rule {
    Rule { deed, name, least, keys }
}

const MEMBER: Least = Least::Role(Role::Member);
const ADMIN: Least = Least::Role(Role::Admin);
const OWNER: Least = Least::Role(Role::Owner);

/// What may be done by whom. In the order of [`Deed`].
///
/// Importing is the operator's, as one imported key makes the whole gateway look up keys of any shape; so is making
/// organizations, as each comes with the limits of a plan; and adding a member unasked, which would tell whether
/// somebody has an account.
#[rustfmt::skip]
pub const RULES: [Rule; 23] = [
    rule(Deed::ReadSelf,           "read-self",           Least::Anyone,   true),
    rule(Deed::ChangeSelf,         "change-self",         Least::Anyone,   false),
    rule(Deed::ReadPlans,          "read-plans",          Least::Anyone,   true),
    rule(Deed::ReadOrganization,   "read-organization",   MEMBER,          false),
    rule(Deed::RenameOrganization, "rename-organization", OWNER,           false),
    rule(Deed::ReadMembers,        "read-members",        MEMBER,          false),
    rule(Deed::ManageMembers,      "manage-members",      OWNER,           false),
    rule(Deed::ReadProjects,       "read-projects",       MEMBER,          false),
    rule(Deed::ManageProjects,     "manage-projects",     ADMIN,           false),
    rule(Deed::ReadKeys,           "read-keys",           MEMBER,          false),
    rule(Deed::ManageKeys,         "manage-keys",         ADMIN,           false),
    rule(Deed::RevealKey,          "reveal-key",          OWNER,           false),
    rule(Deed::ReadLimits,         "read-limits",         MEMBER,          true),
    rule(Deed::ManageLimits,       "manage-limits",       ADMIN,           false),
    rule(Deed::ReadUsage,          "read-usage",          MEMBER,          true),
    rule(Deed::ReadAudit,          "read-audit",          ADMIN,           false),
    rule(Deed::CreateOrganization, "create-organization", Least::Operator, false),
    rule(Deed::SetPlan,            "set-plan",            Least::Operator, false),
    rule(Deed::AddMember,          "add-member",          Least::Operator, false),
    rule(Deed::ImportKeys,         "import-keys",         Least::Operator, false),
    rule(Deed::ManageUsers,        "manage-users",        Least::Operator, false),
    rule(Deed::ReadBlocked,        "read-blocked",        Least::Operator, false),
    rule(Deed::Unblock,            "unblock",             Least::Operator, false),
];

impl Deed {
    /// Its row of the table.
    pub const fn rule(self) -> Rule {
        RULES[self as usize]
    }
}

/// Why a deed is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller does not belong to the organization: it is to be told that there is no such thing.
    #[error("there is no such thing")]
    Unseen,
    /// No API key may do this.
    #[error("an API key cannot do this: log in")]
    Keys,
    /// The API key lacks the scope to read.
    #[error("this API key lacks the scope `read`")]
    Scope,
    /// It takes more than the caller is.
    #[error("this takes {}", needed(*.0))]
    Needs(Least),
}

const fn needed(least: Least) -> &'static str {
    match least {
        Least::Anyone => "a login",
        Least::Role(Role::Member) => "a member of the organization",
        Least::Role(Role::Admin) => "an admin of the organization",
        Least::Role(Role::Owner) => "an owner of the organization",
        Least::Operator => "an operator of the gateway",
    }
}

/// Whether `caller` may do `deed` to `org` and what belongs to it; `None` where the deed is about no organization.
///
/// # Errors
/// [`Denied`]
pub fn may(caller: &Caller, deed: Deed, org: Option<&OrgId>) -> Result<(), Denied> {
    let rule = deed.rule();
    match caller {
        Caller::Key(_) if !rule.keys => Err(Denied::Keys),
        Caller::Key(key) if org.is_some_and(|org| *org != key.organization) => Err(Denied::Unseen),
        Caller::Key(key) if !key.scopes.has(Scope::Read) => Err(Denied::Scope),
        Caller::Key(_) => Ok(()),
        Caller::Person { user, .. } if user.operator => Ok(()),
        Caller::Person { user, .. } => {
            let is = match org {
                Some(org) => Least::Role(user.role_in(org).ok_or(Denied::Unseen)?),
                None => Least::Anyone,
            };
            if is >= rule.least { Ok(()) } else { Err(Denied::Needs(rule.least)) }
        }
    }
}

#[cfg(test)]
mod tests;
