//! Where a row stands in the log: the same numbers as SQLite's.

use std::time::Duration;

use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// Places that one millisecond has.
pub(super) const PLACES_PER_MILLI: i64 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 21;
/// Milliseconds of Unix time until the year 2109.
const MILLI_BITS: u32 = 42;
/// Milliseconds of a day.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// Where a row belongs: the millisecond of its arrival, from the upper 48 bits of its id (RFC 9562 section 5.7), and
/// the id's lowest, random bits. So rows have the order of time, and are found by time and by id with one index.
pub(super) fn place_of(id: RequestId) -> i64 {
    let id = id.0.as_u128();
    let milli = (id >> 80) as i64 & ((1 << MILLI_BITS) - 1);
    milli << PLACE_BITS | (id as i64 & (PLACES_PER_MILLI - 1))
}

/// The first place of what arrived at `at` or later.
pub(super) fn first_place(at: Timestamp) -> i64 {
    i64::try_from(at.micros() / 1_000).unwrap_or(i64::MAX).saturating_mul(PLACES_PER_MILLI)
}

/// How much earlier than its admission, on the clock of the counters, a request may have arrived, on the
/// gateway's: the time between the two, and what the clocks differ by.
pub(super) const ARRIVED_BEFORE_MAX: Duration = Duration::from_secs(60);
