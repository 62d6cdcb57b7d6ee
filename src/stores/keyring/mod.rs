//! The keyring: digest to grant, found fast and gone at once.
//!
//! A digest is looked for in memory, among the known and the known to be unknown; only then is the record
//! asked, once per digest however many requests wait. [`follow`](follow::follow) reads what changed and makes
//! the keyring forget it.
//!
//! | what fails | what happens |
//! |---|---|
//! | the record cannot be asked from the start | what an earlier process knew works, for a while: [`remembered`] |
//! | the record cannot be asked | cached keys keep working, for as long as it takes; others get [`RecordError::Unavailable`], never "unknown", and nothing is remembered of it |
//! | the record does not answer | as above, after [`RECORD_WAIT_MAX`]; everyone who waits for the same digest learns it together |
//! | whoever asks for all goes away | the next of those waiting asks |
//! | a key changes while it is read | the answer may serve requests that were already waiting; it is not kept, and a request that comes after the change asks anew |
//! | an organization changes while it is read | it is read again |
//! | following falls behind or stops | it goes on from the last number it read; nothing is skipped |
//! | no room | the cache lets a key go that has not been asked for lately ([`Keyring::evicted`] counts), unknown digests overwrite each other |
//!
//! **Invariants.** At most `cache_max` keys and `cache_absent_max` unknown digests (rounded up to a multiple of
//! 64) are held; waits are bounded
//! by the requests in flight. After [`Keyring::forget`] returns, no later request sees what was read before.
//! A lookup holds no lock across an await and compares whole digests in constant time; tables are hashed with
//! a key of this process, so that digests chosen for it cannot crowd one place.
//!
//! **Deliberately absent:** rules (whether a key may be used is [`Grant::standing`]'s to say), and a time to
//! live: an entry is right until a change says otherwise, and has to outlive an outage.

mod absent;
mod cache;
mod encoding;
pub mod follow;
pub mod index;
mod organizations;
pub mod remembered;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use arc_swap::ArcSwap;
use parking_lot::RwLock;
use tokio::sync::OnceCell;

use crate::config;
use crate::domain::id::OrgId;
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

use self::absent::Absent;
use self::cache::Cache;
use self::follow::Following;
use self::organizations::Organizations;
use super::record::{GrantRecord, RecordError};

/// The longest that one question to the record is waited for.
pub const RECORD_WAIT_MAX: Duration = Duration::from_secs(3);

/// Parts with a lock each, so that threads rarely meet. A power of two.
const SHARDS: usize = 64;

/// An organization as the keyring holds it: one place, shared by all its keys, so that an edited plan is in
/// force for all of them at once.
#[derive(Debug)]
pub struct OrgSlot(pub ArcSwap<Organization>);

/// A key that may be used, as far as the record knows.
#[derive(Debug)]
pub struct Entry {
    /// What the key may do.
    pub grant: Grant,
    /// Who pays.
    pub organization: Arc<OrgSlot>,
}

/// What the keyring knows of a digest without asking anyone.
#[derive(Debug, Clone)]
pub enum Known {
    /// It leads to this key.
    Key(Arc<Entry>),
    /// It leads nowhere.
    Absent,
}

/// How often each tier has answered, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lookups {
    /// Answered from memory with a key.
    pub l1: u64,
    /// Answered from memory as unknown.
    pub absent: u64,
    /// Questions to the record; requests that waited for another's question are not counted.
    pub record: u64,
}

/// The cache in front of the record.
pub struct Keyring {
    record: Arc<dyn GrantRecord>,
    shards: Box<[Shard]>,
    organizations: Organizations,
    seeds: RandomState,
    /// Keys held, over all shards.
    len: AtomicUsize,
    len_max: usize,
    absent_for: Duration,
    asked: AtomicU64,
    evicted: AtomicU64,
    /// Whether a key may have any shape, as far as changes have been followed.
    imported: AtomicBool,
    following: Following,
}

/// On cache lines of its own: two of them, as the processor fetches lines in pairs.
#[repr(align(128))]
struct Shard {
    hits: AtomicU64,
    absent_hits: AtomicU64,
    state: RwLock<State>,
}

