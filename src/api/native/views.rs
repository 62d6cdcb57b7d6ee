//! Things as the native API shows them: the field names of the contract's section 5.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use crate::api::json::whole_or_none;
use crate::domain::key::{Key, Organization};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::people::{Invitation, Member, Project, Role, User};
use crate::domain::secret::Secret;
use crate::domain::time::{Period, Timestamp};

/// An API key. Its secret is shown by the call that made it, and by no other.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    /// UUID.
    id: String,
    organization: String,
    project: String,
    /// Unique in the organization among keys that are not revoked.
    name: String,
    /// `production`, `development`, `staging` or any text; no effect.
    category: String,
    /// What the secret begins with.
    prefix: String,
    /// The last characters of the secret.
    hint: String,
    /// `read`, `write`.
    scopes: Vec<String>,
    /// A key that is not is refused, and can be enabled again.
    active: bool,
    /// RFC 3339.
    expires_at: Option<String>,
    /// A revoked key never works again.
    revoked_at: Option<String>,
    /// Networks in CIDR; empty is everywhere.
    allowed_ips: Vec<String>,
    quotas: QuotasView,
    limits: Option<LimitView>,
    /// The user who made it.
    created_by: Option<String>,
    created_at: String,
    /// When the log last saw an admitted request.
    last_used_at: Option<String>,
    /// Admitted requests in the log.
    requests: u64,
    /// The secret, in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Rolling caps; null is no cap, 0 admits nothing.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Quotas)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotasView {
    /// Requests ever.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    total: Option<u64>,
    /// Requests in any 24 hours.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    daily: Option<u64>,
    /// Requests in any 7 days.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    weekly: Option<u64>,
    /// Requests in any 30 days.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    monthly: Option<u64>,
}

/// A calendar cap on spending.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SpendLimit)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitView {
    /// Requests per period; null is no cap.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    requests: Option<u64>,
    /// Microcents per period; null is no cap.
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    microcents: Option<u64>,
    period: PeriodName,
    /// A limit that is switched off counts, and refuses nothing.
    #[serde(default = "yes")]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

/// A calendar period in UTC.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Period)]
#[serde(rename_all = "lowercase")]
pub(super) enum PeriodName {
    Daily,
    Weekly,
    Monthly,
}

/// An organization's caps over all its keys; null is no cap, or in `negotiated` the plan's.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Caps)]
#[serde(deny_unknown_fields)]
pub(super) struct CapsView {
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    per_second: Option<u64>,
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    per_minute: Option<u64>,
    #[schema(maximum = 9007199254740991_i64)]
    #[serde(default, deserialize_with = "whole_or_none")]
    concurrency: Option<u64>,
}

/// An account that pays.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct OrganizationView {
    id: String,
    name: String,
    plan: String,
    /// In force: the plan's, with the negotiated ones in their place.
    caps: CapsView,
    negotiated: CapsView,
    limits: Option<LimitView>,
    created_at: String,
}

/// A part of an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
pub(super) struct ProjectView {
    id: String,
    organization: String,
    name: String,
    created_at: String,
}

/// A person.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    id: String,
    email: String,
    /// Whether it runs the gateway.
    operator: bool,
    /// What is meant where it names no organization.
    organization: String,
    memberships: Vec<MembershipView>,
    created_at: String,
}

/// What a person is in one organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Membership)]
pub(super) struct MembershipView {
    organization: String,
    role: RoleName,
}

/// A person as one organization knows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberView {
    user: String,
    email: String,
    role: RoleName,
    since: String,
}

/// An offer to join an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(super) struct InvitationView {
    id: String,
    organization: String,
    email: String,
    role: RoleName,
    invited_by: Option<String>,
    created_at: String,
    expires_at: String,
    /// What accepts it, in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// What a member may do: `member` uses and reads, `admin` manages keys and limits, `owner` also members and the
/// organization.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleName {
    Member,
    Admin,
    Owner,
}

