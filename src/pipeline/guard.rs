//! The address guard: who fails to authenticate too often is not listened to for a while.
//!
//! The n-th failure of an address within the configured time blocks it: exactly that, so it is counted in a
//! [`Ring`] of 20 cells and not by `governor`. A GCRA with room for n failures never blocks n that are spread
//! evenly over the time (each frees its own place again), and one made slow enough to do so also blocks an
//! address that fails once a minute. Its keyed store cannot give up its oldest entry either, and a bound is
//! needed here.
//!
//! **Invariants.** At most `addresses_max` addresses are held; one more takes the place of one whose time is
//! over, or else of the one whose time is over next, which is counted. Failures of a blocked address
//! do not prolong its block. Editing the settings frees nobody. A failure is counted up to one cell (1/20)
//! longer than configured, never shorter.
//!
//! **Deliberately absent:** what a failure is ([`Refusal::is_failed_authentication`] says), who the client is
//! behind proxies ([`client_ip`](crate::domain::address::client_ip) says), and other nodes: each guards
//! itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use crate::config::IpGuard;
use crate::domain::address::guarded;
use crate::domain::refusal::Refusal;
use crate::domain::ring::{Ring, Window};
use crate::domain::time::Timestamp;

/// Cells in the time in which failures count.
const CELLS: u64 = 20;
/// Parts with a lock each, so that threads rarely meet.
const SHARDS: usize = 16;
/// Addresses dropped at most with each failure while there is room: more than come, so that they run out.
const CLEANED_PER_FAILURE: usize = 2;
/// Below this many addresses one part is enough, and the bound is exact.
const SHARD_FROM: usize = 1024;

/// Counts failed authentications by address, and blocks.
#[derive(Debug)]
pub struct Guard {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// The end of the last block in microseconds: from then on nobody is blocked, which is all that most
    /// requests need to know.
    quiet_from: AtomicU64,
    /// Addresses given up for want of room.
    evicted: AtomicU64,
    /// Addresses blocked so far.
    blocks: AtomicU64,
}

/// The settings as one shard needs them.
#[derive(Clone, Copy, Debug)]
struct Rules {
    failures: u64,
    window: Window,
    block_for: Duration,
    addresses_max: usize,
}

#[derive(Debug)]
struct Shard {
    rules: Rules,
    addresses: AHashMap<IpAddr, Watched>,
    /// Each address once, behind the instant at which its time is over: the first is the first to go.
    ends: BTreeSet<(Timestamp, IpAddr)>,
}

#[derive(Debug, Default)]
struct Watched {
    failures: Ring,
    blocked_until: Option<Timestamp>,
    /// From then on nothing about this address matters; also its place in [`Shard::ends`].
    ends: Timestamp,
}

