//! Nodes, a network, Redis and the record in a seeded simulation: messages are delayed, lost and reordered, nodes are
//! killed and come back, Redis is emptied, rows of the log come late to the record, clocks are apart and run at
//! different speeds. Held against a plain list of what was admitted when.
//!
//! What must hold, for every seed: in no trailing window more than its cap was admitted, at any time, whatever died;
//! but for what a node took with it that was killed before its log was shipped, when Redis was emptied, too; or before it
//! had reported what it had shipped, if whoever had rebuilt the counts was killed as well. And where
//! nobody died, what is counted in the end is what was admitted, to the last, and what that has cost.
//!
//! A single seed again: `TOLLGATE_SEED=17 cargo nextest run --lib simulation`; more of them: `TOLLGATE_SEEDS=100000`.

mod acting;
mod bursts;
mod checks;
mod events;
mod rebuilding;
mod world;

use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

use self::events::{Event, Slot};
use self::world::{Random, World};
use super::central::{Base, Central};
use crate::domain::account::{Claim, Claimed};
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::limit::{Caps, Quotas};
use crate::domain::time::Timestamp;
use crate::stores::counters::lease::{Answer, Call, Joining, Ledger, Local, Reply, Said, Shipments};

const SEEDS: u64 = 2_000;
const KEYS: u128 = 3;
/// More than any seed needs.
const EVENTS_MAX: u64 = 200_000;
/// As in `rebuild`, `heart` and `ask`.
const LOOK_AGAIN: u64 = 20_000;
const AT_ONCE: Duration = Duration::from_micros(500);
const REPORT_WITHIN: Duration = Duration::from_secs(3);
const SPEAK_WITHIN: u64 = 2_000_000;
const COUNTS_FOR: u64 = 5_000_000;
const LOCK_FOR: u64 = 5_000_000;
const BEAT: u64 = 250_000;
/// What every request costs in the end, and what is reserved for it.
const COSTS: u64 = 3;
const ESTIMATE: u64 = 5;
/// Longer than a message to the record and its answer take.
const SHIPPED_WITHIN: u64 = 100_000;

/// A node's log, which outlives it.
#[derive(Debug, Default)]
struct Log {
    /// Finished requests, in their order.
    rows: Vec<(KeyId, Timestamp, u64)>,
    /// Requests without a row.
    open: BTreeMap<u64, (KeyId, Timestamp)>,
    /// How many rows the record has.
    recorded: usize,
    /// How many it had when counts were rebuilt last.
    in_base: usize,
    /// The last batch of it in the record.
    number: Option<u64>,
    /// When its node was killed.
    died: Option<u64>,
    /// Admissions that nobody could know of when counts were rebuilt.
    excused: u64,
}

struct Node {
    life: u64,
    ledger: Ledger,
    in_flight: u64,
    shipments: Shipments,
    /// Rows that are known to be in the record, and the number of the batch under way.
    sent: usize,
    batch: u64,
    /// The number of the question under way, where the node sees to it that it is counted.
    joining: Option<u64>,
    /// The epoch of counts that it has written and that were not open, and when.
    written: Option<(u64, u64)>,
    /// Requests that wait for an answer, by key.
    waiting: BTreeMap<KeyId, u32>,
    /// Its clock: beginning, and microseconds per second that it runs too fast.
    began: u64,
    drift: i64,
}

