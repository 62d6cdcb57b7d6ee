//! Redis Cluster: several masters, each with the counts of the organizations in its hash slots.
//!
//! | when | then |
//! |---|---|
//! | a node says that a slot has moved (`MOVED`) | the map is set right, and the call made there |
//! | a slot is on its way, and the keys have arrived (`ASK`) | the call is made there, for this once |
//! | some keys have arrived, others not (`TRYAGAIN`) | the call is made again and again until the timeout has passed: [`LinkError::Moving`] |
//! | a master is dead, black-holed or stopped | its breaker opens; organizations elsewhere notice nothing |
//! | one of its replicas becomes the master | the shard goes on there, with what was known of it, as soon as a node tells of it |
//! | slots are served by nobody | as a master that is dead |
//! | the cluster does not know itself (`CLUSTERDOWN`) | as a failure of the master that says so |
//! | nodes tell different things | the one in touch with most masters is believed, then the one with the newest epoch |
//!
//! Redirections are not failures: nothing was carried out, so the call is made again under its own number. A call
//! whose fate is not known is never made again here: its sender sets it right with the next.
//!
//! **Why not the driver's cluster connection:** one task makes all its calls, and makes none to any node while it looks
//! for one that was lost; it sends again what may have been carried out; it shows neither tries nor nodes, of which
//! breakers and the count of round trips are made.

mod learn;
mod map;
mod slots;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use redis::{Script, Value};

pub(super) use self::map::Map;
use self::topology::Address;
use super::door::Door;
use super::link::{Elsewhere, LinkError};
use super::news::News;
use super::shard::Shard;
use crate::domain::id::OrgId;

/// What a URL of a cluster begins with, and that of one of its nodes; behind it `USER:PASSWORD@`, where nodes ask for it,
/// and some of the nodes.
const SCHEMES: [(&str, &str); 2] = [("redis+cluster://", "redis://"), ("rediss+cluster://", "rediss://")];
/// How long a call waits between tries at most.
const PAUSE_MAX: Duration = Duration::from_millis(8);

/// A cluster.
pub(super) struct Cluster {
    /// What a URL of one node begins with, login included.
    scheme: String,
    seeds: Vec<Address>,
    timeout: Duration,
    news: Arc<News>,
    map: ArcSwap<Map>,
    /// Nodes that are asked and are in no map.
    guests: Mutex<Vec<Arc<Shard>>>,
    /// Held while the map is changed.
    changing: Mutex<()>,
    /// When the masters were last asked for.
    looked: tokio::sync::Mutex<Option<Instant>>,
    /// Whether the map seems to be outdated.
    is_stale: AtomicBool,
}

impl Cluster {
    /// The cluster that `url` names; `None` where it names something else.
    ///
    /// # Errors
    /// Where it names a cluster and cannot be read.
    pub fn new(url: &str, timeout: Duration, news: &Arc<News>) -> Result<Option<Self>, LinkError> {
        let behind = |(scheme, of_node): &(&str, &'static str)| Some((url.strip_prefix(scheme)?, *of_node));
        let Some((named, scheme)) = SCHEMES.iter().find_map(behind) else { return Ok(None) };
        let unreadable = || {
            let wanted = "the URL must be redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT";
            LinkError::Connection(wanted.to_owned())
        };
        let (login, hosts) = named.rsplit_once('@').map_or(("", named), |(login, hosts)| (login, hosts));
        let seeds: Option<Vec<_>> = hosts.split(',').map(Address::of_seed).collect();
        let nobody = Arc::new(Shard::of_nobody(timeout, Arc::clone(news)));
        let cluster = Self {
            scheme: if login.is_empty() { scheme.to_owned() } else { format!("{scheme}{login}@") },
            seeds: seeds.ok_or_else(unreadable)?,
            timeout,
            news: Arc::clone(news),
            map: ArcSwap::from_pointee(Map::new(Vec::new(), nobody)),
            guests: Mutex::new(Vec::new()),
            changing: Mutex::new(()),
            looked: tokio::sync::Mutex::new(None),
            is_stale: true.into(),
        };
        // What cannot be read is said now, and not when it is first needed.
        cluster.seeds.iter().try_for_each(|seed| cluster.door(seed).map(drop))?;
        Ok(Some(cluster))
    }

    fn door(&self, address: &Address) -> Result<Door, LinkError> {
        Door::new(&format!("{}{address}", self.scheme), self.timeout)
    }

    /// Where an organization is: the map of this moment, and its slot.
    pub fn of(&self, org: &OrgId) -> (Guard<Arc<Map>>, usize) {
        (self.map.load(), slots::slot_of_tag(org.as_str().as_bytes()))
    }

    /// Masters that serve something.
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.map.load().shards().to_vec()
    }