struct State {
    cache: Cache,
    absent: Absent,
    flights: AHashMap<Digest, Arc<Flight>>,
    /// Rises with every [`Keyring::forget`] in this shard: an answer is kept only where this is still what it
    /// was before the record was asked.
    generation: u64,
}

/// One question to the record and all who wait for its answer.
#[derive(Default)]
struct Flight {
    /// Failures are an answer too, or each of those waiting would try for itself, one timeout after the other.
    answer: OnceCell<Result<Known, RecordError>>,
    waiting: AtomicUsize,
}

impl Keyring {
    /// An empty keyring over `record`.
    pub fn new(record: Arc<dyn GrantRecord>, settings: &config::Keys) -> Self {
        let shard = || Shard {
            hits: AtomicU64::new(0),
            absent_hits: AtomicU64::new(0),
            state: RwLock::new(State {
                cache: Cache::default(),
                absent: Absent::new(settings.cache_absent_max.div_ceil(SHARDS)),
                flights: AHashMap::new(),
                generation: 0,
            }),
        };
        Self {
            record,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            organizations: Organizations::default(),
            seeds: RandomState::new(),
            len: AtomicUsize::new(0),
            len_max: settings.cache_max,
            absent_for: settings.cache_absent_for,
            asked: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            // Until the record has said that there are none: whoever comes with one is not told that it is no key.
            imported: AtomicBool::new(true),
            following: Following::default(),
        }
    }

    /// What is known without asking: no IO, no waiting.
    pub fn cached(&self, digest: &Digest, now: Timestamp) -> Option<Known> {
        let hash = self.hash(digest);
        let shard = self.shard(hash);
        let known = shard.state.read().known(hash, digest, now)?;
        match known {
            Known::Key(_) => shard.hits.fetch_add(1, Ordering::Relaxed),
            Known::Absent => shard.absent_hits.fetch_add(1, Ordering::Relaxed),
        };
        Some(known)
    }

    /// What the digest leads to, asking the record where it is not known here; one question per digest at a
    /// time. Must run on a runtime with a timer.
    ///
    /// # Errors
    /// [`RecordError`] where it is not known here and the record could not be asked.
    pub async fn find(&self, digest: &Digest, now: Timestamp) -> Result<Known, RecordError> {
        if let Some(known) = self.cached(digest, now) {
            return Ok(known);
        }
        let hash = self.hash(digest);
        let shard = self.shard(hash);
        let seat = {
            let mut state = shard.state.write();
            // The question may have been answered since we looked.
            if let Some(known) = state.known(hash, digest, now) {
                return Ok(known);
            }
            let flight = state.flights.entry(*digest).or_default().clone();
            flight.waiting.fetch_add(1, Ordering::Relaxed);
            Seat { shard, digest, flight }
        };
        match seat.flight.answer.get_or_init(|| self.ask(hash, digest, now)).await {
            Ok(known) => Ok(known.clone()),
            Err(error) => Err(repeated(error)),
        }
    }

    /// Asks the record, and keeps the answer if nothing was forgotten meanwhile.
    async fn ask(&self, hash: u64, digest: &Digest, now: Timestamp) -> Result<Known, RecordError> {
        let generation = self.shard(hash).state.read().generation;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (known, keep) = match bounded(self.record.grant(digest)).await? {
            None => (Known::Absent, true),
            Some(mut grant) => {
                let (organization, current) = self.organizations.slot(&*self.record, &mut grant).await?;
                (Known::Key(Arc::new(Entry { grant, organization })), current)
            }
        };
        if keep {
            self.keep(hash, digest, &known, generation, now);
        }
        Ok(known)
    }

