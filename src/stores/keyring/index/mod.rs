//! The key index in Redis: what the record last said of keys and organizations, for when it cannot be asked.
//!
//! The record is asked first and the index kept up in passing: an answer of the record costs each gateway one question
//! per key until that key changes, so an index in front of it would save little, and give a revoked key one more place
//! to live on in. Where the record does not answer, the index does.
//!
//! | when | then |
//! |---|---|
//! | the record fails, or does not answer within [`RECORD_WAIT`] | the index is asked, and asked first until the record answers again |
//! | it is slow, and the index does not know | it is waited for, up to [`RECORD_WAIT_LONG`]: it may only be asked for much |
//! | neither answers, or the index does not know | [`RecordError::Unavailable`]: 503, never "unknown" |
//! | a key or organization changes | its entry is put out by every gateway that reads the change, and stays out for [`OUT_FOR`], so that nobody who read before can bring it back |
//! | putting out fails | it is tried again with every look for changes, and nothing of the index is trusted meanwhile |
//! | an entry is damaged, foreign, or of another version, or older than the last change at this gateway's start | it is not trusted, and counted |
//! | a gateway starts while the record is away | it believes the index for as long after some gateway last followed changes as `keys.remember_for` says: until then what is in it has not changed |
//! | nobody asks for a key | its entry ends by itself after `keys.index_for` |
//!
//! **Deliberately absent:** unknown keys. That a key does not exist only the record can say.

use std::pin::pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{Script, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::RECORD_WAIT_MAX;
use super::encoding::{self, key_name, organization_name};
use crate::clock;
use crate::domain::id::OrgId;
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::counters::redis::{Link, LinkError};
use crate::stores::record::{Change, GrantRecord, RecordError};

static INDEX: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("index.lua")));
static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));

static FOLLOWS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local number = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, tonumber(ARGV[1]))
         redis.call('SET', KEYS[1], string.format('%.0f', number), 'EX', ARGV[2]) return 1",
    )
});

/// The last change that was put out, by whichever gateway got so far; it ends when none has followed for long.
const FOLLOWED: &str = "tollgate:keys:followed";
/// How often a gateway writes down that it follows.
const FOLLOWED_EVERY: Duration = Duration::from_secs(5);

/// How long the record is waited for where the index may know.
const RECORD_WAIT: Duration = Duration::from_millis(1_000);
/// How long it is waited for where the index does not know, and the record did not fail when it was last asked.
const RECORD_WAIT_LONG: Duration = RECORD_WAIT_MAX.saturating_sub(Duration::from_millis(100));
/// How long an entry stays out: longer than any answer of the record can be on its way.
const OUT_FOR: Duration = Duration::from_secs(60);
/// Entries that are written at a time.
const KEPT_AT_A_TIME: usize = 16;
/// Entries that still have to be put out, at most; beyond that the index is not trusted until the next start.
const OWED_MAX: usize = 100_000;

/// A record with the index beside it.
pub struct IndexedRecord {
    record: Arc<dyn GrantRecord>,
    index: Arc<Index>,
    /// Whether the record failed, or was slow, when it was last asked.
    is_slow: AtomicBool,
    /// Whether it failed.
    is_down: AtomicBool,
}

/// The index, and what is known of it.
#[derive(Debug)]
pub struct Index {
    link: Arc<Link>,
    /// Where calls are made: not on the I/O threads.
    runtime: Handle,
    keep_for: Duration,
    /// The last change that was read here.
    seen: AtomicI64,
    /// The last change at the start: what was read before may have changed while nobody followed.
    started_at: AtomicI64,
    /// Whether that is known: the record was asked.
    has_started: AtomicBool,
    /// How long the index is good for gateways that start while nobody can follow.
    good_for: Duration,
    /// When this gateway last wrote down that it follows, in microseconds.
    followed_at: AtomicU64,
    /// What could not be put out yet, with the number of the change; `None` once there was too much.
    owed: Mutex<Option<Vec<(String, i64)>>>,
    putting_out: tokio::sync::Mutex<()>,
    /// Bounds how many answers of the record are written at a time: thousands may come at once.
    keeping: Semaphore,
    answered: AtomicU64,
    discarded: AtomicU64,
}

