//! The one place that reads the clock on the request path.
//!
//! Instants are the wall clock of the process's start moved on by the monotonic clock, so that a step of the
//! wall clock cannot open or close a window in the middle of a run. [`resync`] follows such a step once it is
//! seen; rings hold themselves at their newest cell, so a step back makes limits stricter, never looser.

#![allow(clippy::disallowed_methods, reason = "this module is where clocks are read")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

static START: OnceLock<Instant> = OnceLock::new();
static WALL_AT_START_MICROS: AtomicU64 = AtomicU64::new(0);

/// How far the wall clock may run from ours before [`resync`] follows it. Smaller differences are the time
/// daemon's slewing, which the monotonic clock follows by itself.
const STEP: Duration = Duration::from_secs(1);

/// The present instant.
pub fn now() -> Timestamp {
    let start = START.get_or_init(start);
    let wall = WALL_AT_START_MICROS.load(Ordering::Acquire);
    Timestamp::from_micros(wall + start.elapsed().as_micros() as u64)
}

/// The time since an arbitrary instant of this process, by a clock that never jumps.
pub fn monotonic() -> Duration {
    START.get_or_init(start).elapsed()
}

/// Follows the wall clock where it was stepped by more than a second; returns how far, in microseconds
/// (negative: back).
pub fn resync() -> Option<i64> {
    let ours = now().micros();
    let step = wall_micros() as i64 - ours as i64;
    if step.unsigned_abs() < STEP.as_micros() as u64 {
        return None;
    }
    WALL_AT_START_MICROS.fetch_add(step as u64, Ordering::AcqRel);
    Some(step)
}

fn start() -> Instant {
    WALL_AT_START_MICROS.store(wall_micros(), Ordering::Release);
    Instant::now()
}

fn wall_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
