//! Where a row stands in the log: rows are ordered by arrival.

use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// Places that one millisecond has.
pub(in crate::stores::record) const PLACES_PER_MILLI: i64 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 21;
/// Milliseconds of Unix time until the year 2109.
const MILLI_BITS: u32 = 42;

/// Where a row belongs: the millisecond of its arrival, from the upper 48 bits of its id (RFC 9562 section 5.7), and
/// then as many of the id's lowest, random bits as a number has left. So rows are appended, in the order of time, and
/// need no index of their own to be asked for by time or by id.
pub(in crate::stores::record) fn place_of(id: RequestId) -> i64 {
    let id = id.0.as_u128();
    let milli = (id >> 80) as i64 & ((1 << MILLI_BITS) - 1);
    milli << PLACE_BITS | (id as i64 & (PLACES_PER_MILLI - 1))
}

/// The first place of what arrived at `at` or later.
pub(in crate::stores::record) fn first_place(at: Timestamp) -> i64 {
    i64::try_from(at.micros() / 1_000).unwrap_or(i64::MAX).saturating_mul(PLACES_PER_MILLI)
}

/// The millisecond that a place lies in.
pub(in crate::stores::record) const fn time_of(place: i64) -> Timestamp {
    Timestamp::from_millis((place >> PLACE_BITS) as u64)
}
