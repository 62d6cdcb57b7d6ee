//! What this node knew of keys, on its own disk: for a start while the record is away, and Redis perhaps too.
//!
//! Each key and organization that the record names is written to a journal in the spool's directory, as is every change
//! that is read, before it is in force, and each second that the record has confirmed all of it. Of a key there is in it
//! what the [index](super::index) in Redis has too: its digest, never itself. A process that starts while the record is
//! away lends from it what it says, for as long after the record last confirmed it as `keys.remember_for` allows. When
//! the record is there, the changes since are read from where the journal ends, and nothing is lent any more: the record
//! answers.
//!
//! | what fails | what happens |
//! |---|---|
//! | the record is away at the start | names in the journal are lent; others get [`RecordError::Unavailable`]: 503, never "unknown" |
//! | it stays away for longer than `keys.remember_for` | nothing is lent, and what the keyring had from here is forgotten |
//! | it comes back | the changes made meanwhile are in force before anything is confirmed again |
//! | and goes away again | what the journal says by then is lent, as the keyring has forgotten what it had from before |
//! | other gateways have followed changes that this one has not | the index in Redis tells so ([`Index::followed`]): it is believed, and the journal is not |
//! | the process dies after it has read that a key was revoked | the change is in the journal, so the key is not lent |
//! | a line is damaged | it and what stands before it are discarded and counted: it may have said that a key was revoked |
//! | the journal is of another record, or ahead of it | it is begun anew |
//! | the disk is full, fails or hangs | see [`journal`]; nobody waits for longer than [`WRITE_WAIT`] |
//!
//! **Bound:** as many entries as the keyring has (`keys.cache_max`), and twice their bytes until they are written anew.
//! **Cost:** on the request path none but where a key is read from the record.
//!
//! **Deliberately absent:** a record in a file of this machine needs none of this, and nothing is written. A process whose
//! record was there at its start lends nothing when it goes away: the keyring holds what was asked for since.

mod book;
mod journal;
mod line;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;

use self::book::Book;
use self::journal::Journal;
use self::line::Line;
use super::encoding::{self, key_name, organization_name};
use super::index::Index;
use crate::clock;
use crate::domain::id::OrgId;
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::counters::redis::Nodes;
use crate::stores::record::{Change, GrantRecord, RecordError};

/// How often it is written down that the record confirms what is known.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// How much longer than `keys.remember_for` is lent: the record may have been there for so long after that was last
/// written down.
const LATE: Duration = Duration::from_secs(5);
/// How long a change waits for the disk before it is in force all the same.
const WRITE_WAIT: Duration = Duration::from_millis(100);
/// Changes read at once while catching up.
const BATCH: usize = 1_000;
/// A journal whose record confirmed it longer ago is not caught up with: much less than changes are kept for.
const CATCH_UP_MAX: Duration = Duration::from_secs(86_400);

/// What this node knows, and knew.
#[derive(Debug)]
pub struct Remembered {
    journal: Arc<Journal>,
    remember_for: Duration,
    /// What the journal says, while the record is away; `None` from when that was asked.
    book: ArcSwapOption<Book>,
    reading: tokio::sync::Mutex<()>,
    /// Whether the record was away at the start.
    has_lent: AtomicBool,
    /// Believed more than the journal where it is ahead of it.
    index: Option<Arc<Index>>,
    /// The last change that is in the journal.
    number: AtomicI64,
    /// Whether every change so far is.
    is_caught_up: AtomicBool,
    /// The last change when that was first so: what was read before may lack one that is not in the journal.
    started_at: AtomicI64,
    /// When the record was last written down to confirm it, in microseconds.
    confirmed_at: AtomicU64,
    nodes: Mutex<Option<Nodes>>,
    lent: AtomicU64,
    discarded: AtomicU64,
}

impl Remembered {
    /// What is remembered of `record` in `directory`, of at most `entries_max` keys and organizations, and lent for
    /// `remember_for` after the record last confirmed it. A journal that cannot be read is begun anew, and said.
    ///
    /// # Errors
    /// Where none can be begun: the disk fails.
    pub fn open(
        directory: &Path,
        record: &str,
        entries_max: usize,
        remember_for: Duration,
        index: Option<Arc<Index>>,
    ) -> std::io::Result<Self> {
        let record = encoding::checksum("record", record);
        let (journal, book) = Journal::open(directory, &record, entries_max)?;
        if book.discarded > 0 {
            tracing::warn!(
                discarded = book.discarded,
                "what an earlier process knew of keys could not be read, or not all of it"
            );
        }
        Ok(Self {
            journal: Arc::new(journal),
            remember_for,
            index,
            number: AtomicI64::new(book.confirmed.map_or(0, |(_, number)| number)),
            is_caught_up: AtomicBool::new(false),
            started_at: AtomicI64::new(i64::MAX),
            confirmed_at: AtomicU64::new(0),
            nodes: Mutex::new(book.nodes),
            lent: AtomicU64::new(0),
            discarded: AtomicU64::new(book.discarded),
            book: ArcSwapOption::from_pointee(book),
            reading: tokio::sync::Mutex::default(),
            has_lent: AtomicBool::new(false),
        })
    }

