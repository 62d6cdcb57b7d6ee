//! A key, and the rules of when it may be used.

use std::net::IpAddr;

use ipnet::IpNet;

use super::id::{KeyId, OrgId, ProjectId, UserId};
use super::limit::{Caps, Quotas, SpendLimit};
use super::refusal::Refusal;
use super::time::Timestamp;

/// What a key may do to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// GET, HEAD and OPTIONS, unless the route says otherwise.
    pub read: bool,
    /// Every other method, unless the route says otherwise.
    pub write: bool,
}

/// One scope, as a route or method needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Reading.
    Read,
    /// Changing or spending.
    Write,
}

impl Scopes {
    /// Both scopes: what a key has unless it was created with fewer.
    pub const ALL: Self = Self { read: true, write: true };

    /// Whether `scope` is among these.
    pub const fn has(self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read,
            Scope::Write => self.write,
        }
    }

    /// The scopes' names, `read` first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.read, "read"), (self.write, "write")].into_iter().filter_map(|(has, name)| has.then_some(name))
    }
}

/// A key as people manage it. It never holds the secret; see [`super::secret`].
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// What everything calls this key by.
    pub id: KeyId,
    /// Who pays for it.
    pub organization: OrgId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The alias; unique per organization among keys that are not revoked.
    pub name: String,
    /// `production`, `development`, `staging` or any text; no effect.
    pub category: String,
    /// What the secret begins with.
    pub prefix: String,
    /// The last four characters of the secret.
    pub hint: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Disabled keys are refused and keep their history.
    pub active: bool,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, for good.
    pub revoked_at: Option<Timestamp>,
    /// The networks it may be used from; empty is everywhere.
    pub allowed_ips: Vec<IpNet>,
    /// Rolling caps.
    pub quotas: Quotas,
    /// Calendar cap.
    pub limit: Option<SpendLimit>,
    /// The user who made it; `None` for the command line.
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the log last saw an admitted request of it.
    pub last_used_at: Option<Timestamp>,
    /// Admitted requests in the log.
    pub requests: u64,
}

/// What admission needs to know of a key: small, as a million of these are kept in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// [`Key::id`].
    pub id: KeyId,
    /// [`Key::organization`].
    pub organization: OrgId,
    /// [`Key::project`].
    pub project: ProjectId,
    /// [`Key::scopes`].
    pub scopes: Scopes,
    /// [`Key::active`].
    pub active: bool,
    /// [`Key::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// The end of the grace of a rotated secret: this secret, not the key, is unknown from then on.
    pub secret_until: Option<Timestamp>,
    /// [`Key::allowed_ips`].
    pub allowed_ips: Box<[IpNet]>,
    /// [`Key::quotas`].
    pub quotas: Quotas,
    /// [`Key::limit`], boxed because few keys have one.
    pub limit: Option<Box<SpendLimit>>,
}

impl Grant {
    /// Checks 5 (the end of a rotated secret), 6 and 7 of the contract, in that order.
    ///
    /// # Errors
    /// [`Refusal::InvalidApiKey`], [`Refusal::InactiveApiKey`] or [`Refusal::ExpiredApiKey`].
    pub fn standing(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.secret_until.is_some_and(|until| now >= until) {
            return Err(Refusal::InvalidApiKey);
        }
        if !self.active {
            return Err(Refusal::InactiveApiKey);
        }
        if self.expires_at.is_some_and(|at| now >= at) {
            return Err(Refusal::ExpiredApiKey);
        }
        Ok(())
    }

    /// Whether the key may be used from this address.
    ///
    /// # Errors
    /// [`Refusal::IpNotAllowed`].
    pub fn allows_from(&self, client: IpAddr) -> Result<(), Refusal> {
        let client = client.to_canonical();
        if self.allowed_ips.is_empty() || self.allowed_ips.iter().any(|net| net.contains(&client)) {
            return Ok(());
        }
        Err(Refusal::IpNotAllowed)
    }

    /// Check 8 of the contract: address, then scope, then the project that the path names.
    ///
    /// # Errors
    /// [`Refusal::IpNotAllowed`], [`Refusal::ScopeMissing`] or [`Refusal::ProjectLocked`].
    pub fn allows(&self, client: IpAddr, scope: Scope, project: Option<&str>) -> Result<(), Refusal> {
        self.allows_from(client)?;
        if !self.scopes.has(scope) {
            return Err(Refusal::ScopeMissing);
        }
        if project.is_some_and(|named| named != self.project.as_str()) {
            return Err(Refusal::ProjectLocked);
        }
        Ok(())
    }
}

/// An organization as admission and people know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Organization {
    /// Its id; see [`OrgId`].
    pub id: OrgId,
    /// What people call it.
    pub name: String,
    /// The name of its plan in the configuration.
    pub plan: String,
    /// Caps of its own, each in the place of the plan's.
    pub negotiated: Caps,
    /// Calendar cap over all its keys.
    pub limit: Option<SpendLimit>,
    /// When it was made.
    pub created_at: Timestamp,
}