impl Guard {
    /// A guard that has seen nobody yet.
    pub fn new(settings: &IpGuard) -> Self {
        let shards = if settings.addresses_max < SHARD_FROM { 1 } else { SHARDS };
        let rules = Rules::new(settings, shards);
        let shard = || Mutex::new(Shard { rules, addresses: AHashMap::new(), ends: BTreeSet::new() });
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            quiet_from: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
        }
    }

    /// Takes new settings. Who is blocked stays blocked until the instant already set; failures counted so
    /// far stay unless the time in which they count has changed. With `failures = 0` nobody is refused.
    pub fn reconfigure(&self, settings: &IpGuard) {
        let rules = Rules::new(settings, self.shards.len());
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.rules.window != rules.window {
                shard.addresses.values_mut().for_each(|watched| watched.failures = Ring::default());
            }
            shard.rules = rules;
        }
    }

    /// Whether `client` is listened to: check 3 of the contract. One load and one comparison while nobody is
    /// blocked.
    ///
    /// # Errors
    /// [`Refusal::IpBlocked`].
    pub fn check(&self, client: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        // Relaxed: a block made on another thread may be seen one request late.
        if now.micros() >= self.quiet_from.load(Ordering::Relaxed) {
            return Ok(());
        }
        let address = guarded(client);
        let shard = self.shard(address).lock();
        let blocked = shard.rules.failures > 0
            && shard.addresses.get(&address).is_some_and(|watched| watched.is_blocked(now));
        if blocked { Err(Refusal::IpBlocked) } else { Ok(()) }
    }

    /// Counts a failed authentication of `client`; blocks its address if that was one too many.
    pub fn failed(&self, client: IpAddr, now: Timestamp) {
        let address = guarded(client);
        let mut shard = self.shard(address).lock();
        if shard.rules.failures == 0 {
            return;
        }
        let evicted = shard.make_room(address, now);
        let until = shard.count(address, now);
        drop(shard);
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
        if let Some(until) = until {
            self.blocks.fetch_add(1, Ordering::Relaxed);
            self.quiet_from.fetch_max(until.micros(), Ordering::Relaxed);
        }
    }

    /// Who is blocked at `now` and until when, in the order of addresses. An IPv6 address stands for its /64.
    pub fn blocked(&self, now: Timestamp) -> Vec<(IpAddr, Timestamp)> {
        let mut blocked = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let until = |(address, watched): (&IpAddr, &Watched)| {
                watched.blocked_until.filter(|until| now < *until).map(|until| (*address, until))
            };
            blocked.extend(shard.addresses.iter().filter_map(until));
        }
        blocked.sort_unstable();
        blocked
    }

    /// Listens to `client` again and forgets its failures. `false` where it was not blocked.
    pub fn unblock(&self, client: IpAddr, now: Timestamp) -> bool {
        let address = guarded(client);
        let mut shard = self.shard(address).lock();
        let Some(watched) = shard.addresses.get_mut(&address) else { return false };
        let was_blocked = watched.is_blocked(now);
        watched.blocked_until = None;
        watched.failures = Ring::default();
        was_blocked
    }

    /// Addresses watched or blocked.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().addresses.len()).sum()
    }

    /// Whether no address is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks made since the start.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Addresses given up for want of room since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn shard(&self, address: IpAddr) -> &Mutex<Shard> {
        // The hash is keyed, so that nobody can aim at one shard.
        &self.shards[self.hasher.hash_one(address) as usize % self.shards.len()]
    }
}

impl Rules {
    fn new(settings: &IpGuard, shards: usize) -> Self {
        // A span must hold at least one microsecond per cell.
        let within = settings.within.max(Duration::from_micros(CELLS));
        Self {
            failures: u64::from(settings.failures),
            window: Window::new(within, CELLS),
            block_for: settings.block_for,
            addresses_max: (settings.addresses_max / shards).max(1),
        }
    }
}

impl Watched {
    fn is_blocked(&self, now: Timestamp) -> bool {
        self.blocked_until.is_some_and(|until| now < until)
    }
}

impl Shard {
    /// Counts a failure; the end of the block, where this failure made one.
    fn count(&mut self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let Rules { failures, window, block_for, .. } = self.rules;
        let watched = self.addresses.entry(address).or_default();
        if watched.is_blocked(now) {
            return None;
        }
        watched.failures.add(window, now, 1);
        watched.blocked_until = None;
        let mut ends = now.plus(window.span()).plus(window.cell());
        if watched.failures.count(window, now) >= failures {
            watched.failures = Ring::default();
            ends = now.plus(block_for);
            watched.blocked_until = Some(ends);
        }
        self.ends.remove(&(watched.ends, address));
        watched.ends = ends;
        self.ends.insert((ends, address));
        watched.blocked_until
    }

    /// Drops addresses whose time is over, a few per call, so that the map shrinks again; and, where `coming`
    /// is new and there is no room, the one whose time is over next. How many were dropped before their time.
    fn make_room(&mut self, coming: IpAddr, now: Timestamp) -> u64 {
        let mut evicted = 0;
        let known = self.addresses.contains_key(&coming);
        for step in 0.. {
            let full = !known && self.addresses.len() >= self.rules.addresses_max;
            let Some(&(ends, address)) = self.ends.first() else { break };
            let over = ends <= now;
            if !full && (!over || step >= CLEANED_PER_FAILURE || address == coming) {
                break;
            }
            self.ends.pop_first();
            self.addresses.remove(&address);
            evicted += u64::from(!over);
        }
        evicted
    }
}

#[cfg(test)]
mod tests;