    fn keep(&self, hash: u64, digest: &Digest, known: &Known, generation: u64, now: Timestamp) {
        let mut state = self.shard(hash).state.write();
        if state.generation != generation {
            return;
        }
        let entry = match known {
            Known::Absent => return state.absent.insert(hash, *digest, now.plus(self.absent_for)),
            Known::Key(entry) => entry,
        };
        let had = state.cache.remove(hash, digest);
        if !had && self.len.fetch_add(1, Ordering::Relaxed) >= self.len_max {
            self.len.fetch_sub(1, Ordering::Relaxed);
            if !state.cache.evict() {
                return;
            }
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        state.cache.insert(hash, *digest, entry.clone(), |digest| self.hash(digest));
    }

    /// Forgets what `digest` leads to, also in fills under way.
    pub fn forget(&self, digest: &Digest) {
        let hash = self.hash(digest);
        let mut state = self.shard(hash).state.write();
        state.generation += 1;
        state.absent.remove(hash, digest);
        // Who waits already gets the old answer; who comes from now on must not.
        state.flights.remove(digest);
        if state.cache.remove(hash, digest) {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets everything, also in fills under way.
    pub fn forget_all(&self) {
        // First, or a key read in between could keep a slot that is no longer refreshed.
        self.organizations.clear();
        for shard in &self.shards {
            let mut state = shard.state.write();
            state.generation += 1;
            state.absent.clear();
            state.flights.clear();
            self.len.fetch_sub(state.cache.clear(), Ordering::Relaxed);
        }
    }

    /// Reads the organization anew, for all its keys.
    ///
    /// # Errors
    /// [`RecordError`] where the record could not be asked; the old state stays.
    pub async fn refresh(&self, org: &OrgId) -> Result<(), RecordError> {
        self.organizations.refresh(&*self.record, org).await
    }

    /// How often each tier has answered.
    pub fn lookups(&self) -> Lookups {
        let mut lookups = Lookups { record: self.asked.load(Ordering::Relaxed), ..Lookups::default() };
        for shard in &self.shards {
            lookups.l1 += shard.hits.load(Ordering::Relaxed);
            lookups.absent += shard.absent_hits.load(Ordering::Relaxed);
        }
        lookups
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys let go for want of room, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Whether there are keys that were made elsewhere, and so may have any shape.
    pub fn has_imported_keys(&self) -> bool {
        self.imported.load(Ordering::Relaxed)
    }

    /// How well changes made elsewhere are followed.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// Half of a SHA-256 is as good as all of it; what counts is the key of this process.
    fn hash(&self, digest: &Digest) -> u64 {
        let half = digest.0.first_chunk().map_or(0, |half| u128::from_ne_bytes(*half));
        self.seeds.hash_one(half)
    }

    /// The tables use the lowest bits and the highest seven, so the shard is chosen by others.
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 48) as usize % SHARDS]
    }
}

impl State {
    fn known(&self, hash: u64, digest: &Digest, now: Timestamp) -> Option<Known> {
        if let Some(entry) = self.cache.get(hash, digest) {
            return Some(Known::Key(entry.clone()));
        }
        self.absent.has(hash, digest, now).then_some(Known::Absent)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("len", &self.len())
            .field("lookups", &self.lookups())
            .finish_non_exhaustive()
    }
}

/// A place among those who wait for one answer. Leaving it clears the flight away where it has landed or
/// nobody else waits, also where the waiting request was cancelled.
struct Seat<'a> {
    shard: &'a Shard,
    digest: &'a Digest,
    flight: Arc<Flight>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // Seats are taken and left under the lock, so the last to leave knows that it is the last.
        let mut state = self.shard.state.write();
        let was = self.flight.waiting.fetch_sub(1, Ordering::Relaxed);
        let is_over = was == 1 || self.flight.answer.initialized();
        if is_over && state.flights.get(self.digest).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            state.flights.remove(self.digest);
        }
    }
}

/// Waits for the record, but not for ever.
pub(super) async fn bounded<T>(
    question: impl Future<Output = Result<T, RecordError>>,
) -> Result<T, RecordError> {
    tokio::time::timeout(RECORD_WAIT_MAX, question)
        .await
        .unwrap_or_else(|_| Err(RecordError::Unavailable(sqlx::Error::PoolTimedOut)))
}

/// The same failure for one more of those who waited.
fn repeated(error: &RecordError) -> RecordError {
    match error {
        // Only an organization is ever missing here, of a key that is there.
        RecordError::NotFound(text) => RecordError::Corrupt(text.clone()),
        other => other.repeated(),
    }
}

#[cfg(test)]
mod tests;