    /// Whether all slots are served, by masters that answer.
    pub fn is_up(&self) -> bool {
        let map = self.map.load();
        map.is_whole() && map.shards().iter().all(|shard| !shard.is_open())
    }

    /// Runs a script over keys of one slot; the answer, and how many calls it took.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> (Result<Value, LinkError>, u64) {
        let slot = keys.first().map_or(0, |key| slots::slot_of(key));
        let (began, mut tries) = (Instant::now(), 0);
        let mut pause = Duration::from_micros(500);
        let mut asking: Option<Arc<Shard>> = None;
        loop {
            let asked = asking.take();
            let is_asking = asked.is_some();
            let shard = asked.unwrap_or_else(|| Arc::clone(self.map.load().shard(slot)));
            tries += 1;
            let answer = shard.call(script, keys, arguments, is_asking).await;
            let Err(error) = &answer else { return (answer, tries) };
            let Some(elsewhere) = error.elsewhere() else {
                self.outdated();
                return (answer, tries);
            };
            if began.elapsed() >= self.timeout {
                return (Err(LinkError::Moving), tries);
            }
            let is_known = match elsewhere {
                Elsewhere::Moved(to) => self.moved(slot, to, &shard).await,
                Elsewhere::Moving(to) => {
                    asking = self.at(to, &shard).await;
                    asking.is_some()
                }
                Elsewhere::Between => false,
            };
            // Nodes that send a call back and forth get a pause to come to terms.
            if !is_known || tries > 3 {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(PAUSE_MAX);
            }
        }
    }

    /// As [`Cluster::run`], where the master is not given up, or now and then.
    pub async fn try_run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<Value, LinkError> {
        self.look_around().await;
        let slot = keys.first().map_or(0, |key| slots::slot_of(key));
        let shard = Arc::clone(self.map.load().shard(slot));
        if !shard.may_try() {
            return Err(LinkError::Open);
        }
        let (answer, _) = self.run(script, keys, arguments).await;
        if answer.is_ok() {
            self.map.load().shard(slot).close();
        }
        answer
    }

    /// A slot has moved to the master at `to`, says the node at `from`. Whether that one is known.
    async fn moved(&self, slot: usize, to: Option<&str>, from: &Shard) -> bool {
        self.outdated();
        let Some(to) = to.and_then(|to| Address::parse(to, &host_of(from))) else { return false };
        let name = to.to_string();
        {
            let _changing = self.changing.lock();
            let map = self.map.load();
            if map.shard(slot).name().is_some_and(|known| known == name) {
                // Somebody else was here first, or the two do not agree.
                return !std::ptr::eq(Arc::as_ptr(map.shard(slot)), from);
            }
            if let Some(place) = map.place_of(&name) {
                if map.shard(slot).is_open() {
                    map.shards()[place].known.be_careful();
                }
                map.assign(slot, place);
                return true;
            }
        }
        self.learn(Some(&to)).await;
        true
    }

    /// The master at `to`, to which `from` is moving a slot.
    async fn at(&self, to: Option<&str>, from: &Shard) -> Option<Arc<Shard>> {
        let to = Address::parse(to?, &host_of(from))?;
        let find = || {
            let map = self.map.load();
            map.place_of(&to.to_string()).map(|place| Arc::clone(&map.shards()[place]))
        };
        match find() {
            Some(shard) => Some(shard),
            None => {
                self.learn(Some(&to)).await;
                // A master without slots so far is in no map.
                find().or_else(|| self.guest(&to))
            }
        }
    }

    /// Whether the map shows what there is, as far as is known.
    pub fn is_settled(&self) -> bool {
        !self.is_stale.load(Ordering::Relaxed) && self.is_up()
    }

    /// The map seems to be outdated.
    fn outdated(&self) {
        if !self.is_stale.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }
}

/// The host of a node, which it leaves out where it does not know it.
fn host_of(shard: &Shard) -> String {
    let name = shard.name().unwrap_or_default();
    Address::parse(&name, "").map_or(name, |address| address.host)
}
