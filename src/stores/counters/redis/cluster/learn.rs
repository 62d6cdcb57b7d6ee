//! Learning who the masters are: those that are known are asked, then the nodes of the URL, and the best answer is
//! drawn as the new map.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::super::shard::{Part, Shard};
use super::map::Map;
use super::topology::{self, Address, Master, Topology};
use super::{Cluster, host_of, slots};

/// How many nodes are asked at once who the masters are.
const ASKED_MAX: usize = 5;
/// How often the masters are asked for where nothing seems to have changed, and where something does.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Nodes that are asked and are in no map, at most.
const GUESTS_MAX: usize = 16;

impl Cluster {
    /// Asks who the masters are, where that may have changed or is long ago.
    pub async fn look_around(&self) {
        // Whoever is at it tells all; where nothing is known yet, that is waited for.
        let looked = match self.looked.try_lock() {
            Ok(looked) => *looked,
            Err(_) if !self.map.load().shards().is_empty() => return,
            Err(_) => *self.looked.lock().await,
        };
        let every = if self.is_settled() { LOOK_EVERY } else { LOOK_AGAIN };
        if looked.is_none_or(|looked| looked.elapsed() >= every) {
            self.learn(None).await;
        }
    }

    /// Asks who the masters are: those that are known, and the node at `hint`; else those of the URL.
    pub(super) async fn learn(&self, hint: Option<&Address>) {
        let began = Instant::now();
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|looked| looked >= began) {
            // Somebody else has asked meanwhile.
            return;
        }
        self.is_stale.store(false, Ordering::Relaxed);
        let known = self.shards();
        let (open, closed): (Vec<_>, Vec<_>) = known.into_iter().partition(|shard| shard.is_open());
        let hinted = hint.and_then(|hint| self.guest(hint));
        let first = closed.into_iter().take(ASKED_MAX).chain(hinted).collect();
        let topology = match newest(first).await {
            Some(topology) => Some(topology),
            None => {
                let seeds = self.seeds.iter().filter_map(|seed| self.guest(seed));
                newest(seeds.chain(open.into_iter().take(ASKED_MAX)).collect()).await
            }
        };
        let is_first = looked.is_none();
        *looked = Some(Instant::now());
        match topology {
            Some(topology) => self.install(&topology, is_first),
            None => self.is_stale.store(true, Ordering::Relaxed),
        }
    }

    /// A node by its address that is no master with slots: to be asked, or to give a first slot to.
    pub(super) fn guest(&self, address: &Address) -> Option<Arc<Shard>> {
        let name = address.to_string();
        let mut guests = self.guests.lock();
        if let Some(guest) = guests.iter().find(|guest| guest.name().as_ref() == Some(&name)) {
            return Some(Arc::clone(guest));
        }
        let guest = Arc::new(Shard::part_of_cluster(Part::default(), self.timeout, Arc::clone(&self.news)));
        guest.is_at(name, self.door(address).ok()?);
        if guests.len() >= GUESTS_MAX {
            guests.remove(0);
        }
        guests.push(Arc::clone(&guest));
        Some(guest)
    }

    /// Draws a new map.
    fn install(&self, topology: &Topology, is_first: bool) {
        let _changing = self.changing.lock();
        let before = self.map.load_full();
        let mut masters: Vec<(Arc<Shard>, Vec<usize>)> = Vec::new();
        for (id, master) in &topology.masters {
            let slots: Vec<usize> = master.slots.iter().cloned().flatten().collect();
            let shard = heir(&before, topology, id)
                .filter(|shard| masters.iter().all(|(taken, _)| !Arc::ptr_eq(taken, shard)));
            masters.extend(self.shard_of(&before, shard, id, master, &slots).map(|shard| (shard, slots)));
        }
        let after = Map::new(masters, Arc::clone(before.nobody()));
        if let (false, Some(some)) = (after.is_whole(), after.shards().first()) {
            after.nobody().known.as_of(&some.known);
        }
        for slot in 0..slots::SLOTS {
            let (was, is) = (before.shard(slot), after.shard(slot));
            // What nodes counted by themselves meanwhile, the new master learns before anybody relies on it.
            if was.is_open() && !Arc::ptr_eq(was, is) && !is_first {
                is.known.be_careful();
            }
        }
        let names: Vec<_> = after.shards().iter().filter_map(|shard| shard.name()).collect();
        self.guests.lock().retain(|guest| guest.name().is_none_or(|name| !names.contains(&name)));
        self.map.store(Arc::new(after));
    }

    /// The shard of a master: `known`, wherever that is now, or a new one. `None` where it cannot be reached.
    fn shard_of(
        &self,
        before: &Map,
        known: Option<Arc<Shard>>,
        id: &str,
        master: &Master,
        slots: &[usize],
    ) -> Option<Arc<Shard>> {
        let first = *slots.first()?;
        let part =
            Part { id: id.to_owned(), members: master.members.clone(), tag: slots::tag_within(slots)? };
        let shard = known.unwrap_or_else(|| {
            let news = Arc::clone(&self.news);
            let shard = Shard::part_of_cluster(part.clone(), self.timeout, news);
            shard.known.as_of(&before.shard(first).known);
            Arc::new(shard)
        });
        shard.is(part);
        let name = master.address.to_string();
        if shard.name().as_ref() == Some(&name) {
            return Some(shard);
        }
        match self.door(&master.address) {
            Ok(door) => {
                tracing::info!(server = name, before = shard.name(), "a master of the Redis cluster");
                shard.is_at(name, door);
                Some(shard)
            }
            Err(error) => {
                tracing::error!(server = name, %error, "a master of the Redis cluster cannot be used");
                None
            }
        }
    }
}

/// The shard that goes on with the master `id`: its own, or that of a master no longer there whose replica it was.
fn heir(before: &Map, topology: &Topology, id: &str) -> Option<Arc<Shard>> {
    let find = |is: &dyn Fn(Part) -> bool| before.shards().iter().find(|shard| is(shard.part())).cloned();
    find(&|part| part.id == id).or_else(|| {
        find(&|part| {
            part.members.iter().any(|member| member == id) && !topology.masters.contains_key(&part.id)
        })
    })
}

/// Asks each, and takes the best answer.
async fn newest(nodes: Vec<Arc<Shard>>) -> Option<Topology> {
    let question = topology::question();
    let asked = nodes.iter().map(|node| async {
        let answer = node.ask(&question).await.ok()?;
        topology::read(&answer, &host_of(node))
    });
    join_all(asked).await.into_iter().flatten().max_by_key(|topology| (topology.is_ok, topology.epoch))
}
