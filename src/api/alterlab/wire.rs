//! AlterLab's bodies, field by field as its pages show them. Times are RFC 3339 in whole seconds, microcents those of
//! the configuration.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::cost::Outcome;
use crate::domain::key::Key;
use crate::domain::limit::SpendLimit;
use crate::domain::time::Timestamp;
use crate::domain::used::InPeriod;
use crate::stores::record::reports::{Failures, LoggedRow, Point, Share, Totals};

/// `2025-01-15T10:30:00Z`
pub(super) fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// A key, in the list and as it is made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::ApiKey)]
pub(super) struct ApiKey {
    id: String,
    name: String,
    key_prefix: String,
    /// The key itself: only where it is made.
    #[schema(required)]
    key: Option<String>,
    scopes: Vec<&'static str>,
    created_at: String,
    #[schema(required)]
    last_used_at: Option<String>,
    /// Requests that were admitted.
    requests: u64,
}

/// A key that was renamed or regenerated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::ChangedKey)]
pub(super) struct ChangedKey {
    id: String,
    name: String,
    key_prefix: String,
    /// The new key; null where it was renamed only.
    #[schema(required)]
    key: Option<String>,
    scopes: Vec<&'static str>,
    created_at: String,
}

/// A key's secret.
#[derive(Serialize, ToSchema)]
#[schema(as = alterlab::Decrypted)]
pub(super) struct Decrypted {
    pub key: String,
}

/// `{"status": "ok"}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Done)]
pub(super) struct Done {
    status: &'static str,
}

/// Keys that cannot be decrypted, as only their digest was kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::LegacyStatus)]
pub(super) struct LegacyStatus {
    pub has_legacy_keys: bool,
    pub legacy_key_count: u64,
    /// Whether the user was told.
    pub notice_shown: bool,
}

/// A calendar cap, and what of it is used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Limits)]
pub(super) struct Limits {
    #[schema(required)]
    budget_limit_microcents: Option<u64>,
    #[schema(required)]
    request_limit: Option<u64>,
    reset_period: &'static str,
    enabled: bool,
    current_spend_microcents: u64,
    current_request_count: u64,
    period_start: String,
    period_end: String,
}

/// A key's limits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::KeyLimits)]
pub(super) struct KeyLimits {
    pub api_key_id: String,
    pub api_key_name: String,
    #[schema(required)]
    pub limits: Option<Limits>,
    pub has_limits: bool,
}

/// The organization's limits, over all its keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::AccountLimits)]
pub(super) struct AccountLimits {
    /// Whose session it is, or who made the key; null for a key made at the command line.
    #[schema(required)]
    pub user_id: Option<String>,
    #[schema(required)]
    pub limits: Option<Limits>,
    pub has_limits: bool,
}

/// Sums of one key. Refused requests are failed ones.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Usage)]
pub(super) struct Usage {
    pub api_key_id: String,
    pub api_key_name: String,
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Sums)]
pub(super) struct Sums {
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    total_spend_microcents: u64,
}

/// Sums by tier.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::ByTier)]
pub(super) struct ByTier {
    pub api_key_id: String,
    pub days: u32,
    /// The most frequent first.
    pub tiers: Vec<Tier>,
}

/// Sums of one tier.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Tier)]
pub(super) struct Tier {
    /// As the upstream called it; `other` for the rarest, together.
    tier: String,
    #[serde(flatten)]
    sums: Sums,
}

/// What failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Errors)]
pub(super) struct Errors {
    pub api_key_id: String,
    pub days: u32,
    pub total_errors: u64,
    /// The most frequent first.
    pub errors: Vec<ErrorCount>,
}

/// One kind of failure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::ErrorCount)]
pub(super) struct ErrorCount {
    /// The status that was sent; 0 where none was.
    status_code: u16,
    /// Why the gateway refused; null where the upstream answered.
    #[schema(required)]
    error_code: Option<String>,
    count: u64,
}

/// A page of requests, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Requests)]
pub(super) struct Requests {
    pub api_key_id: String,
    /// Requests found; by `tier` or `domain`, among the newest million, and so a lower bound.
    pub total: u64,
    /// Counted from 1.
    pub page: u64,
    pub page_size: u64,
    pub total_pages: u64,
    pub items: Vec<Item>,
}

/// One request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Item)]
pub(super) struct Item {
    /// As in `X-Request-Id`.
    id: String,
    created_at: String,
    method: String,
    path: String,
    /// `success` or `failed`.
    status: &'static str,
    status_code: u16,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    tier_used: Option<String>,
    #[schema(required)]
    domain: Option<String>,
    credits: u64,
    spend_microcents: u64,
    /// Milliseconds to the last byte.
    duration_ms: u64,
}

