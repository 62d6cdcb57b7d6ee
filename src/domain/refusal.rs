//! One vocabulary of no.
//!
//! Every way in which a request can fail to reach its upstream has one name here, with its status, code and
//! text. Dialects respell it, metrics are labelled by it, the log stores its code, the README lists it.

use super::limit::Limit;
use super::time::{Period, Timestamp};

/// Why a request is not answered by an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The head was not complete in time.
    HeadTimeout,
    /// The head has too many bytes or headers.
    HeadTooLarge,
    /// The request target is too long.
    UriTooLong,
    /// The message could be read in more than one way (RFC 9112 section 11), or not at all.
    BadRequest,
    /// Too many failed authentications from this address.
    IpBlocked,
    /// No route matches path and method.
    NoRoute,
    /// No credential was sent.
    MissingApiKey,
    /// The credential is not a key of ours, or is revoked.
    InvalidApiKey,
    /// Two different keys of ours were sent.
    AmbiguousCredentials,
    /// The key is disabled.
    InactiveApiKey,
    /// The key has expired.
    ExpiredApiKey,
    /// The caller's address is not in the key's list.
    IpNotAllowed,
    /// The key lacks the scope that this request needs.
    ScopeMissing,
    /// The key belongs to another project.
    ProjectLocked,
    /// A limit is used up; it may have room again at the instant.
    Limited(Limit, Option<Timestamp>),
    /// No connection to any target could be made, or it broke before an answer.
    UpstreamUnreachable,
    /// Every target is failing its health check.
    NoHealthyUpstream,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The key is not known here, and no store could be asked.
    StoreUnavailable,
    /// The request body is over the route's limit.
    BodyTooLarge,
    /// The request body did not arrive in time.
    BodyTimeout,
    /// A bound of this gateway is reached: connections, log spool, counters.
    Overloaded,
}

impl Refusal {
    /// Every [`code`](Self::code).
    pub const CODES: [&'static str; 30] = [
        "head_timeout",
        "head_too_large",
        "uri_too_long",
        "bad_request",
        "ip_blocked",
        "no_route",
        "missing_api_key",
        "invalid_api_key",
        "ambiguous_credentials",
        "inactive_api_key",
        "expired_api_key",
        "ip_not_allowed",
        "scope_missing",
        "project_locked",
        "concurrency_limited",
        "rate_limited_second",
        "rate_limited_minute",
        "quota_total",
        "quota_daily",
        "quota_weekly",
        "quota_monthly",
        "spend_requests",
        "spend_budget",
        "upstream_unreachable",
        "no_healthy_upstream",
        "upstream_timeout",
        "store_unavailable",
        "body_too_large",
        "body_timeout",
        "overloaded",
    ];

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::AmbiguousCredentials => 400,
            Self::MissingApiKey | Self::InvalidApiKey | Self::InactiveApiKey | Self::ExpiredApiKey => 401,
            Self::Limited(limit, _) => match limit {
                Limit::Total | Limit::Daily | Limit::Weekly | Limit::Monthly => 401,
                _ => 429,
            },
            Self::IpBlocked | Self::IpNotAllowed | Self::ScopeMissing | Self::ProjectLocked => 403,
            Self::NoRoute => 404,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::UpstreamUnreachable => 502,
            Self::NoHealthyUpstream | Self::StoreUnavailable | Self::Overloaded => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The machine-readable name: stable, in metrics, logs and bodies.
    pub const fn code(self) -> &'static str {
        match self {
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::BadRequest => "bad_request",
            Self::IpBlocked => "ip_blocked",
            Self::NoRoute => "no_route",
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidApiKey => "invalid_api_key",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::InactiveApiKey => "inactive_api_key",
            Self::ExpiredApiKey => "expired_api_key",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::ScopeMissing => "scope_missing",
            Self::ProjectLocked => "project_locked",
            Self::Limited(limit, _) => match limit {
                Limit::Concurrency => "concurrency_limited",
                Limit::Second => "rate_limited_second",
                Limit::Minute => "rate_limited_minute",
                Limit::Total => "quota_total",
                Limit::Daily => "quota_daily",
                Limit::Weekly => "quota_weekly",
                Limit::Monthly => "quota_monthly",
                Limit::KeyRequests(_) | Limit::OrgRequests(_) => "spend_requests",
                Limit::KeyBudget(_) | Limit::OrgBudget(_) => "spend_budget",
            },
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::StoreUnavailable => "store_unavailable",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::Overloaded => "overloaded",
        }
    }

    /// The sentence for the caller, the same in every dialect.
    pub const fn text(self) -> &'static str {
        match self {
            Self::HeadTimeout => "Request head was not complete in time",
            Self::HeadTooLarge => "Request head is too large",
            Self::UriTooLong => "Request target is too long",
            Self::BadRequest => "Bad Request",
            Self::IpBlocked => "IP temporarily blocked",
            Self::NoRoute => "No such route",
            Self::MissingApiKey | Self::InvalidApiKey => "Invalid API Key",
            Self::AmbiguousCredentials => "More than one API key was sent",
            Self::InactiveApiKey => "Inactive API Key",
            Self::ExpiredApiKey => "Expired API Key",
            Self::IpNotAllowed => "This API key may not be used from your address",
            Self::ScopeMissing => "This API key lacks the scope for this request",
            Self::ProjectLocked => "This API key belongs to another project",
            Self::Limited(limit, _) => limited(limit),
            Self::UpstreamUnreachable => "The upstream could not be reached",
            Self::NoHealthyUpstream => "No healthy upstream",
            Self::UpstreamTimeout => "The upstream did not answer in time",
            Self::StoreUnavailable => "Key service unavailable",
            Self::BodyTooLarge => "Request body is too large",
            Self::BodyTimeout => "Request body did not arrive in time",
            Self::Overloaded => "The gateway is overloaded",
        }
    }

    /// Whole seconds after which a retry makes sense: only on 429 and 503, 1 to 60. A client library sleeps
    /// what it is told, so weeks are never said; the true reset is in the `RateLimit` header.
    pub fn retry_after(self, now: Timestamp) -> Option<u64> {
        match self {
            // Nobody knows when a request in flight ends; most do within a second or so.
            Self::Limited(Limit::Concurrency, _) => Some(1),
            Self::Limited(_, at) if self.status() == 429 => {
                let wait = at.map_or(60, |at| at.since(now).as_micros().div_ceil(1_000_000) as u64);
                Some(wait.clamp(1, 60))
            }
            _ if self.status() == 503 => Some(1),
            _ => None,
        }
    }

    /// Whether this is a failed authentication in the sense of the address guard.
    pub const fn is_failed_authentication(self) -> bool {
        matches!(self, Self::MissingApiKey | Self::InvalidApiKey)
    }
}

