//! One master of Redis: the connection to it, its breaker, and what is known of it besides counts.
//!
//! All calls share one connection, on which they are pipelined; the pool makes it, bounds how many there are while an
//! old one dies, and is not asked per call, as it would check the connection with a round trip each time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisResult, Script, ServerErrorKind, Value};

use super::door::{Door, Held};
use super::known::Known;
use super::link::LinkError;
use super::news::News;
use super::{Local, local};
use crate::stores::gather::Gather;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 2;

/// How often [`Shard::may_try`] says yes while the breaker is open.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// Organizations in one announcement at most: fewer than are told at once (`script/hello.lua`).
const ANNOUNCED_TOGETHER: usize = 128;

/// All nodes, by the time of their last word.
const NODES: &str = "tollgate:nodes";

/// The part of Redis that one master serves; all of it, but in a cluster.
pub(super) struct Shard {
    /// `None` where no master serves it.
    target: Mutex<Option<Arc<Target>>>,
    /// What the cluster says of it; `None` where there is no cluster.
    part: Option<Mutex<Part>>,
    /// The connection in use.
    held: Mutex<Option<InUse>>,
    connecting: tokio::sync::Mutex<u64>,
    timeout: Duration,
    failures: AtomicU32,
    open: AtomicBool,
    /// The local instant at which it was last given up, in microseconds.
    opened: AtomicU64,
    tried: Mutex<Instant>,
    /// Told when the breaker opens, and who is at the other end.
    news: Arc<News>,
    /// What its last answers told.
    pub known: Known,
    /// Organizations that are about to be rebuilt, and by whom: whether that was said.
    pub announcements: Gather<String, bool>,
}

/// A connection.
struct InUse {
    number: u64,
    held: Held,
    /// What the server calls itself since it was started; empty where it does not say.
    server: Arc<str>,
}

/// The server that is the master at present.
struct Target {
    name: String,
    door: Door,
}

/// A part of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The master's id.
    pub id: String,
    /// The ids of all who have what it has: one of them is the next master.
    pub members: Vec<String>,
    /// A hash tag in one of its slots.
    pub tag: u32,
}

impl Shard {
    /// All of Redis; connects when it is first asked.
    pub fn whole(door: Door, timeout: Duration, news: Arc<News>) -> Self {
        let target = Target { name: door.name(), door };
        let shard = Self::new(None, timeout, news);
        *shard.target.lock() = Some(Arc::new(target));
        shard
    }

    /// A part of a cluster; where it is, [`Shard::is_at`] says.
    pub fn part_of_cluster(part: Part, timeout: Duration, news: Arc<News>) -> Self {
        Self::new(Some(Mutex::new(part)), timeout, news)
    }

    /// What no master of a cluster serves: it is given up.
    pub fn of_nobody(timeout: Duration, news: Arc<News>) -> Self {
        let nobody = Self::part_of_cluster(Part::default(), timeout, news);
        nobody.open.store(true, Ordering::Release);
        nobody
    }

    fn new(part: Option<Mutex<Part>>, timeout: Duration, news: Arc<News>) -> Self {
        Self {
            target: Mutex::new(None),
            part,
            held: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(0),
            timeout,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            opened: AtomicU64::new(local().0),
            tried: Mutex::new(Instant::now()),
            known: Known::from_before(news.before),
            news,
            announcements: Gather::new(ANNOUNCED_TOGETHER, 1),
        }
    }

    /// The master is at `door` from now on.
    pub fn is_at(&self, name: String, door: Door) {
        let target = Target { name, door };
        *self.target.lock() = Some(Arc::new(target));
        self.hang_up();
    }

    /// Where the master is.
    pub fn name(&self) -> Option<String> {
        self.target.lock().as_ref().map(|target| target.name.clone())
    }

    /// What the cluster says of it.
    pub fn part(&self) -> Part {
        self.part.as_ref().map_or_else(Part::default, |part| part.lock().clone())
    }

    /// The cluster says something else of it.
    pub fn is(&self, now: Part) {
        if let Some(part) = &self.part {
            *part.lock() = now;
        }
    }

    /// The keys under which nodes say that they are there, and which organizations were rebuilt.
    pub fn nodes_keys(&self) -> [String; 2] {
        let nodes = self
            .part
            .as_ref()
            .map_or_else(|| NODES.to_owned(), |part| format!("{NODES}:{{{}}}", part.lock().tag));
        let rebuilt = format!("{nodes}:rebuilt");
        [nodes, rebuilt]
    }