/// Sums over time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Timeseries)]
pub(super) struct Timeseries {
    pub api_key_id: String,
    pub days: u32,
    /// `hour` for one or two days, else `day` (UTC).
    pub granularity: &'static str,
    /// The oldest first, without gaps.
    pub data: Vec<DataPoint>,
}

/// Sums of one hour or day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::DataPoint)]
pub(super) struct DataPoint {
    /// Its first instant.
    timestamp: String,
    #[serde(flatten)]
    sums: Sums,
}

/// The account's credits in its billing period. Null is unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::AccountUsage)]
pub(super) struct AccountUsage {
    #[schema(required)]
    pub credits_available: Option<u64>,
    pub credits_used: u64,
    #[schema(required)]
    pub credits_limit: Option<u64>,
    pub requests_count: u64,
    /// The organization's plan.
    pub subscription_tier: String,
    pub billing_period_start: String,
    pub billing_period_end: String,
}

/// Who is calling, and for which account. Null is unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::Me)]
pub(super) struct Me {
    pub id: String,
    #[schema(required)]
    pub email: Option<String>,
    pub name: String,
    pub created_at: String,
    pub subscription_tier: String,
    #[schema(required)]
    pub credits_remaining: Option<u64>,
    #[schema(required)]
    pub credits_total: Option<u64>,
    pub tier_info: TierInfo,
}

/// The organization's plan. Null is unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::TierInfo)]
pub(super) struct TierInfo {
    pub name: String,
    pub slug: String,
    #[schema(required)]
    pub requests_per_minute: Option<u64>,
    #[schema(required)]
    pub concurrent_requests: Option<u64>,
}

impl ApiKey {
    /// `secret` only where the key is made.
    pub(super) fn of(key: &Key, secret: Option<String>) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            key_prefix: key.prefix.clone(),
            key: secret,
            scopes: key.scopes.names().collect(),
            created_at: seconds(key.created_at),
            last_used_at: key.last_used_at.map(seconds),
            requests: key.requests,
        }
    }
}

impl ChangedKey {
    /// `secret` only where it is new.
    pub(super) fn of(key: &Key, secret: Option<String>) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            key_prefix: key.prefix.clone(),
            key: secret,
            scopes: key.scopes.names().collect(),
            created_at: seconds(key.created_at),
        }
    }
}

impl Done {
    pub(super) const OK: Self = Self { status: "ok" };
}

impl Limits {
    /// A limit, and what counts against it, by period.
    pub(super) fn of(limit: &SpendLimit, spent: &[InPeriod; 3]) -> Self {
        let spent = spent[limit.period.index()];
        Self {
            budget_limit_microcents: limit.microcents,
            request_limit: limit.requests,
            reset_period: limit.period.name(),
            enabled: limit.enabled,
            current_spend_microcents: spent.microcents,
            current_request_count: spent.requests,
            period_start: seconds(spent.starts_at),
            period_end: seconds(spent.ends_at),
        }
    }
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Self {
        Self {
            total_requests: totals.requests(),
            successful_requests: totals.success,
            failed_requests: totals.failed(),
            total_spend_microcents: totals.cost.microcents,
        }
    }
}

impl From<Share> for Tier {
    fn from(share: Share) -> Self {
        Self {
            tier: share.name.unwrap_or_else(|| "other".to_owned()),
            sums: Sums {
                total_requests: share.requests,
                successful_requests: share.success,
                failed_requests: share.requests.saturating_sub(share.success),
                total_spend_microcents: share.cost.microcents,
            },
        }
    }
}

impl From<Failures> for ErrorCount {
    fn from(failures: Failures) -> Self {
        Self {
            status_code: failures.status,
            error_code: Some(failures.code).filter(|code| !code.is_empty()),
            count: failures.requests,
        }
    }
}

impl From<LoggedRow> for Item {
    fn from(logged: LoggedRow) -> Self {
        let row = logged.row;
        let succeeded = row.outcome == Some(Outcome::Success);
        Self {
            id: row.id.to_string(),
            created_at: seconds(row.at),
            method: row.method.into_owned(),
            path: row.path.into_owned(),
            status: if succeeded { "success" } else { "failed" },
            status_code: row.status,
            error_code: Some(row.code.into_owned()).filter(|code| !code.is_empty()),
            tier_used: row.tier.map(Into::into),
            domain: row.domain.map(Into::into),
            credits: row.cost.credits,
            spend_microcents: row.cost.microcents,
            duration_ms: row.total_micros / 1_000,
        }
    }
}

impl From<Point> for DataPoint {
    fn from(point: Point) -> Self {
        Self { timestamp: seconds(point.at), sums: Sums::from(&point.totals) }
    }
}
