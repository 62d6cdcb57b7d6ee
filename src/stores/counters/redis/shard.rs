//! One master of Redis: the connection to it, its breaker, and what is known of it besides counts.
//!
//! All calls share one connection, on which they are pipelined; the pool makes it, bounds how many there are while an
//! old one dies, and is not asked per call, as it would check the connection with a round trip each time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Script, Value};

use super::door::{Door, Held};
use super::known::Known;
use super::link::LinkError;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 2;

/// How often [`Shard::may_try`] says yes while the breaker is open.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// The part of Redis that one master serves; all of it, but in a cluster.
pub(super) struct Shard {
    door: Door,
    /// The connection in use, by its number.
    held: Mutex<Option<InUse>>,
    connecting: tokio::sync::Mutex<u64>,
    timeout: Duration,
    failures: AtomicU32,
    open: AtomicBool,
    tried: Mutex<Instant>,
    /// What its last answers told.
    pub(super) known: Known,
}

/// A connection.
struct InUse {
    number: u64,
    held: Held,
    /// What the server calls itself since it was started; empty where it does not say.
    server: Arc<str>,
}

impl Shard {
    /// A way through `door`; connects when it is first asked.
    pub fn new(door: Door, timeout: Duration) -> Self {
        Self {
            door,
            held: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(0),
            timeout,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            tried: Mutex::new(Instant::now()),
            known: Known::default(),
        }
    }

    /// Runs a script over keys that this master has. Its last argument is what the server calls itself.
    ///
    /// # Errors
    /// [`LinkError`]; whether Redis carried it out is not known then.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        let mut number = None;
        let called = tokio::time::timeout(self.timeout, async {
            let (held, mut connection, server) = self.connection().await?;
            number = Some(held);
            let mut call = script.prepare_invoke();
            for key in keys {
                call.key(key);
            }
            for argument in arguments {
                call.arg(*argument);
            }
            call.arg(&*server);
            Ok(call.invoke_async::<Value>(&mut connection).await?)
        });
        let answer = called.await.unwrap_or(Err(LinkError::Timeout(self.timeout)));
        match &answer {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(error) => self.failed(number, error),
        }
        answer
    }

    /// As [`Shard::call`], also while the breaker is open, which it closes where it succeeds.
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

    /// What the server calls itself, where there is a connection to it.
    pub fn server(&self) -> Option<Arc<str>> {
        self.held.lock().as_ref().map(|held| Arc::clone(&held.server))
    }

    /// Whether it is given up for now.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether a call that nobody counts on may be made: now and then while it is given up.
    pub fn may_try(&self) -> bool {
        let mut tried = self.tried.lock();
        if self.is_open() && tried.elapsed() < TRY_EVERY {
            return false;
        }
        *tried = Instant::now();
        true
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection, Arc<str>), LinkError> {
        if let Some(held) = self.in_use() {
            return Ok(held);
        }
        let mut number = self.connecting.lock().await;
        if let Some(held) = self.in_use() {
            return Ok(held);
        }
        let connection = self.door.open().await?;
        *number += 1;
        let mut multiplexed = connection.multiplexed();
        let server: Arc<str> = run_id(&mut multiplexed).await?.into();
        *self.held.lock() = Some(InUse { number: *number, held: connection, server: Arc::clone(&server) });
        Ok((*number, multiplexed, server))
    }

    fn in_use(&self) -> Option<(u64, MultiplexedConnection, Arc<str>)> {
        let held = self.held.lock();
        held.as_ref().map(|held| (held.number, held.held.multiplexed(), Arc::clone(&held.server)))
    }

    fn failed(&self, number: Option<u64>, error: &LinkError) {
        let given_up = self.held.lock().take_if(|held| Some(held.number) == number);
        if let Some(given_up) = given_up {
            given_up.held.discard();
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES
            && !self.open.swap(true, Ordering::AcqRel)
        {
            tracing::warn!(%error, "Redis is given up until it answers again");
        }
    }
}

/// What the server has called itself since it was started, by which one that took over is told from the one before.
/// Empty where this user may not ask.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<String, LinkError> {
    let mut info = redis::cmd("INFO");
    match info.arg("server").query_async::<String>(connection).await {
        Ok(info) => Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned()),
        Err(error) if error.code() == Some("NOPERM") => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("open", &self.is_open())
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
