//! Back-off of logins: whoever fails waits, longer each time.
//!
//! Not `governor`: its rate does not fall with failures, and its keyed store cannot give up its oldest entry, while
//! a bound is needed here. Not the address guard either: that one blocks, and an account must not be blocked by
//! whoever knows its email.
//!
//! **Invariants.** A try counts as failed from its beginning, so that many at once are no way around; what turns out
//! right is taken back. Whether there is an account of that name makes no difference. So many names
//! are held as the configuration says; one more takes the place of the one whose time is over next.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use crate::domain::time::Timestamp;

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

struct Held {
    /// Names held at one time.
    max: usize,
    evicted: u64,
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
    /// Holds at most `max` names.
    pub(super) fn new(slope: Slope, max: usize) -> Self {
        let held = Held { max, evicted: 0, names: AHashMap::new(), ends: BTreeSet::new() };
        Self { slope, seeds: RandomState::new(), held: Mutex::new(held) }
    }

    /// Names that were forgotten for others before their time.
    pub(super) fn evicted(&self) -> u64 {
        self.held.lock().evicted
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
        while self.names.len() >= self.max {
            let Some((_, first)) = self.ends.pop_first() else { break };
            self.names.remove(&first);
            self.evicted += 1;
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
        Backoff::new(Slope { free: 3, longest: Duration::from_secs(8) }, 1_000)
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
        for name in 0..1_010_u64 {
            backoff.attempt(name, after(name / 100)).unwrap();
        }
        let held = backoff.held.lock();
        assert_eq!((held.names.len(), held.ends.len(), held.evicted), (1_000, 1_000, 10));
    }
}
