//! What is used of every limit, capped or not: what people are shown.
//!
//! Apart from [`Standing`](super::claim::Standing), which is made for every request and so holds capped limits only.

use super::ring::{Ring, Window};
use super::time::Timestamp;

/// What a key and its organization have used, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The organization's requests in flight.
    pub in_flight: u64,
    /// The organization's trailing second.
    pub second: Used,
    /// The organization's trailing minute.
    pub minute: Used,
    /// The key's own.
    pub key: KeyUsed,
    /// The organization's calendar periods, by [`Period::index`](super::time::Period::index).
    pub organization: [InPeriod; 3],
}

/// What one key has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsed {
    /// Admissions ever.
    pub total: u64,
    /// The trailing 24 hours.
    pub daily: Used,
    /// The trailing 7 days.
    pub weekly: Used,
    /// The trailing 30 days.
    pub monthly: Used,
    /// The calendar periods, by [`Period::index`](super::time::Period::index).
    pub spent: [InPeriod; 3],
}

/// What counts in a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Used {
    /// Admissions.
    pub count: u64,
    /// When the oldest of them stops counting; `None` where there is none.
    pub resets_at: Option<Timestamp>,
}

/// What counts in the present calendar period, requests in flight and what they reserve included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InPeriod {
    /// The period's first instant.
    pub starts_at: Timestamp,
    /// The first instant after it.
    pub ends_at: Timestamp,
    /// Requests admitted.
    pub requests: u64,
    /// Microcents spent and reserved.
    pub microcents: u64,
}

impl Used {
    pub(super) fn read(ring: &mut Ring, window: Window, now: Timestamp) -> Self {
        Self { count: ring.count(window, now), resets_at: ring.next_expiry(window) }
    }
}
