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
//! **Other nodes** are told of failures and blocks, and tell theirs, where there is a way to them
//! ([`Guard::share`], [`Guard::learn`]): by whom and how often is not for here. What is to be told waits in a
//! bounded [`Outbox`](outbox); nothing on the way of a request waits for it.
//!
//! **Deliberately absent:** what a failure is ([`Refusal::is_failed_authentication`] says), and who the client is
//! behind proxies ([`client_ip`](crate::domain::address::client_ip) says).

mod outbox;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use self::outbox::Outbox;
use crate::config::IpGuard;
use crate::domain::address::guarded;
use crate::domain::refusal::Refusal;
use crate::domain::ring::{Ring, Window};
use crate::domain::time::Timestamp;
use crate::stores::counters::blocks::{BlockNews, BlockRules, Told};

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
    /// What other nodes are to be told.
    outbox: Outbox,
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

/// What came of a failure.
enum Ended {
    /// It was counted.
    Counted,
    /// It was one too many: the address is blocked until then.
    Blocked(Timestamp),
    /// The address was blocked already.
    Known,
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
            outbox: Outbox::default(),
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
        match until {
            Ended::Blocked(until) => {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                self.quiet_from.fetch_max(until.micros(), Ordering::Relaxed);
                self.outbox.tell(address, Told::Blocked(until.since(now)));
            }
            Ended::Counted => self.outbox.tell(address, Told::Failed(1)),
            Ended::Known => {}
        }
    }

    /// What other nodes are to be told, at most [`TOLD_AT_ONCE`](outbox::TOLD_AT_ONCE) of it, and by which rules they
    /// count; `None` where nobody is blocked by this guard. From now on it is kept for them.
    pub fn share(&self) -> Option<(Vec<(IpAddr, Told)>, BlockRules)> {
        let rules = self.shards.first()?.lock().rules;
        let shared = BlockRules {
            failures: rules.failures,
            within: rules.window.span(),
            block_for: rules.block_for,
            addresses_max: rules.addresses_max * self.shards.len(),
        };
        (rules.failures > 0).then(|| (self.outbox.take(), shared))
    }

    /// What was to be told was not heard.
    pub fn put_back(&self, told: Vec<(IpAddr, Told)>) {
        told.into_iter().for_each(|(address, told)| self.outbox.put_back(address, told));
    }

    /// Everybody who is blocked is told once more.
    pub fn tell_again(&self, now: Timestamp) {
        for (address, until) in self.blocked(now) {
            self.outbox.tell(address, Told::Blocked(until.since(now)));
        }
    }

    /// Takes what other nodes have told. A block that is known here ends when it is known to.
    pub fn learn(&self, news: &[BlockNews], now: Timestamp) {
        for (address, left) in news {
            let mut shard = self.shard(*address).lock();
            let Some(left) = left else {
                shard.let_go(*address, now);
                continue;
            };
            if shard.addresses.get(address).is_some_and(|watched| watched.is_blocked(now)) {
                continue;
            }
            let evicted = shard.make_room(*address, now);
            let until = now.plus(*left);
            shard.block(*address, until);
            drop(shard);
            self.evicted.fetch_add(evicted, Ordering::Relaxed);
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
        let was_blocked = self.shard(address).lock().let_go(address, now);
        if was_blocked {
            self.outbox.tell(address, Told::Unblocked);
        }
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

    /// What other nodes were not told for want of room since the start.
    pub fn untold(&self) -> u64 {
        self.outbox.dropped()
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
    /// Counts a failure; what came of it.
    fn count(&mut self, address: IpAddr, now: Timestamp) -> Ended {
        let Rules { failures, window, block_for, .. } = self.rules;
        let watched = self.addresses.entry(address).or_default();
        if watched.is_blocked(now) {
            return Ended::Known;
        }
        watched.failures.add(window, now, 1);
        watched.blocked_until = None;
        if watched.failures.count(window, now) >= failures {
            let until = now.plus(block_for);
            self.block(address, until);
            return Ended::Blocked(until);
        }
        self.ends_at(address, now.plus(window.span()).plus(window.cell()));
        Ended::Counted
    }

    /// Does not listen to `address` until then.
    fn block(&mut self, address: IpAddr, until: Timestamp) {
        let watched = self.addresses.entry(address).or_default();
        watched.failures = Ring::default();
        watched.blocked_until = Some(until);
        self.ends_at(address, until);
    }

    /// Listens to `address` again and forgets its failures; whether it was blocked.
    fn let_go(&mut self, address: IpAddr, now: Timestamp) -> bool {
        let Some(watched) = self.addresses.get_mut(&address) else { return false };
        let was_blocked = watched.is_blocked(now);
        watched.blocked_until = None;
        watched.failures = Ring::default();
        was_blocked
    }

    /// From then on nothing about `address` matters.
    fn ends_at(&mut self, address: IpAddr, ends: Timestamp) {
        let Some(watched) = self.addresses.get_mut(&address) else { return };
        self.ends.remove(&(watched.ends, address));
        watched.ends = ends;
        self.ends.insert((ends, address));
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