impl Index {
    /// An index in the Redis at `url`, whose calls are made on `runtime` and take `timeout` at most, and whose entries
    /// live for `keep_for`. A gateway that starts while the record is away believes it for `good_for` after a gateway last
    /// followed changes.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(
        url: &str,
        timeout: Duration,
        keep_for: Duration,
        good_for: Duration,
        runtime: Handle,
    ) -> Result<Self, LinkError> {
        Ok(Self {
            link: Arc::new(Link::new(url, timeout)?),
            runtime,
            keep_for,
            seen: AtomicI64::new(0),
            started_at: AtomicI64::new(0),
            has_started: AtomicBool::new(false),
            good_for,
            followed_at: AtomicU64::new(0),
            owed: Mutex::new(Some(Vec::new())),
            putting_out: tokio::sync::Mutex::default(),
            keeping: Semaphore::new(KEPT_AT_A_TIME),
            answered: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        })
    }

    /// Questions that it answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Entries that were not trusted.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    async fn get<T>(&self, name: &str, decode: impl Fn(&str, &str) -> Option<(i64, T)>) -> Option<T> {
        if self.is_owing() || !self.has_started.load(Ordering::Relaxed) && self.followed().await.is_none() {
            return None;
        }
        let (link, names) = (Arc::clone(&self.link), [name.to_owned()]);
        let asked = self.runtime.spawn(async move { link.try_run(&LOOK, &names, &[]).await });
        let answer = asked.await.ok()?.ok()?;
        let Value::BulkString(bytes) = answer else { return None };
        let entry = std::str::from_utf8(&bytes).unwrap_or_default();
        if entry.starts_with('-') {
            return None;
        }
        let trusted =
            decode(name, entry).filter(|(seen, _)| *seen >= self.started_at.load(Ordering::Relaxed));
        let counter = if trusted.is_some() { &self.answered } else { &self.discarded };
        counter.fetch_add(1, Ordering::Relaxed);
        trusted.map(|(_, value)| value)
    }

    /// Whether something is to be put out that could not be yet.
    fn is_owing(&self) -> bool {
        self.owed.lock().as_ref().is_none_or(|owed| !owed.is_empty())
    }

    /// The last change that some gateway has put out of the index of late; `None` where none has followed changes for
    /// longer than the index is good for, or Redis does not say.
    pub async fn followed(&self) -> Option<i64> {
        let (link, names) = (Arc::clone(&self.link), [FOLLOWED.to_owned()]);
        let asked = self.runtime.spawn(async move { link.try_run(&LOOK, &names, &[]).await });
        let Value::BulkString(number) = asked.await.ok()?.ok()? else { return None };
        std::str::from_utf8(&number).ok()?.parse().ok()
    }

    /// Writes down, now and then, that all changes so far are put out.
    fn follows(&self, now: Timestamp) {
        let at = Timestamp::from_micros(self.followed_at.load(Ordering::Relaxed));
        if self.good_for.is_zero() || now.since(at) < FOLLOWED_EVERY || self.is_owing() {
            return;
        }
        self.followed_at.store(now.micros(), Ordering::Relaxed);
        let number = self.seen.load(Ordering::Acquire).to_string();
        let seconds = (self.good_for + FOLLOWED_EVERY).as_secs().max(1).to_string();
        let (link, names) = (Arc::clone(&self.link), [FOLLOWED.to_owned()]);
        // Nobody waits for it; what fails is written with the next.
        self.runtime.spawn(async move { link.try_run(&FOLLOWS, &names, &[&number, &seconds]).await });
    }

    async fn keep(&self, name: String, seen: i64, entry: String) {
        let seconds = self.keep_for.as_secs().max(1).to_string();
        let _turn = self.keeping.acquire().await;
        // What cannot be kept is not known here when it is needed: no worse than without an index.
        let _ = self.link.try_run(&INDEX, &[name], &["keep", &seen.to_string(), &seconds, &entry]).await;
    }

    async fn put_out(&self, name: &str, number: i64) -> bool {
        let seconds = OUT_FOR.as_secs().to_string();
        let arguments = ["put out", &number.to_string(), &seconds];
        self.link.try_run(&INDEX, &[name.to_owned()], &arguments).await.is_ok()
    }

    /// Puts out what changed, and what could not be put out before.
    async fn put_out_all(&self, changes: &[Change]) {
        // What is owed at first is still the same at the end.
        let _one_at_a_time = self.putting_out.lock().await;
        let names = changes.iter().map(encoding::changed);
        let owed: Vec<(String, i64)> = {
            let mut owed = self.owed.lock();
            let Some(all) = owed.as_mut() else { return };
            all.extend(names);
            if all.len() > OWED_MAX {
                tracing::error!(
                    "too many changes to put out of the key index: it is not used until the next start"
                );
                *owed = None;
                return;
            }
            all.clone()
        };
        let mut done = 0;
        for (name, number) in &owed {
            if !self.put_out(name, *number).await {
                break;
            }
            done += 1;
        }
        if let Some(all) = self.owed.lock().as_mut() {
            all.drain(..done.min(all.len()));
        }
    }
}

impl IndexedRecord {
    /// `record`, with `index` for when it cannot be asked.
    pub const fn new(record: Arc<dyn GrantRecord>, index: Arc<Index>) -> Self {
        Self { record, index, is_slow: AtomicBool::new(false), is_down: AtomicBool::new(false) }
    }

