//! The way to Redis: calls find the master that has their keys, by their hash tag. Scripts by their digest, hard
//! timeouts, a breaker for each master.
//!
//! | when | then |
//! |---|---|
//! | Redis does not know a script | it is loaded and the call made again |
//! | a call takes longer than `counters.timeout` | it is given up, and so is its connection |
//! | some calls in a row fail | the breaker opens: nobody asks but [`Shard::probe`], until that succeeds |
//! | Redis is loading, read-only, out of memory | as a failure: it cannot count |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{RedisError, Script, Value};

use super::door::Door;
use super::shard::Shard;
use crate::domain::id::OrgId;

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing came back in time.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// No connection could be made.
    #[error("no connection to Redis: {0}")]
    Connection(String),
    /// Redis or the connection failed.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// Redis is given up for now.
    #[error("Redis does not answer at present")]
    Open,
    /// The answer made no sense.
    #[error("Redis gave an answer that cannot be read")]
    Unreadable,
}

/// The way to Redis.
pub(in crate::stores) struct Link {
    shard: Arc<Shard>,
    timeout: Duration,
    round_trips: AtomicU64,
}

impl Link {
    /// A way to `url`; connects when it is first asked.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, LinkError> {
        Ok(Self {
            shard: Arc::new(Shard::new(Door::new(url, timeout)?, timeout)),
            timeout,
            round_trips: AtomicU64::new(0),
        })
    }

    /// Runs a script over keys of one hash slot.
    ///
    /// # Errors
    /// [`LinkError`]; whether Redis carried it out is not known then.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.shard.call(script, keys, arguments).await
    }

    /// As [`Link::run`] for calls that nobody counts on: where the breaker is open, one of them now and then is tried.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Open`] at once where it is not tried.
    pub async fn try_run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        if !self.shard.may_try() {
            return Err(LinkError::Open);
        }
        self.shard.probe(script, keys, arguments).await
    }

    /// The master that has what is counted of an organization.
    pub(super) fn shard(&self, _org: &OrgId) -> &Arc<Shard> {
        &self.shard
    }

    /// All masters.
    pub(super) fn shards(&self) -> Vec<Arc<Shard>> {
        vec![Arc::clone(&self.shard)]
    }

    /// Calls made for the sake of requests so far.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// How long a call may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("shard", &self.shard).field("round_trips", &self.round_trips()).finish()
    }
}