struct Simulation {
    seed: u64,
    random: Random,
    world: World,
    /// True time.
    now: u64,
    number: u64,
    events: BinaryHeap<(std::cmp::Reverse<(u64, u64)>, Slot)>,
    nodes: Vec<Node>,
    redis: Central,
    /// Redis's clock at the beginning.
    redis_began: u64,
    /// True instants of admission, by key.
    admitted: BTreeMap<KeyId, Vec<u64>>,
    asked: u64,
    calls: u64,
    rebuilt: u64,
    /// By the names of nodes.
    logs: BTreeMap<usize, Log>,
    /// Who rebuilds, and until when nobody else does.
    lock: Option<(u64, u64)>,
    org: OrgId,
    /// What all that was admitted has cost.
    cost: u64,
    /// When a node does nothing, or Redis, which is none of them.
    still: BTreeMap<Option<usize>, Range<u64>>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let world = World::of(&mut random);
        // Around noon, any part of a cell.
        let redis_began = 1_795_262_400_000_000 + random.below(10_000_000);
        let nodes = (0..world.nodes).map(|_| Node::born(0, &mut random)).collect();
        let mut simulation = Self {
            seed,
            random,
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            nodes,
            redis: Central::new(Timestamp::from_micros(redis_began)),
            redis_began,
            admitted: BTreeMap::new(),
            asked: 0,
            calls: 0,
            rebuilt: 0,
            logs: BTreeMap::new(),
            lock: None,
            org: OrgId::parse("acme").unwrap(),
            cost: 0,
            still: BTreeMap::new(),
            world,
        };
        for node in 0..simulation.world.nodes {
            simulation.after(0, Event::Request { node, life: 0 });
            simulation.begin(node);
        }
        for at in simulation.world.emptied.clone() {
            simulation.after(at, Event::Emptied);
        }
        simulation.after(100_000, Event::Kills);
        simulation
    }

    fn after(&mut self, micros: u64, event: Event) {
        self.number += 1;
        self.events.push((std::cmp::Reverse((self.now + micros, self.number)), Slot(event)));
    }

    fn run(&mut self) {
        while let Some((std::cmp::Reverse((at, number)), Slot(event))) = self.events.pop() {
            let still = event.place().and_then(|place| self.still.get(&place));
            if let Some(still) = still.filter(|still| still.contains(&at)) {
                self.events.push((std::cmp::Reverse((still.end, number)), Slot(event)));
                continue;
            }
            self.now = at;
            assert!(
                number < EVENTS_MAX,
                "seed {}: no end at {at} with {event:?}; {:?}",
                self.seed,
                self.world
            );
            self.take(event);
        }
    }

    fn is_over(&self) -> bool {
        self.now > self.world.lasts
    }

    fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life
    }

    #[allow(clippy::too_many_lines, reason = "one event after the other")]
    fn take(&mut self, event: Event) {
        match event {
            Event::Request { node, life } => {
                if self.is_over() || !self.lives(node, life) {
                    return;
                }
                let key = KeyId(Uuid::from_u128(1 + u128::from(self.random.below(KEYS as u64))));
                self.asked += 1;
                self.claim(node, key, 0);
                let pause = self.random.below(2 * self.world.between);
                // Bursts, and rests in which leases are given back.
                let pause = if self.random.chance(2) { pause + 150_000 } else { pause };
                self.after(pause, Event::Request { node, life });
            }
            Event::Again { node, life, key, tries } => {
                if self.lives(node, life) {
                    self.claim(node, key, tries);
                }
            }
            Event::End { node, life, claimed, released, request } => {
                if !self.lives(node, life) {
                    return;
                }
                self.nodes[node].in_flight -= 1;
                let log = self.logs.entry(name(node, life)).or_default();
                log.open.remove(&request);
                if !released {
                    self.cost += COSTS;
                    log.rows.extend(claimed.key.map(|key| (key, claimed.at, COSTS)));
                }
                let at = self.local(node);
                let ledger = &mut self.nodes[node].ledger;
                let planned = if released {
                    ledger.release(&claimed, at)
                } else {
                    ledger.settle(&claimed, Cost { credits: 0, microcents: COSTS }, at)
                };
                if let Some(planned) = planned {
                    self.look_at(node, claimed.key, planned);
                }
            }
            Event::Arrives { node, life, call } => {
                let redis_now = Timestamp::from_micros(self.redis_began + self.now);
                let nodes = self.world.nodes as u64;
                let reply = self.redis.call(name(node, life), nodes, &call, redis_now);
                if !self.random.chance(self.world.loss) {
                    let (key, seq, reply) = (call.key, call.seq, Box::new(reply));
                    let delay = self.random.below(self.world.delay);
                    self.after(delay, Event::Answered { node, life, key, seq, reply });
                }
            }
            Event::Answered { node, life, key, seq, reply } => {
                if self.lives(node, life) {
                    let at = self.local(node);
                    let next = match &*reply {
                        Reply::Done(done) => at.plus(done.cell_end.since(done.now)),
                        _ => at,
                    };
                    self.nodes[node].ledger.answered(key, seq, &reply, next, at);
                    if matches!(*reply, Reply::Missing | Reply::OtherEpoch) {
                        self.join(node);
                    }
                    self.wake(node, key);
                }
            }
            Event::GivesUp { node, life, key, seq } => {
                if self.lives(node, life) && self.nodes[node].ledger.is_waiting_for(key, seq) {
                    self.nodes[node].ledger.lost(key, seq);
                    self.wake(node, key);
                }
            }
            Event::Look { node, life, key, planned } => self.look(node, life, key, planned),
            Event::Kills => self.kill_some(),
            other => self.take_of_rebuilding(other),
        }
    }

    fn kill_some(&mut self) {
        for node in 0..self.world.nodes {
            if self.random.chance(self.world.kills) {
                let life = self.nodes[node].life + 1;
                let name = name(node, life - 1);
                let log = self.logs.entry(name).or_default();
                log.died = Some(self.now);
                self.nodes[node] = Node::born(life, &mut self.random);
                let pause = self.random.below(300_000);
                self.after(pause, Event::Recovers { name });
                self.after(pause, Event::Request { node, life });
                self.begin(node);
            }
        }
        self.excuse(false);
        if !self.is_over() {
            self.after(100_000, Event::Kills);
        }
    }

    fn local(&self, node: usize) -> Local {
        let node = &self.nodes[node];
        let fast = self.now as i64 * node.drift / 1_000_000;
        Local((node.began + self.now).saturating_add_signed(fast))
    }
}

