//! Nodes, a network, Redis and the record in a seeded simulation: messages are delayed, lost and reordered, nodes are
//! killed and come back, Redis is emptied, rows of the log come late to the record, clocks are apart and run at
//! different speeds. Held against a plain list of what was admitted when.
//!
//! What must hold, for every seed: in no trailing window more than its cap was admitted, at any time, whatever died;
//! but for what a node took with it that was killed before its log was shipped, when Redis was emptied, too. And where
//! nobody died, what is counted in the end is what was admitted, to the last, and what that has cost.
//!
//! A single seed again: `TOLLGATE_SEED=17 cargo nextest run --lib simulation`; more of them: `TOLLGATE_SEEDS=100000`.

mod bursts;
mod rebuilding;

use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

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
const LOCK_FOR: u64 = 5_000_000;
const BEAT: u64 = 250_000;
/// What every request costs in the end, and what is reserved for it.
const COSTS: u64 = 3;
const ESTIMATE: u64 = 5;
/// Longer than a message to the record and its answer take.
const SHIPPED_WITHIN: u64 = 100_000;

/// Splitmix64 (public domain, Vigna): small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a seed decides.
#[derive(Debug)]
struct World {
    nodes: usize,
    caps: Caps,
    quotas: Quotas,
    /// Percent of messages that are lost, each way.
    loss: u64,
    /// The longest that a message takes, in microseconds.
    delay: u64,
    /// Percent chance per node and 100 ms of being killed.
    kills: u64,
    /// Mean microseconds between two requests at one node.
    between: u64,
    /// Longest a request is in flight.
    in_flight: u64,
    /// How long it goes on.
    lasts: u64,
    /// Percent of requests of which nothing comes.
    released: u64,
    /// When Redis is emptied.
    emptied: Vec<u64>,
    /// Longest pause between two batches of a node's log.
    lag: u64,
    /// How long a node waits for an answer.
    patience: u64,
}

impl World {
    fn of(random: &mut Random) -> Self {
        let cap = |random: &mut Random, most: u64| random.chance(60).then(|| random.below(most));
        let calm = random.chance(40);
        let lasts = 300_000 + random.below(1_500_000);
        let is_emptied = random.chance(50);
        let emptied = if is_emptied { 1 + random.below(3) } else { 0 };
        let lasts = if is_emptied { lasts + random.below(3_000_000) } else { lasts };
        let in_flight = if is_emptied && random.chance(50) { 90_000_000 } else { 200_000 };
        Self {
            nodes: 1 + random.below(5) as usize,
            caps: Caps {
                per_second: cap(random, 120),
                per_minute: cap(random, 300),
                concurrency: cap(random, 20),
            },
            quotas: Quotas { total: cap(random, 300), daily: cap(random, 200), ..Quotas::default() },
            loss: if calm { 0 } else { random.below(20) },
            delay: 100 + random.below(30_000),
            kills: if calm { 0 } else { random.below(15) },
            between: 2_000 + random.below(30_000),
            in_flight: 1 + random.below(in_flight),
            lasts,
            released: 5,
            emptied: (0..emptied).map(|_| random.below(lasts)).collect(),
            lag: if random.chance(80) { 1 + random.below(1_000_000) } else { 30_000_000 },
            // Longer than most messages take: some answers come too late.
            patience: 40_000,
        }
    }

    fn has_caps(&self) -> bool {
        let Caps { per_second, per_minute, concurrency } = self.caps;
        [per_second, per_minute, concurrency, self.quotas.total, self.quotas.daily]
            .iter()
            .any(Option::is_some)
    }

    fn is_calm(&self) -> bool {
        self.loss == 0 && self.kills == 0
    }
}

/// What happens, at a true instant in microseconds since the beginning.
#[derive(Debug)]
enum Event {
    Request {
        node: usize,
        life: u64,
    },
    /// A request that waited claims again.
    Again {
        node: usize,
        life: u64,
        key: KeyId,
        tries: u32,
    },
    End {
        node: usize,
        life: u64,
        claimed: Claimed,
        released: bool,
        request: u64,
    },
    /// A call arrives at Redis.
    Arrives {
        node: usize,
        life: u64,
        call: Call,
    },
    /// An answer arrives at its node.
    Answered {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        seq: u64,
        reply: Box<Reply>,
    },
    /// A node gives up waiting for an answer.
    GivesUp {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        seq: u64,
    },
    Look {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        planned: Local,
    },
    Kills,
    Emptied,
    /// What a node that was killed left on its disk goes to the record.
    Recovers {
        name: usize,
    },
    /// A node hears what was rebuilt.
    Beat {
        node: usize,
        life: u64,
    },
    /// It asks again.
    Joins {
        node: usize,
        life: u64,
    },
    JoinArrives {
        node: usize,
        life: u64,
        number: u64,
        joining: Joining,
    },
    JoinAnswered {
        node: usize,
        life: u64,
        number: u64,
        said: Said,
    },
    JoinGivesUp {
        node: usize,
        life: u64,
        number: u64,
    },
    /// A node that has the lock reads the record, and then writes.
    Reads {
        node: usize,
        life: u64,
        lock: u64,
    },
    Writes {
        node: usize,
        life: u64,
        lock: u64,
        base: Base,
    },
    /// A node sends what is new in its log.
    Ships {
        node: usize,
        life: u64,
    },
    /// Rows up to a place arrive at the record.
    ShipArrives {
        node: usize,
        life: u64,
        number: u64,
        upto: usize,
    },
    ShipAnswered {
        node: usize,
        life: u64,
        number: u64,
        upto: usize,
    },
}

