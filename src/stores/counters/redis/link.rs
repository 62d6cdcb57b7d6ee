//! The way to Redis: a connection out of a bounded pool, scripts by their digest, hard timeouts, a breaker.
//!
//! | when | then |
//! |---|---|
//! | Redis does not know a script | it is loaded and the call made again |
//! | a call takes longer than `counters.timeout` | it is given up, and so is its connection |
//! | [`FAILURES`] calls in a row fail | the breaker opens: nobody asks but [`Link::probe`], until that succeeds |
//! | Redis is loading, read-only, out of memory | as a failure: it cannot count |
//!
//! All calls share one connection, on which they are pipelined; the pool makes it, bounds how many there are while an
//! old one dies, and is not asked per call, as it would check the connection with a round trip each time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script, Value};

use super::door::{Door, Held};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 2;

/// How often [`Link::try_run`] tries while the breaker is open.
const TRY_EVERY: Duration = Duration::from_millis(200);

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

/// The way to one Redis.
pub(in crate::stores) struct Link {
    door: Door,
    /// The connection in use, by its number.
    held: Mutex<Option<(u64, Held)>>,
    connecting: tokio::sync::Mutex<u64>,
    timeout: Duration,
    failures: AtomicU32,
    open: AtomicBool,
    round_trips: AtomicU64,
    tried: Mutex<Instant>,
}

impl Link {
    /// A way to `url`; connects when it is first asked.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, LinkError> {
        Ok(Self {
            door: Door::new(url, timeout)?,
            held: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(0),
            timeout,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
            tried: Mutex::new(Instant::now()),
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
        self.call(script, keys, arguments).await
    }

    async fn call(&self, script: &Script, keys: &[String], arguments: &[&str]) -> Result<Value, LinkError> {
        let mut number = None;
        let called = tokio::time::timeout(self.timeout, async {
            let (held, mut connection) = self.connection().await?;
            number = Some(held);
            let mut call = script.prepare_invoke();
            for key in keys {
                call.key(key);
            }
            for argument in arguments {
                call.arg(*argument);
            }
            Ok(call.invoke_async::<Value>(&mut connection).await?)
        });
        let answer = called.await.unwrap_or(Err(LinkError::Timeout(self.timeout)));
        match &answer {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(error) => self.failed(number, error),
        }
        answer
    }

    /// As [`Link::run`], also while the breaker is open, which it closes where it succeeds. Is not counted: it is made
    /// now and then, whatever the traffic.
    pub async fn probe(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        let answer = self.call(script, keys, arguments).await?;
        if self.open.swap(false, Ordering::AcqRel) {
            tracing::info!("Redis answers again");
        }
        Ok(answer)
    }

    /// As [`Link::run`] for calls that nobody counts on: while the breaker is open, one of them now and then is tried.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Open`] at once where it is not tried.
    pub async fn try_run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        if self.is_open() && self.tried.lock().elapsed() < TRY_EVERY {
            return Err(LinkError::Open);
        }
        *self.tried.lock() = Instant::now();
        self.probe(script, keys, arguments).await
    }

    /// Whether Redis is given up for now.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Calls made for the sake of requests so far.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// How long a call may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), LinkError> {
        if let Some(held) = self.in_use() {
            return Ok(held);
        }
        let mut number = self.connecting.lock().await;
        if let Some(held) = self.in_use() {
            return Ok(held);
        }
        let connection = self.door.open().await?;
        *number += 1;
        let multiplexed = connection.multiplexed();
        *self.held.lock() = Some((*number, connection));
        Ok((*number, multiplexed))
    }

    fn in_use(&self) -> Option<(u64, MultiplexedConnection)> {
        self.held.lock().as_ref().map(|(number, held)| (*number, held.multiplexed()))
    }

    fn failed(&self, number: Option<u64>, error: &LinkError) {
        let given_up = self.held.lock().take_if(|(held, _)| Some(*held) == number);
        if let Some((_, held)) = given_up {
            held.discard();
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES
            && !self.open.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(%error, "Redis is given up until it answers again");
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("open", &self.is_open())
            .field("round_trips", &self.round_trips())
            .finish_non_exhaustive()
    }
}
