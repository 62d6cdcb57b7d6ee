//! What may be limited, and by how much.

use super::time::Period;

/// An organization's caps over all its keys. `None` is no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Caps {
    /// Requests in any trailing second.
    pub per_second: Option<u64>,
    /// Requests in any trailing minute.
    pub per_minute: Option<u64>,
    /// Requests in flight at one instant.
    pub concurrency: Option<u64>,
}

impl Caps {
    /// These caps with `negotiated` in the place of each that it names.
    pub fn overridden(self, negotiated: Self) -> Self {
        Self {
            per_second: negotiated.per_second.or(self.per_second),
            per_minute: negotiated.per_minute.or(self.per_minute),
            concurrency: negotiated.concurrency.or(self.concurrency),
        }
    }

    /// The stricter of the two, cap by cap.
    pub fn strictest(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        Self {
            per_second: least(self.per_second, other.per_second),
            per_minute: least(self.per_minute, other.per_minute),
            concurrency: least(self.concurrency, other.concurrency),
        }
    }
}

/// A key's rolling caps. `None` is no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Requests ever.
    pub total: Option<u64>,
    /// Requests in any trailing 24 hours.
    pub daily: Option<u64>,
    /// Requests in any trailing 7 days.
    pub weekly: Option<u64>,
    /// Requests in any trailing 30 days.
    pub monthly: Option<u64>,
}

/// A calendar cap on spending, of a key or an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendLimit {
    /// Requests per period; `None` is no cap.
    pub requests: Option<u64>,
    /// Microcents per period; `None` is no cap.
    pub microcents: Option<u64>,
    /// The period, in UTC.
    pub period: Period,
    /// A limit that is switched off counts, and refuses nothing.
    pub enabled: bool,
}

/// A limit that can refuse, in the order in which limits are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The plan's requests in flight.
    Concurrency,
    /// The plan's trailing second.
    Second,
    /// The plan's trailing minute.
    Minute,
    /// The key's requests ever.
    Total,
    /// The key's trailing 24 hours.
    Daily,
    /// The key's trailing 7 days.
    Weekly,
    /// The key's trailing 30 days.
    Monthly,
    /// Requests of the key in its calendar period.
    KeyRequests(Period),
    /// Microcents of the key in its calendar period.
    KeyBudget(Period),
    /// Requests of the organization in its calendar period.
    OrgRequests(Period),
    /// Microcents of the organization in its calendar period.
    OrgBudget(Period),
}
