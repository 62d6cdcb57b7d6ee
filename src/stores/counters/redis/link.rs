//! The way to Redis: calls find the master that has their keys. Scripts by their digest, hard timeouts, a breaker for
//! each master.
//!
//! | when | then |
//! |---|---|
//! | Redis does not know a script | it is loaded and the call made again |
//! | a call takes longer than `counters.timeout` | it is given up, and so is its connection |
//! | some calls in a row fail | the breaker of that master opens: nobody asks it but [`Shard::probe`], until that succeeds |
//! | Redis is loading, read-only, out of memory, or its cluster down | as a failure: it cannot count |
//! | keys have moved, or are moving, to another master | see [`cluster`](super::cluster) |

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{ErrorKind, RedisError, Script, ServerErrorKind, Value};

use super::super::lease::Nodes;
use super::cluster::{Cluster, Map};
use super::door::Door;
use super::news::News;
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
    /// The keys are on their way from one master to another.
    #[error("Redis is moving the keys to another master")]
    Moving,
    /// No master has the keys, as far as is known.
    #[error("no master of the Redis cluster is known to serve these keys")]
    Unserved,
    /// The answer made no sense.
    #[error("Redis gave an answer that cannot be read")]
    Unreadable,
}

/// What a node of a cluster says instead of an answer. Nothing was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere<'a> {
    /// The slot belongs to the master at this address, where it is told.
    Moved(Option<&'a str>),
    /// The slot is moving to the master at this address, where it is told: it has these keys by now, or will.
    Moving(Option<&'a str>),
    /// Some of the keys have moved already, others not yet.
    Between,
}

impl LinkError {
    /// Where the keys are instead.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere<'_>> {
        let Self::Redis(error) = self else { return None };
        let address = || error.redirect_node().map(|(address, _)| address);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => Some(Elsewhere::Moved(address())),
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Elsewhere::Moving(address())),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(Elsewhere::Between),
            _ => None,
        }
    }
}

/// The way to Redis.
pub(in crate::stores) struct Link {
    way: Way,
    timeout: Duration,
    round_trips: AtomicU64,
    news: Arc<News>,
}

enum Way {
    /// To one master, which has everything.
    Whole(Arc<Shard>),
    /// To several, each with its part.
    Parts(Cluster),
}

impl Link {
    /// A way to `url`; connects when it is first asked.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, LinkError> {
        Self::after(Nodes::default(), url, timeout)
    }

    /// As [`Link::new`], to where there were so many nodes.
    ///
    /// # Errors
    /// As [`Link::new`].
    pub fn after(before: Nodes, url: &str, timeout: Duration) -> Result<Self, LinkError> {
        let news = Arc::new(News::after(before));
        let way = match Cluster::new(url, timeout, &news)? {
            Some(cluster) => Way::Parts(cluster),
            None => Way::Whole(Arc::new(Shard::whole(Door::new(url, timeout)?, timeout, Arc::clone(&news)))),
        };
        Ok(Self { way, timeout, round_trips: AtomicU64::new(0), news })
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
        match &self.way {
            Way::Whole(shard) => {
                self.round_trips.fetch_add(1, Ordering::Relaxed);
                shard.call(script, keys, arguments, false).await
            }
            Way::Parts(cluster) => {
                let (answer, tries) = cluster.run(script, keys, arguments).await;
                self.round_trips.fetch_add(tries, Ordering::Relaxed);
                answer
            }
        }
    }

    /// As [`Link::run`] for calls that nobody counts on: where the breaker is open, one of them now and then is tried,
    /// and closes it where it succeeds.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Open`] at once where it is not tried.
    pub async fn try_run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        match &self.way {
            Way::Whole(shard) if shard.may_try() => shard.probe(script, keys, arguments).await,
            Way::Whole(_) => Err(LinkError::Open),
            Way::Parts(cluster) => cluster.try_run(script, keys, arguments).await,
        }
    }

    /// The master that has what is counted of an organization.
    pub(super) fn shard(&self, org: &OrgId) -> ShardOf<'_> {
        match &self.way {
            Way::Whole(shard) => ShardOf::Whole(shard),
            Way::Parts(cluster) => {
                let (map, slot) = cluster.of(org);
                ShardOf::Part(map, slot)
            }
        }
    }

    /// All masters.
    pub(super) fn shards(&self) -> Vec<Arc<Shard>> {
        match &self.way {
            Way::Whole(shard) => vec![Arc::clone(shard)],
            Way::Parts(cluster) => cluster.shards(),
        }
    }

    /// Whether every master answers, and all keys have one.
    pub fn is_up(&self) -> bool {
        match &self.way {
            Way::Whole(shard) => !shard.is_open(),
            Way::Parts(cluster) => cluster.is_up(),
        }
    }

    /// Learns who the masters are, where that may have changed.
    pub(super) async fn look_around(&self) {
        if let Way::Parts(cluster) = &self.way {
            cluster.look_around().await;
        }
    }

    /// Whether every master answers, and it is known who they are.
    pub(super) fn is_settled(&self) -> bool {
        match &self.way {
            Way::Whole(shard) => !shard.is_open(),
            Way::Parts(cluster) => cluster.is_settled(),
        }
    }

    /// Told when a master was given up, or is no longer where it was.
    pub(super) fn news(&self) -> Arc<News> {
        Arc::clone(&self.news)
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

/// The master of an organization at this moment.
pub(super) enum ShardOf<'a> {
    /// The one there is.
    Whole(&'a Arc<Shard>),
    /// By its slot.
    Part(arc_swap::Guard<Arc<Map>>, usize),
}

impl Deref for ShardOf<'_> {
    type Target = Arc<Shard>;

    fn deref(&self) -> &Arc<Shard> {
        match self {
            Self::Whole(shard) => shard,
            Self::Part(map, slot) => map.shard(*slot),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("shards", &self.shards())
            .field("round_trips", &self.round_trips())
            .finish_non_exhaustive()
    }
}
