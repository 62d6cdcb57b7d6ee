//! Piloterr's body, field by field as its page shows it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::desk::Account;
use crate::domain::key::{Key, Organization};
use crate::domain::limit::Caps;
use crate::domain::time::Timestamp;

/// `2026-04-25`
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// What is used, and what is left. Null is unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::Usage)]
pub(super) struct Usage {
    #[schema(required)]
    remaining: Option<u64>,
    total_used: u64,
    renewal_date: String,
    period: Period,
    subscription: Subscription,
    credits: Credits,
    rate_limit: RateLimit,
    account: AccountBody,
    api_key: ApiKey,
}

/// The billing period: that of the organization's limit, a calendar month where it has none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::Period)]
struct Period {
    start: String,
    end: String,
}

/// The organization's limit: credits, or requests where only these are limited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::Subscription)]
struct Subscription {
    used: u64,
    #[schema(required)]
    total: Option<u64>,
    #[schema(required)]
    remaining: Option<u64>,
    /// To two decimals.
    #[schema(required)]
    percent_used: Option<f64>,
}

/// Bonus credits: there are none here.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = piloterr::Credits)]
struct Credits {
    given: u64,
    consumed: u64,
    remaining: u64,
    percent_used: u64,
}

/// The plan's caps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::RateLimit)]
struct RateLimit {
    #[schema(required)]
    per_minute: Option<u64>,
    #[schema(required)]
    per_second: Option<u64>,
}

/// The organization.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::AccountBody)]
struct AccountBody {
    name: String,
    slug: String,
}

/// The key that asks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::ApiKey)]
struct ApiKey {
    alias: String,
    active: bool,
    category: String,
    /// RFC 3339; null where it does not end.
    #[schema(required)]
    expires: Option<String>,
    quotas: Quotas,
}

/// The key's rolling caps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = piloterr::Quotas)]
struct Quotas {
    #[schema(required)]
    total: Option<u64>,
    #[schema(required)]
    daily: Option<u64>,
    #[schema(required)]
    weekly: Option<u64>,
    #[schema(required)]
    monthly: Option<u64>,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "for the document; it is written by `refused` and by the dialect")]
#[schema(as = piloterr::ErrorBody)]
pub(super) struct ErrorBody {
    error: String,
    code: String,
    request_id: String,
}

impl Usage {
    pub(super) fn of(key: &Key, organization: &Organization, account: &Account, caps: Caps) -> Self {
        let subscription = Subscription::of(account, organization);
        Self {
            remaining: subscription.remaining,
            total_used: account.used,
            renewal_date: day(account.until),
            period: Period { start: day(account.since), end: day(account.until) },
            subscription,
            credits: Credits::default(),
            rate_limit: RateLimit { per_minute: caps.per_minute, per_second: caps.per_second },
            account: AccountBody { name: organization.name.clone(), slug: organization.id.to_string() },
            api_key: ApiKey::of(key),
        }
    }
}

impl Subscription {
    fn of(account: &Account, organization: &Organization) -> Self {
        let requests = organization.limit.filter(|limit| limit.enabled).and_then(|limit| limit.requests);
        let (used, total) = match (account.total, requests) {
            (None, Some(requests)) => (account.totals.admitted, Some(requests)),
            (total, _) => (account.used, total),
        };
        Self {
            used,
            total,
            remaining: total.map(|total| total.saturating_sub(used)),
            percent_used: total.map(|total| percent(used, total)),
        }
    }
}

/// How much of `total` is used, to two decimals; all of nothing is used.
fn percent(used: u64, total: u64) -> f64 {
    if total == 0 {
        return 100.0;
    }
    let hundredths = (u128::from(used) * 10_000 + u128::from(total) / 2) / u128::from(total);
    hundredths as f64 / 100.0
}

impl ApiKey {
    fn of(key: &Key) -> Self {
        Self {
            alias: key.name.clone(),
            active: key.active,
            category: key.category.clone(),
            expires: key.expires_at.map(|at| format!("{at:.0}")),
            quotas: Quotas {
                total: key.quotas.total,
                daily: key.quotas.daily,
                weekly: key.quotas.weekly,
                monthly: key.quotas.monthly,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "hundredths are written exactly as they are read")]
    fn a_share_is_told_to_two_decimals() {
        for (used, total, expected) in [
            (0, 2_000, 0.0),
            (1_550, 2_000, 77.5),
            (169, 1_012_473, 0.02),
            (1, 3, 33.33),
            (15_871, 50, 31_742.0),
            (0, 0, 100.0),
            (u64::MAX, u64::MAX, 100.0),
        ] {
            assert_eq!(percent(used, total), expected, "{used} of {total}");
        }
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(day(Timestamp::parse("2026-04-25T00:00:00Z").unwrap()), "2026-04-25");
    }
}
