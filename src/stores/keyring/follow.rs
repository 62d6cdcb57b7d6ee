//! Following the changes that other processes and nodes write to the record.
//!
//! | what fails | what happens |
//! |---|---|
//! | the record cannot be asked | it is tried again, at least every [`BACK_OFF_MAX`]; nothing is skipped, as the next read begins behind the last number read |
//! | an organization cannot be read anew | the batch that named it is read again; its keys were already forgotten |
//! | the start is missed | what was cached before following began is forgotten, so keys may be served before, during and after |
//!
//! **Deliberately absent:** notifications. One mechanism serves every record, and one that polls a table in
//! order loses nothing while a connection is gone.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashSet;

use super::{Keyring, bounded};
use crate::clock;
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;
use crate::stores::record::{Change, Changed, GrantRecord, RecordError};

/// The longest pause after a failure: once the record is back, changes are in force within a second.
pub const BACK_OFF_MAX: Duration = Duration::from_millis(500);
/// Changes read at once.
const BATCH: usize = 1_000;

/// How well changes are followed: for metrics and readiness.
#[derive(Debug, Default)]
pub struct Following {
    up: AtomicBool,
    sequence: AtomicI64,
    read_at: AtomicU64,
    lag: AtomicU64,
    lag_max: AtomicU64,
    changes: AtomicU64,
}

impl Following {
    /// Whether the last read went well; `false` before the first.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The number of the last change that is in force here.
    pub fn sequence(&self) -> i64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// When changes were last read; `None` before the first time.
    pub fn read_at(&self) -> Option<Timestamp> {
        Some(self.read_at.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Timestamp::from_micros)
    }

    /// From the making of the last change to its being in force here, by the clocks of both sides.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed))
    }

    /// The longest such time since the start.
    pub fn lag_max(&self) -> Duration {
        Duration::from_micros(self.lag_max.load(Ordering::Relaxed))
    }

    /// Changes followed since the start.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn in_force(&self, change: &Change, now: Timestamp) -> Duration {
        let since = now.since(change.at);
        let lag = since.as_micros() as u64;
        self.lag.store(lag, Ordering::Relaxed);
        self.lag_max.fetch_max(lag, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.sequence.store(change.sequence, Ordering::Relaxed);
        since
    }
}

/// Keeps `keyring` up with `record` until `shutdown`, looking for changes every `every`; `noticed` is told of each
/// change how long it took from its making to its being in force here. Must run on a runtime with a timer, once
/// per keyring.
pub async fn follow(
    keyring: Arc<Keyring>,
    record: Arc<dyn GrantRecord>,
    every: Duration,
    noticed: impl Fn(Duration),
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        never = read_on(&keyring, &*record, every, &noticed) => match never {},
    }
}

async fn read_on(
    keyring: &Keyring,
    record: &dyn GrantRecord,
    every: Duration,
    noticed: &impl Fn(Duration),
) -> Infallible {
    let following = &keyring.following;
    let mut reached = None;
    let mut pause = every;
    loop {
        match step(keyring, record, &mut reached, noticed).await {
            Ok(more) => {
                following.read_at.store(clock::now().micros(), Ordering::Relaxed);
                if !following.up.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        sequence = following.sequence(),
                        "following changes of keys and organizations"
                    );
                }
                pause = every;
                if more {
                    continue;
                }
            }
            Err(error) => {
                if following.up.swap(false, Ordering::Relaxed) || reached.is_none() && pause == every {
                    tracing::warn!(%error, "changes cannot be read: known keys keep working, edits wait");
                }
                pause = (2 * pause).min(BACK_OFF_MAX.max(every));
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reads one batch and puts it in force; whether there may be more. `reached` moves on only when all of it is.
async fn step(
    keyring: &Keyring,
    record: &dyn GrantRecord,
    reached: &mut Option<i64>,
    noticed: &impl Fn(Duration),
) -> Result<bool, RecordError> {
    let Some(after) = *reached else {
        let last = bounded(record.last_change()).await?;
        look_for_imports(keyring, record).await?;
        // Whatever was read before this number was may miss a change up to it.
        keyring.forget_all();
        keyring.following.sequence.store(last, Ordering::Relaxed);
        *reached = Some(last);
        return Ok(true);
    };
    let changes = apply(keyring, record, after).await?;
    let now = clock::now();
    changes.iter().for_each(|change| noticed(keyring.following.in_force(change, now)));
    *reached = changes.last().map_or(*reached, |change| Some(change.sequence));
    Ok(changes.len() == BATCH)
}

/// Puts in force what was written up to now, for whoever wrote it and says next that it is done. What it reads is
/// read again by [`follow`], which minds no repetition.
///
/// # Errors
/// [`RecordError`] where the record could not be asked; [`follow`] will go on trying.
pub async fn catch_up(keyring: &Keyring) -> Result<(), RecordError> {
    // Nothing is cached from before following began that following will not forget.
    let mut after = keyring.following.sequence();
    loop {
        let changes = apply(keyring, &*keyring.record, after).await?;
        match changes.last() {
            Some(last) if changes.len() == BATCH => after = last.sequence,
            _ => return Ok(()),
        }
    }
}

/// Reads the changes after a number, and makes the keyring forget what they are about.
async fn apply(keyring: &Keyring, record: &dyn GrantRecord, after: i64) -> Result<Vec<Change>, RecordError> {
    let changes = bounded(record.changes_after(after, BATCH)).await?;
    // Keys first: an organization that cannot be read must not keep a revoked key alive.
    let mut organizations = AHashSet::new();
    for change in &changes {
        match &change.subject {
            Changed::Secret(digest) => keyring.forget(digest),
            Changed::Organization(id) => {
                organizations.insert(id);
            }
        }
    }
    for id in organizations {
        refresh(keyring, id).await?;
    }
    if !changes.is_empty() {
        look_for_imports(keyring, record).await?;
    }
    Ok(changes)
}

/// Whether any key was made elsewhere. Asked after the keys themselves were forgotten: who comes with such a key a
/// moment early is refused as before.
async fn look_for_imports(keyring: &Keyring, record: &dyn GrantRecord) -> Result<(), RecordError> {
    let imported = bounded(record.has_imported_keys()).await?;
    keyring.imported.store(imported, Ordering::Relaxed);
    Ok(())
}

/// An error is worth another try; what cannot get better by trying is dealt with here.
async fn refresh(keyring: &Keyring, id: &OrgId) -> Result<(), RecordError> {
    match keyring.refresh(id).await {
        Err(error @ RecordError::Unavailable(_)) => Err(error),
        Err(error) => {
            // Its keys must not go on under a plan that nobody can confirm.
            tracing::error!(organization = %id, %error, "a changed organization cannot be read");
            keyring.forget_all();
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