impl KeyView {
    pub fn new(key: &Key, secret: Option<&Secret>) -> Self {
        Self {
            id: key.id.to_string(),
            organization: key.organization.to_string(),
            project: key.project.to_string(),
            name: key.name.clone(),
            category: key.category.clone(),
            prefix: key.prefix.clone(),
            hint: key.hint.clone(),
            scopes: key.scopes.names().map(str::to_owned).collect(),
            active: key.active,
            expires_at: text(key.expires_at),
            revoked_at: text(key.revoked_at),
            allowed_ips: key.allowed_ips.iter().map(ToString::to_string).collect(),
            quotas: key.quotas.into(),
            limits: key.limit.map(Into::into),
            created_by: key.created_by.map(|user| user.to_string()),
            created_at: key.created_at.to_string(),
            last_used_at: text(key.last_used_at),
            requests: key.requests,
            key: secret.map(|secret| secret.expose().to_owned()),
        }
    }
}

impl OrganizationView {
    /// `plan` are the caps of its plan.
    pub fn new(org: &Organization, plan: Caps) -> Self {
        Self {
            id: org.id.to_string(),
            name: org.name.clone(),
            plan: org.plan.clone(),
            caps: plan.overridden(org.negotiated).into(),
            negotiated: org.negotiated.into(),
            limits: org.limit.map(Into::into),
            created_at: org.created_at.to_string(),
        }
    }
}

impl InvitationView {
    pub fn new(invitation: &Invitation, token: Option<&Secret>) -> Self {
        Self {
            id: invitation.id.to_string(),
            organization: invitation.organization.to_string(),
            email: invitation.email.clone(),
            role: invitation.role.into(),
            invited_by: invitation.invited_by.map(|user| user.to_string()),
            created_at: invitation.created_at.to_string(),
            expires_at: invitation.expires_at.to_string(),
            token: token.map(|token| token.expose().to_owned()),
        }
    }
}

impl From<&Project> for ProjectView {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id.to_string(),
            organization: project.organization.to_string(),
            name: project.name.clone(),
            created_at: project.created_at.to_string(),
        }
    }
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        let membership = |(org, role): &(crate::domain::id::OrgId, Role)| MembershipView {
            organization: org.to_string(),
            role: (*role).into(),
        };
        Self {
            id: user.id.to_string(),
            email: user.email.clone(),
            operator: user.operator,
            organization: user.home.to_string(),
            memberships: user.memberships.iter().map(membership).collect(),
            created_at: user.created_at.to_string(),
        }
    }
}

impl From<&Member> for MemberView {
    fn from(member: &Member) -> Self {
        Self {
            user: member.user.to_string(),
            email: member.email.clone(),
            role: member.role.into(),
            since: member.since.to_string(),
        }
    }
}

impl From<Quotas> for QuotasView {
    fn from(Quotas { total, daily, weekly, monthly }: Quotas) -> Self {
        Self { total, daily, weekly, monthly }
    }
}

impl From<QuotasView> for Quotas {
    fn from(QuotasView { total, daily, weekly, monthly }: QuotasView) -> Self {
        Self { total, daily, weekly, monthly }
    }
}

impl From<Caps> for CapsView {
    fn from(Caps { per_second, per_minute, concurrency }: Caps) -> Self {
        Self { per_second, per_minute, concurrency }
    }
}

impl From<CapsView> for Caps {
    fn from(CapsView { per_second, per_minute, concurrency }: CapsView) -> Self {
        Self { per_second, per_minute, concurrency }
    }
}

impl From<SpendLimit> for LimitView {
    fn from(limit: SpendLimit) -> Self {
        let period = match limit.period {
            Period::Daily => PeriodName::Daily,
            Period::Weekly => PeriodName::Weekly,
            Period::Monthly => PeriodName::Monthly,
        };
        Self { requests: limit.requests, microcents: limit.microcents, period, enabled: limit.enabled }
    }
}

impl From<LimitView> for SpendLimit {
    fn from(limit: LimitView) -> Self {
        let period = match limit.period {
            PeriodName::Daily => Period::Daily,
            PeriodName::Weekly => Period::Weekly,
            PeriodName::Monthly => Period::Monthly,
        };
        Self { requests: limit.requests, microcents: limit.microcents, period, enabled: limit.enabled }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Admin => Self::Admin,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Member => Self::Member,
            RoleName::Admin => Self::Admin,
            RoleName::Owner => Self::Owner,
        }
    }
}

/// An instant, or none, as text.
pub(super) fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A span such as `24h`.
pub(super) fn span(field: &str, text: &str) -> Result<std::time::Duration, Problem> {
    humantime::parse_duration(text)
        .map_err(|_| Problem::invalid(field, "write a time as 30s, 15m, 24h or 7d"))
}