const fn limited(limit: Limit) -> &'static str {
    use Period::{Daily, Monthly, Weekly};
    match limit {
        Limit::Concurrency => "You have exceeded the concurrency limit on your subscription",
        Limit::Second => "You have exceeded the per-second rate limit on your subscription",
        Limit::Minute => "You have exceeded the per-minute rate limit on your subscription",
        Limit::Total => "Rate limit exceeded: quota total",
        Limit::Daily => "Rate limit exceeded: quota daily",
        Limit::Weekly => "Rate limit exceeded: quota weekly",
        Limit::Monthly => "Rate limit exceeded: quota monthly",
        Limit::KeyRequests(Daily) => "Spend limit exceeded: daily requests of this key",
        Limit::KeyRequests(Weekly) => "Spend limit exceeded: weekly requests of this key",
        Limit::KeyRequests(Monthly) => "Spend limit exceeded: monthly requests of this key",
        Limit::KeyBudget(Daily) => "Spend limit exceeded: daily budget of this key",
        Limit::KeyBudget(Weekly) => "Spend limit exceeded: weekly budget of this key",
        Limit::KeyBudget(Monthly) => "Spend limit exceeded: monthly budget of this key",
        Limit::OrgRequests(Daily) => "Spend limit exceeded: daily requests of this organization",
        Limit::OrgRequests(Weekly) => "Spend limit exceeded: weekly requests of this organization",
        Limit::OrgRequests(Monthly) => "Spend limit exceeded: monthly requests of this organization",
        Limit::OrgBudget(Daily) => "Spend limit exceeded: daily budget of this organization",
        Limit::OrgBudget(Weekly) => "Spend limit exceeded: weekly budget of this organization",
        Limit::OrgBudget(Monthly) => "Spend limit exceeded: monthly budget of this organization",
    }
}

#[cfg(test)]
mod tests;