    /// How many nodes shared the limits when this was last known here.
    pub fn nodes(&self) -> Option<Nodes> {
        *self.nodes.lock()
    }

    /// So many nodes share the limits.
    pub async fn nodes_are(&self, nodes: Nodes) {
        let before = self.nodes.lock().replace(nodes);
        if before != Some(nodes) {
            self.journal.add(&Line::Nodes(nodes));
            self.write().await;
        }
    }

    /// Questions answered from here.
    pub fn lent(&self) -> u64 {
        self.lent.load(Ordering::Relaxed)
    }

    /// Lines and entries that were not believed.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Entries that were not kept for want of room, or as the disk failed.
    pub fn overflown(&self) -> u64 {
        self.journal.overflown()
    }

    /// Whether what an earlier process knew is lent at `now`.
    pub async fn lends(&self, now: Timestamp) -> bool {
        let Some(book) = self.book.load_full() else { return false };
        let Some((at, number)) = book.confirmed.filter(|_| book.len() > 0) else { return false };
        if now.since(at) > self.remember_for + LATE {
            return false;
        }
        match &self.index {
            Some(index) => index.followed().await.is_none_or(|followed| followed <= number),
            None => true,
        }
    }

    async fn lend<T>(
        &self,
        name: String,
        now: Timestamp,
        decode: impl Fn(&str, &str) -> Option<(i64, T)>,
    ) -> Option<T> {
        let book = self.opened().await?;
        if !book.has(&name) || !self.lends(now).await {
            return None;
        }
        self.has_lent.store(true, Ordering::Relaxed);
        let reading = tokio::task::spawn_blocking(move || book.entry(&name).map(|entry| (name, entry)));
        let (name, entry) = reading.await.ok()??;
        let Some((_, lent)) = decode(&name, &entry) else {
            self.discarded.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.lent.fetch_add(1, Ordering::Relaxed);
        Some(lent)
    }

    /// What the journal says, read once more where the record was reached since the start, and is away again.
    async fn opened(&self) -> Option<Arc<Book>> {
        if let Some(book) = self.book.load_full() {
            return Some(book);
        }
        if !self.has_lent.load(Ordering::Relaxed) {
            return None;
        }
        let _one_at_a_time = self.reading.lock().await;
        if self.book.load().is_none() {
            let journal = Arc::clone(&self.journal);
            let read = tokio::task::spawn_blocking(move || journal.read()).await.ok()?;
            self.book.store(Some(Arc::new(read.ok()?)));
        }
        self.book.load_full()
    }

    /// The record has said this when `seen` was the last change. What was read before it was known what has changed since
    /// the journal's end is not written down: the keyring forgets it then, too.
    fn keep(&self, name: &str, seen: i64, entry: Option<String>) {
        if let Some(entry) = entry.filter(|_| seen >= self.started_at.load(Ordering::Acquire)) {
            self.journal.add(&Line::Kept { name, entry: &entry, seen });
        }
    }

    fn put_out(&self, changes: &[Change]) {
        for change in changes {
            let (name, number) = encoding::changed(change);
            self.journal.add(&Line::Out { name: &name, number });
        }
        if let Some(last) = changes.last() {
            self.number.fetch_max(last.sequence, Ordering::AcqRel);
        }
    }

    /// Reads what has changed since the journal ends, up to `last`; from then on nothing is lent.
    async fn catch_up(&self, record: &dyn GrantRecord, last: i64, now: Timestamp) -> Result<(), RecordError> {
        if self.is_caught_up.load(Ordering::Acquire) {
            return Ok(());
        }
        let number = self.number.load(Ordering::Acquire);
        let confirmed = self.book.load().as_ref().and_then(|book| book.confirmed);
        let is_of_use = confirmed.is_some_and(|(at, _)| now.since(at) <= CATCH_UP_MAX) && number <= last;
        if !is_of_use {
            // One that was just begun is no news.
            if self.book.load().as_ref().is_some_and(|book| book.len() > 0) {
                tracing::warn!(
                    "what an earlier process knew of keys is too old, or of another record: begun anew"
                );
            }
            let journal = Arc::clone(&self.journal);
            let _ = tokio::task::spawn_blocking(move || journal.clear()).await;
            self.number.store(last, Ordering::Release);
            if let Some(nodes) = self.nodes() {
                self.journal.add(&Line::Nodes(nodes));
            }
        }
        while self.number.load(Ordering::Acquire) < last {
            let after = self.number.load(Ordering::Acquire);
            let changes = record.changes_after(after, BATCH).await?;
            self.put_out(&changes);
            self.write().await;
            if changes.len() < BATCH {
                break;
            }
        }
        let number = self.number.fetch_max(last, Ordering::AcqRel).max(last);
        self.started_at.store(number, Ordering::Release);
        self.is_caught_up.store(true, Ordering::Release);
        self.book.store(None);
        Ok(())
    }

    /// At `now` the record knew of no change that is not in the journal; that is written down now and then, and with every
    /// change.
    fn confirmed(&self, now: Timestamp, has_changed: bool) {
        if !self.is_caught_up.load(Ordering::Acquire) {
            return;
        }
        if self.book.load().is_some() {
            self.book.store(None);
        }
        let before = Timestamp::from_micros(self.confirmed_at.load(Ordering::Relaxed));
        if has_changed || now.since(before) >= CONFIRM_EVERY {
            self.confirmed_at.store(now.micros(), Ordering::Relaxed);
            self.journal.add(&Line::Confirmed { at: now, number: self.number.load(Ordering::Acquire) });
        }
    }

    /// Writes what is to be written, and waits for that, but not for long.
    async fn write(&self) {
        if self.journal.has_pending() {
            let journal = Arc::clone(&self.journal);
            let writing = tokio::task::spawn_blocking(move || journal.write());
            let _ = tokio::time::timeout(WRITE_WAIT, writing).await;
        }
    }
}

/// A record whose answers are remembered, and lent where it is away from the start.
pub struct RememberedRecord {
    record: Arc<dyn GrantRecord>,
    remembered: Arc<Remembered>,
}

impl RememberedRecord {
    /// `record`, as `remembered` remembers it.
    pub const fn new(record: Arc<dyn GrantRecord>, remembered: Arc<Remembered>) -> Self {
        Self { record, remembered }
    }
}

#[async_trait]
impl GrantRecord for RememberedRecord {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let seen = self.remembered.number.load(Ordering::Acquire);
        match self.record.grant(digest).await {
            Ok(Some(grant)) => {
                let name = key_name(digest);
                self.remembered.keep(&name, seen, encoding::encode_grant(&name, seen, &grant));
                Ok(Some(grant))
            }
            Err(RecordError::Unavailable(cause)) => {
                let lent = self.remembered.lend(key_name(digest), clock::now(), encoding::decode_grant).await;
                lent.map(Some).ok_or(RecordError::Unavailable(cause))
            }
            other => other,
        }
    }

    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        let seen = self.remembered.number.load(Ordering::Acquire);
        match self.record.organization(id_or_name).await {
            Ok(organization) => {
                let name = organization_name(&organization.id);
                self.remembered.keep(&name, seen, encoding::encode_organization(&name, seen, &organization));
                Ok(organization)
            }
            Err(RecordError::Unavailable(cause)) => {
                let Ok(id) = OrgId::parse(id_or_name) else { return Err(RecordError::Unavailable(cause)) };
                let name = organization_name(&id);
                let lent = self.remembered.lend(name, clock::now(), encoding::decode_organization).await;
                lent.ok_or(RecordError::Unavailable(cause))
            }
            other => other,
        }
    }

    async fn changes_after(&self, sequence: i64, most: usize) -> Result<Vec<Change>, RecordError> {
        let asked = clock::now();
        let changes = self.record.changes_after(sequence, most).await;
        if let Ok(changes) = &changes {
            self.remembered.put_out(changes);
            if changes.len() < most {
                self.remembered.confirmed(asked, !changes.is_empty());
            }
        }
        self.remembered.write().await;
        changes
    }

    async fn last_change(&self) -> Result<i64, RecordError> {
        let last = self.record.last_change().await?;
        self.remembered.catch_up(&*self.record, last, clock::now()).await?;
        Ok(last)
    }

    async fn has_imported_keys(&self) -> Result<bool, RecordError> {
        self.record.has_imported_keys().await
    }
}