    /// Runs a script over keys that it has, or that it is being given where `asking`. To the arguments is added what the
    /// server calls itself, and behind a blank what those of other masters call themselves.
    ///
    /// # Errors
    /// [`LinkError`]; whether Redis carried it out is not known then, unless it says that the keys are elsewhere.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
        asking: bool,
    ) -> Result<Value, LinkError> {
        self.timed(async |connection, server| {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(arguments);
            command.arg(self.news.servers(self.place(), server));
            match send(connection, &command, asking).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    script.load_async(connection).await?;
                    send(connection, &command, asking).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Asks several things at once that have nothing to do with keys.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn ask(&self, questions: &Pipeline) -> Result<Vec<Value>, LinkError> {
        self.timed(async |connection, _| questions.query_async(connection).await).await
    }

    async fn timed<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection, &str) -> RedisResult<T>,
    ) -> Result<T, LinkError> {
        let mut number = None;
        let called = tokio::time::timeout(self.timeout, async {
            let (held, mut connection, server) = self.connection().await?;
            number = Some(held);
            Ok(work(&mut connection, &server).await?)
        });
        let answer = called.await.unwrap_or(Err(LinkError::Timeout(self.timeout)));
        match &answer {
            // It did answer.
            Err(error) if self.part.is_some() && error.elsewhere().is_some() => {
                self.failures.store(0, Ordering::Relaxed);
            }
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(error) => self.failed(number, error),
        }
        answer
    }

    /// As [`Shard::call`], also while the breaker is open, which it closes where it succeeds.
    ///
    /// # Errors
    /// As [`Shard::call`].
    pub async fn probe(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        let answer = self.call(script, keys, arguments, false).await?;
        self.close();
        Ok(answer)
    }

    /// Closes the breaker.
    pub fn close(&self) {
        if self.open.swap(false, Ordering::AcqRel) {
            tracing::info!(server = self.name(), "Redis answers again");
        }
    }

    /// What the server calls itself, where there is a connection to it.
    pub fn server(&self) -> Option<Arc<str>> {
        self.held.lock().as_ref().map(|held| Arc::clone(&held.server))
    }

    /// Whether it is given up for now.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// For how long it has been given up; zero where it is not.
    pub fn open_for(&self) -> Duration {
        let opened = Local(self.opened.load(Ordering::Acquire));
        if self.is_open() { local().since(opened) } else { Duration::ZERO }
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
        loop {
            if let Some(held) = self.in_use() {
                return Ok(held);
            }
            let target = self.target.lock().clone();
            let target = target.ok_or(LinkError::Unserved)?;
            let connection = target.door.open().await?;
            let mut multiplexed = connection.multiplexed();
            let server: Arc<str> = run_id(&mut multiplexed).await?.into();
            let mut held = self.held.lock();
            // The master may have become another one meanwhile.
            if self.target.lock().as_ref().is_some_and(|present| Arc::ptr_eq(present, &target)) {
                *number += 1;
                self.news.is(self.place(), Arc::clone(&server));
                *held = Some(InUse { number: *number, held: connection, server: Arc::clone(&server) });
                return Ok((*number, multiplexed, server));
            }
            drop(held);
            connection.discard();
        }
    }

    fn in_use(&self) -> Option<(u64, MultiplexedConnection, Arc<str>)> {
        let held = self.held.lock();
        held.as_ref().map(|held| (held.number, held.held.multiplexed(), Arc::clone(&held.server)))
    }

    /// By which [`News`] tells it from others, as long as it is there.
    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Gives up the connection; the next call makes a new one.
    pub fn hang_up(&self) {
        let held = self.held.lock().take();
        if let Some(in_use) = held {
            in_use.held.discard();
        }
    }

    fn failed(&self, number: Option<u64>, error: &LinkError) {
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| number.is_some_and(|number| number < held.number)) {
            // What has been given up already fails once more.
            return;
        }
        let given_up = held.take_if(|held| Some(held.number) == number);
        drop(held);
        if let Some(given_up) = given_up {
            given_up.held.discard();
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES
            && !self.open.swap(true, Ordering::AcqRel)
        {
            self.opened.store(local().0, Ordering::Release);
            tracing::warn!(server = self.name(), %error, "Redis is given up until it answers again");
            self.news.notify_one();
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.news.forget(self.place());
    }
}

/// What the server has called itself since it was started, by which one that took over is told from the one before.
/// Empty where this user may not ask.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<String, LinkError> {
    let mut info = redis::cmd("INFO");
    match info.arg("server").query_async::<String>(connection).await {
        Ok(info) => {
            Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned())
        }
        Err(error) if error.code() == Some("NOPERM") => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

/// Sends a command, to a node that is being given its keys where `asking`.
async fn send(connection: &mut MultiplexedConnection, command: &Cmd, asking: bool) -> RedisResult<Value> {
    if !asking {
        return command.query_async(connection).await;
    }
    let mut both = Pipeline::new();
    both.cmd("ASKING").ignore().add_command(command.clone());
    let (answer,) = both.query_async::<(Value,)>(connection).await?;
    Ok(answer)
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("server", &self.name())
            .field("open", &self.is_open())
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