impl Event {
    /// The node at which it happens, or Redis, which is none; `None` where it is neither.
    const fn place(&self) -> Option<Option<usize>> {
        match self {
            Self::Request { node, .. }
            | Self::Again { node, .. }
            | Self::End { node, .. }
            | Self::Answered { node, .. }
            | Self::GivesUp { node, .. }
            | Self::Look { node, .. } => Some(Some(*node)),
            Self::Arrives { .. } => Some(None),
            _ => None,
        }
    }
}

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
    /// Whether its node is dead.
    is_dead: bool,
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
    /// Admissions that nobody can know of.
    excused: u64,
    /// What all that was admitted has cost.
    cost: u64,
    /// When a node does nothing, or Redis, which is none of them.
    still: BTreeMap<Option<usize>, Range<u64>>,
}

/// An event that the heap does not compare.
struct Slot(Event);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Slot {}
impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Slot {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
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
            excused: 0,
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
                log.is_dead = true;
                if self.redis.awaits(name) {
                    self.excused += (log.rows.len() + log.open.len() - log.in_base) as u64;
                }
                self.nodes[node] = Node::born(life, &mut self.random);
                let pause = self.random.below(300_000);
                self.after(pause, Event::Recovers { name });
                self.after(pause, Event::Request { node, life });
                self.begin(node);
            }
        }
        if !self.is_over() {
            self.after(100_000, Event::Kills);
        }
    }

    fn local(&self, node: usize) -> Local {
        let node = &self.nodes[node];
        let fast = self.now as i64 * node.drift / 1_000_000;
        Local((node.began + self.now).saturating_add_signed(fast))
    }

    fn claim(&mut self, node: usize, key: KeyId, tries: u32) {
        let now = self.local(node);
        let claim = Claim {
            key: Some(key),
            caps: self.world.caps,
            quotas: self.world.quotas,
            key_limit: None,
            org_limit: None,
            estimate: Cost { credits: 1, microcents: ESTIMATE },
        };
        let life = self.nodes[node].life;
        if self.nodes[node].joining.is_some() && !self.world.has_caps() && self.random.chance(30) {
            // Nobody minds how much a share is.
            let at = Timestamp::from_micros(self.redis_began + self.now);
            let claimed = Claimed { key: Some(key), at, estimate: claim.estimate };
            self.nodes[node].ledger.counted(&claimed, now);
            return self.admit(node, life, key, claimed);
        }
        let ledger = &mut self.nodes[node].ledger;
        let mut answer = ledger.claim(&claim, tries == 0, now);
        if tries == 0 && matches!(answer, Answer::Later(_) | Answer::Ask) {
            // What is not answered at once is claimed again by whoever waits.
            answer = ledger.claim(&claim, false, now);
        }
        match answer {
            Answer::Granted { claimed, more, .. } => {
                // The cell in which it is counted must not have ended, by Redis's clock.
                let counted = self.nodes[node].ledger.counted_in(Some(key)).unwrap();
                let cell = (self.redis_began + self.now) / 50_000;
                assert!(counted >= cell, "seed {}: spent in cell {cell}, counted in {counted}", self.seed);
                self.admit(node, life, key, claimed);
                if more {
                    self.send(node, Some(key));
                }
            }
            Answer::Denied(_) => {}
            Answer::Later(until) => {
                // A node sleeps by the clock that it looks at then.
                let wait = until.since(now).as_micros() as u64;
                let wait = wait + wait / 4_000 + 1;
                self.after(wait, Event::Again { node, life, key, tries: tries + 1 });
            }
            Answer::Ask if tries < 40 => {
                self.nodes[node].ledger.wait(Some(key));
                *self.nodes[node].waiting.entry(key).or_default() += 1;
                self.send(node, Some(key));
            }
            Answer::Ask => assert!(!self.world.is_calm(), "a request waits for ever"),
        }
    }

    fn admit(&mut self, node: usize, life: u64, key: KeyId, claimed: Claimed) {
        let released = self.random.chance(self.world.released);
        // Most are short.
        let flight = self.random.below(self.world.in_flight);
        let flight = if self.random.chance(80) { flight.min(self.random.below(200_000)) } else { flight };
        let request = self.number;
        self.after(flight, Event::End { node, life, claimed, released, request });
        let log = self.logs.entry(name(node, life)).or_default();
        log.open.insert(request, (key, claimed.at));
        self.nodes[node].in_flight += 1;
        let in_flight: u64 = self.nodes.iter().map(|node| node.in_flight).sum();
        let cap = self.world.caps.concurrency.unwrap_or(u64::MAX);
        assert!(in_flight <= cap, "seed {}: {in_flight} of {cap} in flight; {:?}", self.seed, self.world);
        if released {
            // Nothing comes of it: it must not count, nor does the list hold it.
            return;
        }
        self.admitted.entry(key).or_default().push(self.now);
    }

    /// Whether there was something to ask or tell.
    fn send(&mut self, node: usize, key: Option<KeyId>) -> bool {
        let now = self.local(node);
        let life = self.nodes[node].life;
        if self.nodes[node].joining.is_some() {
            return false;
        }
        let Some(call) = self.nodes[node].ledger.call(key, now) else { return false };
        self.calls += 1;
        self.after(self.world.patience, Event::GivesUp { node, life, key, seq: call.seq });
        if !self.random.chance(self.world.loss) {
            let delay = self.random.below(self.world.delay);
            self.after(delay, Event::Arrives { node, life, call });
        }
        true
    }

    /// The call under way has ended: who waited claims again, and what is due is looked after.
    fn wake(&mut self, node: usize, key: Option<KeyId>) {
        let now = self.local(node);
        if self.nodes[node].joining.is_some() {
            // Until that is over.
            return;
        }
        let life = self.nodes[node].life;
        if let Some(key) = key {
            for tries in 0..self.nodes[node].waiting.remove(&key).unwrap_or(0) {
                self.nodes[node].ledger.leave(Some(key));
                let tries = 1 + tries.min(1);
                self.after(0, Event::Again { node, life, key, tries });
            }
        }
        if let Some(due) = self.nodes[node].ledger.due(key, now) {
            self.look_after(node, key, now.plus(due));
        }
    }

    fn look_after(&mut self, node: usize, key: Option<KeyId>, at: Local) {
        if let Some(planned) = self.nodes[node].ledger.plan(key, at) {
            self.look_at(node, key, planned);
        }
    }

    fn look_at(&mut self, node: usize, key: Option<KeyId>, planned: Local) {
        let wait = planned.since(self.local(node)).as_micros() as u64 + 1;
        let life = self.nodes[node].life;
        self.after(wait, Event::Look { node, life, key, planned });
    }

    fn look(&mut self, node: usize, life: u64, key: Option<KeyId>, planned: Local) {
        let is_due = self.lives(node, life) && self.nodes[node].ledger.take_look(key, planned);
        if !is_due || self.nodes[node].joining.is_some() {
            return;
        }
        let now = self.local(node);
        let due = self.nodes[node].ledger.due(key, now);
        let waits = key.is_some_and(|key| self.nodes[node].waiting.contains_key(&key));
        if (waits || due.is_some_and(|due| due <= AT_ONCE)) && self.send(node, key) {
            return;
        }
        // When all is over, only what is owed is of interest, and no sign of life.
        if let Some(due) = due.filter(|due| !self.is_over() || *due < Duration::from_secs(2)) {
            self.look_after(node, key, now.plus(due.max(AT_ONCE)));
        }
    }

    fn check(&mut self) {
        let world = &self.world;
        let waits = self.nodes.iter().any(|node| !node.waiting.is_empty());
        assert!(!waits, "seed {}: a request waits for ever; {world:?}", self.seed);
        let mut all: Vec<u64> = self.admitted.values().flatten().copied().collect();
        all.sort_unstable();
        self.check_window("second", &all, 1_000_000, world.caps.per_second);
        self.check_window("minute", &all, 60_000_000, world.caps.per_minute);
        for list in self.admitted.values() {
            self.check_window("day", list, 86_400_000_000, world.quotas.daily);
            self.check_window("total", list, u64::MAX, world.quotas.total);
        }
        if world.kills == 0 {
            // Nobody took anything along: what is left over was given back, and nothing else.
            for (key, list) in &self.admitted {
                assert_eq!(self.redis.total(*key), list.len() as u64, "seed {}: {world:?}", self.seed);
            }
            if let Some(key) = self.admitted.keys().next() {
                assert_eq!(self.redis.spent(*key), self.cost, "seed {}: {world:?}", self.seed);
            }
        }
    }

    fn check_window(&self, name: &str, list: &[u64], span: u64, cap: Option<u64>) {
        let Some(cap) = cap.map(|cap| cap + self.excused) else { return };
        for (at, first) in list.iter().enumerate() {
            let within = list[at..].iter().take_while(|later| **later - first < span).count() as u64;
            assert!(
                within <= cap,
                "seed {}: {within} in a {name} of {cap} from {first}; {world:?}",
                self.seed,
                world = self.world
            );
        }
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
        excused += simulation.excused;
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
