//! Things as the audit trail keeps them: JSON of what people can change, and nothing that is secret or counted.

use serde_json::{Value, json};

use super::Seen;
use crate::domain::key::{Key, Organization};
use crate::domain::limit::SpendLimit;
use crate::domain::people::{Invitation, Project, Role, Session, User};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

/// Bytes of a digest in a [`Seen`].
const SEEN_BYTES: usize = 12;

/// The settings of a key as they are now.
pub fn seen_key(settings: &Key) -> Seen {
    seen(&key(settings))
}

/// The settings of an organization as they are now.
pub fn seen_organization(settings: &Organization) -> Seen {
    seen(&organization(settings))
}

/// The settings of a project as they are now.
pub fn seen_project(settings: &Project) -> Seen {
    seen(&project(settings))
}

fn seen(snapshot: &Value) -> Seen {
    let digest = Digest::of(snapshot.to_string().as_bytes());
    Seen(digest.0.iter().take(SEEN_BYTES).map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn organization(org: &Organization) -> Value {
    json!({
        "id": org.id.as_str(),
        "name": org.name,
        "plan": org.plan,
        "per_second": org.negotiated.per_second,
        "per_minute": org.negotiated.per_minute,
        "concurrency": org.negotiated.concurrency,
        "limits": limit(org.limit.as_ref()),
    })
}

pub(super) fn user(user: &User) -> Value {
    let memberships: Vec<_> = user
        .memberships
        .iter()
        .map(|(org, role)| json!({"organization": org.as_str(), "role": role.name()}))
        .collect();
    json!({
        "id": user.id.to_string(),
        "email": user.email,
        "operator": user.operator,
        "memberships": memberships,
    })
}

pub(super) fn session(session: &Session) -> Value {
    json!({
        "id": session.id.to_string(),
        "user": session.user.to_string(),
        "expires_at": session.expires_at.to_string(),
        "revoked_at": instant(session.revoked_at),
    })
}

pub(super) fn member(user: &User, role: Role) -> Value {
    json!({"user": user.id.to_string(), "email": user.email, "role": role.name()})
}

pub(super) fn invitation(invitation: &Invitation) -> Value {
    json!({
        "id": invitation.id.to_string(),
        "organization": invitation.organization.as_str(),
        "email": invitation.email,
        "role": invitation.role.name(),
        "expires_at": invitation.expires_at.to_string(),
    })
}

pub(super) fn project(project: &Project) -> Value {
    json!({
        "id": project.id.as_str(),
        "organization": project.organization.as_str(),
        "name": project.name,
    })
}

pub(super) fn key(key: &Key) -> Value {
    json!({
        "id": key.id.to_string(),
        "organization": key.organization.as_str(),
        "project": key.project.as_str(),
        "name": key.name,
        "category": key.category,
        "prefix": key.prefix,
        "hint": key.hint,
        "scopes": key.scopes.names().collect::<Vec<_>>(),
        "active": key.active,
        "expires_at": instant(key.expires_at),
        "revoked_at": instant(key.revoked_at),
        "allowed_ips": key.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "quotas": {
            "total": key.quotas.total,
            "daily": key.quotas.daily,
            "weekly": key.quotas.weekly,
            "monthly": key.quotas.monthly,
        },
        "limits": limit(key.limit.as_ref()),
    })
}

fn limit(limit: Option<&SpendLimit>) -> Value {
    limit.map_or(Value::Null, |limit| {
        json!({
            "requests": limit.requests,
            "microcents": limit.microcents,
            "period": limit.period.name(),
            "enabled": limit.enabled,
        })
    })
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}
