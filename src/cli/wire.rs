//! What `--json` prints: the field names of the contract's section 5.

use serde::Serialize;

use crate::domain::key::{Key, Organization};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::people::{Project, User};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

#[derive(Serialize)]
pub(super) struct KeyWire {
    id: String,
    organization: String,
    project: String,
    name: String,
    category: String,
    prefix: String,
    hint: String,
    scopes: Vec<&'static str>,
    active: bool,
    expires_at: Option<String>,
    allowed_ips: Vec<String>,
    quotas: QuotasWire,
    limits: Option<LimitWire>,
    created_by: Option<String>,
    created_at: String,
    last_used_at: Option<String>,
    requests: u64,
    revoked_at: Option<String>,
    /// The secret, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

#[derive(Serialize)]
struct QuotasWire {
    total: Option<u64>,
    daily: Option<u64>,
    weekly: Option<u64>,
    monthly: Option<u64>,
}

#[derive(Serialize)]
struct LimitWire {
    requests: Option<u64>,
    microcents: Option<u64>,
    period: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
pub(super) struct OrganizationWire {
    id: String,
    name: String,
    plan: String,
    /// In force: the plan's, with the negotiated ones in their place.
    caps: CapsWire,
    negotiated: CapsWire,
    limits: Option<LimitWire>,
    created_at: String,
}

#[derive(Serialize)]
struct CapsWire {
    per_second: Option<u64>,
    per_minute: Option<u64>,
    concurrency: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct UserWire {
    id: String,
    email: String,
    operator: bool,
    memberships: Vec<MembershipWire>,
    created_at: String,
}

#[derive(Serialize)]
struct MembershipWire {
    organization: String,
    role: &'static str,
}

#[derive(Serialize)]
pub(super) struct ProjectWire {
    id: String,
    organization: String,
    name: String,
    created_at: String,
}

#[derive(Serialize)]
pub(super) struct SessionWire {
    pub session_token: String,
    pub session: String,
    pub user: String,
    pub expires_at: String,
}

#[derive(Serialize)]
pub(super) struct DeletedWire {
    pub deleted: String,
}

impl KeyWire {
    pub(super) fn new(key: &Key, secret: Option<&Secret>) -> Self {
        Self {
            id: key.id.to_string(),
            organization: key.organization.to_string(),
            project: key.project.to_string(),
            name: key.name.clone(),
            category: key.category.clone(),
            prefix: key.prefix.clone(),
            hint: key.hint.clone(),
            scopes: key.scopes.names().collect(),
            active: key.active,
            expires_at: instant(key.expires_at),
            allowed_ips: key.allowed_ips.iter().map(ToString::to_string).collect(),
            quotas: quotas(key.quotas),
            limits: key.limit.as_ref().map(limit),
            created_by: key.created_by.map(|user| user.to_string()),
            created_at: key.created_at.to_string(),
            last_used_at: instant(key.last_used_at),
            requests: key.requests,
            revoked_at: instant(key.revoked_at),
            key: secret.map(|secret| secret.expose().to_owned()),
        }
    }
}

impl OrganizationWire {
    /// `plan` are the caps of its plan.
    pub(super) fn new(org: &Organization, plan: Caps) -> Self {
        Self {
            id: org.id.to_string(),
            name: org.name.clone(),
            plan: org.plan.clone(),
            caps: caps(plan.overridden(org.negotiated)),
            negotiated: caps(org.negotiated),
            limits: org.limit.as_ref().map(limit),
            created_at: org.created_at.to_string(),
        }
    }
}

impl From<&User> for UserWire {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.clone(),
            operator: user.operator,
            memberships: user
                .memberships
                .iter()
                .map(|(org, role)| MembershipWire { organization: org.to_string(), role: role.name() })
                .collect(),
            created_at: user.created_at.to_string(),
        }
    }
}

impl From<&Project> for ProjectWire {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id.to_string(),
            organization: project.organization.to_string(),
            name: project.name.clone(),
            created_at: project.created_at.to_string(),
        }
    }
}

fn quotas(quotas: Quotas) -> QuotasWire {
    let Quotas { total, daily, weekly, monthly } = quotas;
    QuotasWire { total, daily, weekly, monthly }
}

fn caps(caps: Caps) -> CapsWire {
    let Caps { per_second, per_minute, concurrency } = caps;
    CapsWire { per_second, per_minute, concurrency }
}

fn limit(limit: &SpendLimit) -> LimitWire {
    LimitWire {
        requests: limit.requests,
        microcents: limit.microcents,
        period: limit.period.name(),
        enabled: limit.enabled,
    }
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}
