//! Back-off of logins: whoever fails waits, longer each time.
//!
//! Not `governor`: its rate does not fall with failures, and its keyed store cannot give up its oldest entry, while
//! a bound is needed here. Not the address guard either: that one blocks, and an account must not be blocked by
//! whoever knows its email.
//!
//! **Invariants.** A try counts as failed from its beginning, so that many at once are no way around; what turns out
//! right is taken back. Whether there is an account of that name makes no difference. At most [`HELD_MAX`] names
//! are held; one more takes the place of the one whose time is over next.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use crate::domain::time::Timestamp;

/// Names held at one time.
const HELD_MAX: usize = 100_000;
/// After so long without a try a name is as if it had never been seen.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// How failing gets slower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slope {
    /// Failures that cost nothing.
    pub free: u32,
    /// The longest wait; the first is a second, and each is twice the one before.
    pub longest: Duration,
}

/// Counts failures by name.
pub(super) struct Backoff {
    slope: Slope,
    /// Names are kept as keyed hashes: they come from outside and may be long.
    seeds: RandomState,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    names: AHashMap<u64, Failures>,
    /// Each name once, behind the instant at which it is forgotten.
    ends: BTreeSet<(Timestamp, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    wait_until: Timestamp,
    forgotten_at: Timestamp,
}

impl Backoff {
    pub(super) fn new(slope: Slope) -> Self {
        Self { slope, seeds: RandomState::new(), held: Mutex::default() }
    }

    /// Lets `name` try, counting the try as failed.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn attempt(&self, name: impl Hash, now: Timestamp) -> Result<(), Duration> {
        let name = self.seeds.hash_one(name);
        let mut held = self.held.lock();
        let mut failures = held.get(name, now);
        if now < failures.wait_until {
            return Err(failures.wait_until.since(now));
        }
        failures.count += 1;
        if let Some(over) = failures.count.checked_sub(self.slope.free) {
            let wait = Duration::from_secs(1_u64.checked_shl(over.min(32)).unwrap_or(u64::MAX));
            failures.wait_until = now.plus(wait.min(self.slope.longest));
        }
        failures.forgotten_at = now.plus(FORGOTTEN_AFTER).max(failures.wait_until);
        held.put(name, failures);
        Ok(())
    }

    /// Takes a try back: it was right.
    pub(super) fn right(&self, name: impl Hash, now: Timestamp) {
        let name = self.seeds.hash_one(name);
        let mut held = self.held.lock();
        let failures = held.get(name, now);
        match failures.count.checked_sub(1) {
            None | Some(0) => held.remove(name),
            Some(count) => held.put(name, Failures { count, wait_until: now, ..failures }),
        }
    }

    /// Forgets `name`.
    pub(super) fn forget(&self, name: impl Hash) {
        let name = self.seeds.hash_one(name);
        self.held.lock().remove(name);
    }
}

impl Held {
    fn get(&self, name: u64, now: Timestamp) -> Failures {
        self.names.get(&name).copied().filter(|failures| now < failures.forgotten_at).unwrap_or_default()
    }

    fn put(&mut self, name: u64, failures: Failures) {
        self.remove(name);
        while self.names.len() >= HELD_MAX {
            let Some((_, first)) = self.ends.pop_first() else { break };
            self.names.remove(&first);
        }
        self.ends.insert((failures.forgotten_at, name));
        self.names.insert(name, failures);
    }

    fn remove(&mut self, name: u64) {
        if let Some(failures) = self.names.remove(&name) {
            self.ends.remove(&(failures.forgotten_at, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn backoff() -> Backoff {
        Backoff::new(Slope { free: 3, longest: Duration::from_secs(8) })
    }

    #[test]
    fn each_failure_beyond_the_free_ones_waits_twice_as_long() {
        let backoff = backoff();
        for _ in 0..3 {
            backoff.attempt("ann", NOW).unwrap();
        }
        let mut at = 0;
        for wait in [1, 2, 4, 8, 8] {
            assert_eq!(backoff.attempt("ann", after(at)), Err(Duration::from_secs(wait)), "after {at}");
            at += wait;
            backoff.attempt("ann", after(at)).unwrap();
        }
        backoff.attempt("bob", NOW).unwrap();
    }

    #[test]
    fn what_is_right_is_taken_back_and_time_heals() {
        let backoff = backoff();
        for _ in 0..100 {
            backoff.attempt("office", NOW).unwrap();
            backoff.right("office", NOW);
        }
        for _ in 0..3 {
            backoff.attempt("ann", NOW).unwrap();
        }
        backoff.attempt("ann", NOW).unwrap_err();
        backoff.attempt("ann", NOW.plus(FORGOTTEN_AFTER)).unwrap();
        backoff.attempt("ann", NOW.plus(FORGOTTEN_AFTER)).unwrap();
        backoff.forget("ann");
        assert!(backoff.held.lock().names.len() <= 1 && backoff.held.lock().ends.len() <= 1);
    }

    #[test]
    fn a_name_more_takes_the_place_of_the_first_to_be_forgotten() {
        let backoff = backoff();
        for name in 0..HELD_MAX as u64 + 10 {
            backoff.attempt(name, after(name / 1_000)).unwrap();
        }
        let held = backoff.held.lock();
        assert_eq!((held.names.len(), held.ends.len()), (HELD_MAX, HELD_MAX));
    }
}