    /// Asks the record, or the index where that fails; what the record says is kept.
    async fn ask<T>(
        &self,
        name: String,
        question: impl Future<Output = Result<T, RecordError>>,
        decode: impl Fn(&str, &str) -> Option<(i64, T)>,
        encode: impl Fn(&str, i64, &T) -> Option<String>,
    ) -> Result<T, RecordError> {
        let is_asked_first = self.is_slow.load(Ordering::Relaxed);
        if is_asked_first && let Some(known) = self.index.get(&name, &decode).await {
            return Ok(known);
        }
        let seen = self.index.seen.load(Ordering::Acquire);
        match self.ask_record(&name, question, &decode).await {
            Err(RecordError::Unavailable(cause)) => {
                self.is_slow.store(true, Ordering::Relaxed);
                self.is_down.store(true, Ordering::Relaxed);
                self.index.get(&name, &decode).await.ok_or(RecordError::Unavailable(cause))
            }
            Ok(Answer::OfIndex(known)) => Ok(known),
            Ok(Answer::OfRecord(answer)) => {
                self.answers();
                if let Some(entry) = encode(&name, seen, &answer) {
                    let index = Arc::clone(&self.index);
                    // Whoever asked does not wait for it.
                    self.index.runtime.spawn(async move { index.keep(name, seen, entry).await });
                }
                Ok(answer)
            }
            Err(other) => Err(other),
        }
    }

    /// What the record answers; where it is slow, what the index does, and only where that does not know the record
    /// after all.
    async fn ask_record<T>(
        &self,
        name: &str,
        question: impl Future<Output = Result<T, RecordError>>,
        decode: impl Fn(&str, &str) -> Option<(i64, T)>,
    ) -> Result<Answer<T>, RecordError> {
        let late = || RecordError::Unavailable(sqlx::Error::PoolTimedOut);
        let mut question = pin!(question);
        if let Ok(answer) = tokio::time::timeout(RECORD_WAIT, &mut question).await {
            return answer.map(Answer::OfRecord);
        }
        self.is_slow.store(true, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(late());
        }
        if let Some(known) = self.index.get(name, decode).await {
            return Ok(Answer::OfIndex(known));
        }
        let left = RECORD_WAIT_LONG.saturating_sub(RECORD_WAIT);
        let answer = tokio::time::timeout(left, question).await;
        answer.unwrap_or_else(|_| Err(late())).map(Answer::OfRecord)
    }

    /// The record has answered.
    fn answers(&self) {
        self.is_slow.store(false, Ordering::Relaxed);
        self.is_down.store(false, Ordering::Relaxed);
    }
}

/// Whose answer it is.
enum Answer<T> {
    OfRecord(T),
    OfIndex(T),
}

#[async_trait]
impl GrantRecord for IndexedRecord {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let decode = |name: &str, entry: &str| {
            encoding::decode_grant(name, entry).map(|(seen, grant)| (seen, Some(grant)))
        };
        let encode =
            |name: &str, seen, grant: &Option<Grant>| encoding::encode_grant(name, seen, grant.as_ref()?);
        self.ask(key_name(digest), self.record.grant(digest), decode, encode).await
    }

    async fn changes_after(&self, sequence: i64, most: usize) -> Result<Vec<Change>, RecordError> {
        let now = clock::now();
        let changes = self.record.changes_after(sequence, most).await?;
        self.answers();
        // First, so that what is read from now on is known to be newer.
        let last = changes.last().map_or(sequence, |change| change.sequence);
        self.index.seen.fetch_max(last, Ordering::Release);
        self.index.put_out_all(&changes).await;
        if changes.len() < most && self.index.has_started.load(Ordering::Relaxed) {
            self.index.follows(now);
        }
        Ok(changes)
    }

    async fn last_change(&self) -> Result<i64, RecordError> {
        let last = self.record.last_change().await?;
        self.index.started_at.store(last, Ordering::Relaxed);
        self.index.has_started.store(true, Ordering::Relaxed);
        self.index.seen.fetch_max(last, Ordering::Release);
        Ok(last)
    }

    async fn has_imported_keys(&self) -> Result<bool, RecordError> {
        self.record.has_imported_keys().await
    }

    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        let Ok(id) = OrgId::parse(id_or_name) else { return self.record.organization(id_or_name).await };
        let name = organization_name(&id);
        let question = self.record.organization(id_or_name);
        self.ask(name, question, encoding::decode_organization, |name, seen, org: &Organization| {
            // The record finds by name, too; the index does not.
            (org.id == id).then(|| encoding::encode_organization(name, seen, org)).flatten()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