impl Log {
    /// Admissions that the record does not have.
    fn unrecorded(&self) -> u64 {
        (self.rows.len() - self.recorded + self.open.len()) as u64
    }

    /// Whether others still believe that its node lives, or know that it does.
    fn is_spoken_for(&self, now: u64) -> bool {
        self.died.is_none_or(|died| now < died + COUNTS_FOR)
    }
}

impl Node {
    fn born(life: u64, random: &mut Random) -> Self {
        Self {
            life,
            ledger: Ledger::default(),
            in_flight: 0,
            shipments: Shipments::default(),
            sent: 0,
            batch: life << 32,
            joining: None,
            written: None,
            waiting: BTreeMap::new(),
            began: random.below(1 << 40),
            drift: random.below(400) as i64 - 200,
        }
    }
}

/// A node that was killed and came back has another name.
const fn name(node: usize, life: u64) -> usize {
    node + life as usize * 100
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_admits_more_than_the_caps() {
    let seeds = match number("TOLLGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOLLGATE_SEEDS").unwrap_or(SEEDS),
    };
    let (mut asked, mut admitted, mut calls, mut rebuilt, mut excused) = (0, 0, 0, 0, 0);
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        simulation.run();
        simulation.have_it_rebuilt();
        simulation.check();
        asked += simulation.asked;
        rebuilt += simulation.rebuilt;
        excused += simulation.excused();
        calls += simulation.calls;
        admitted += simulation.admitted.values().map(Vec::len).sum::<usize>();
    }
    println!(
        "{asked} requests, {admitted} admitted, {calls} calls; rebuilt {rebuilt} times, {excused} unknown"
    );
    assert!(admitted > 0 && calls > 0);
}

/// A key that was idle is forgotten by the node and not by Redis, which must not take its next call for an old one, nor
/// take back what the last one granted.
#[test]
fn a_key_that_was_forgotten_here_goes_on_where_it_was() {
    let mut simulation = Simulation::new(0);
    simulation.world.caps = Caps { concurrency: Some(3), ..Caps::default() };
    simulation.world.quotas = Quotas::default();
    (simulation.world.loss, simulation.world.kills, simulation.world.released) = (0, 0, 0);
    let key = KeyId(Uuid::from_u128(9));
    for round in 1..=3 {
        simulation.claim(0, key, 0);
        simulation.begin(0);
        simulation.world.lasts = 0;
        simulation.run();
        assert_eq!(simulation.admitted.get(&key).map(Vec::len), Some(round), "round {round}");
        assert_eq!(simulation.redis.total(key), round as u64);
        simulation.now += 40_000_000;
        let now = simulation.local(0);
        assert!(simulation.nodes[0].ledger.sweep(now), "all of it is forgotten");
        simulation.nodes[0].ledger = Ledger::default();
    }
}
