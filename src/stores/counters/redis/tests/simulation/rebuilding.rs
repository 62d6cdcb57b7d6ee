//! Redis is emptied, and rebuilt from a record to which logs come late: what `rebuild` does, without waiting.

use std::collections::BTreeSet;

use super::events::Instead;
use super::{
    BEAT, Base, Event, LOCK_FOR, LOOK_AGAIN, REPORT_WITHIN, SHIPPED_WITHIN, SPEAK_WITHIN, Simulation, name,
};
use crate::domain::time::Timestamp;
use crate::stores::counters::lease::{Joining, Said, Step, Tally};

impl Simulation {
    /// A node begins to hear, and to ship.
    pub(super) fn begin(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let (beat, ships) = (self.random.below(BEAT), self.random.below(self.world.lag));
        self.after(beat, Event::Beat { node, life });
        self.after(ships, Event::Ships { node, life });
    }

    /// What happens to Redis and to nodes that come to be counted.
    pub(super) fn take_of_rebuilding(&mut self, event: Event) {
        match event {
            Event::Emptied => {
                self.redis.lose();
                self.lock = None;
            }
            Event::Beat { node, life } if self.lives(node, life) => {
                let epoch = self.redis.epoch();
                if epoch != 0 && self.nodes[node].ledger.epoch() != epoch {
                    // Who knows nothing of it says so, and asks nothing.
                    match self.nodes[node].ledger.is_blank() && self.nodes[node].joining.is_none() {
                        true => self.tell(node, u64::MAX, Joining::of_nothing(epoch)),
                        false => self.join(node),
                    }
                }
                // A node that lives goes on for as long as another may wait for its report.
                let is_awaited = self.nodes.iter().any(|node| node.joining.is_some());
                if !self.is_over() || self.nodes[node].in_flight > 0 || is_awaited {
                    self.after(BEAT, Event::Beat { node, life });
                }
            }
            Event::Joins { node, life } if self.lives(node, life) => self.ask(node),
            Event::JoinArrives { node, life, number, joining } => {
                let said = self.redis.join(name(node, life), &joining, self.redis_now());
                if !self.random.chance(self.world.loss) {
                    let delay = self.random.below(self.world.delay);
                    self.after(delay, Event::JoinAnswered { node, life, number, said });
                }
            }
            Event::JoinGivesUp { node, life, number } if self.awaits(node, life, number) => self.ask(node),
            Event::JoinAnswered { node, life, number, said } if self.awaits(node, life, number) => {
                self.heard(node, said);
            }
            Event::Reads { node, life, lock, instead } if self.lives(node, life) => {
                let mut base = Base::default();
                for (name, log) in &self.logs {
                    base.rows.extend(&log.rows[..log.recorded]);
                    base.shipped.extend(log.number.map(|number| (*name, number)));
                    base.counts.push((*name, log.recorded));
                }
                let delay = self.random.below(50_000);
                self.after(delay, Event::Writes { node, life, lock, instead, base });
            }
            Event::Writes { node, life, lock, instead, base } if self.lives(node, life) => {
                if self.lock.is_some_and(|(of, _)| of == lock) {
                    if self.redis.has_place(instead.epoch, self.redis_now()) {
                        self.write(node, &instead, &base);
                    }
                    self.lock = None;
                }
                self.ask(node);
            }
            other => self.take_of_logs(&other),
        }
    }

    fn redis_now(&self) -> Timestamp {
        Timestamp::from_micros(self.redis_began + self.now)
    }

    fn awaits(&self, node: usize, life: u64, number: u64) -> bool {
        self.lives(node, life) && self.nodes[node].joining == Some(number)
    }

    fn write(&mut self, by: usize, instead: &Instead, base: &Base) {
        let by_name = name(by, self.nodes[by].life);
        let is_blank = self.nodes[by].ledger.is_blank();
        let living = (0..self.world.nodes).map(|node| name(node, self.nodes[node].life));
        let spoken_for =
            self.logs.iter().filter(|(_, log)| log.is_spoken_for(self.now)).map(|(name, _)| *name);
        let mut awaited: BTreeSet<usize> = living.chain(spoken_for).collect();
        awaited.retain(|name| !instead.silent.contains(name) && (*name != by_name || !is_blank));
        self.redis.restore(base, awaited, REPORT_WITHIN, self.redis_now());
        self.nodes[by].written = (instead.epoch == 0).then(|| (self.redis.epoch(), self.now));
        self.rebuilt += 1;
        // What another one reads, and does not come to write, is no base.
        for (name, count) in &base.counts {
            self.logs.entry(*name).or_default().in_base = *count;
        }
        self.excuse(true);
    }

    /// Nobody can know what died with a node and is not in the record; nor what is, and the counts lack, if nobody lives
    /// who will look once more: where counts are written, and where nodes are killed that these wait for.
    pub(super) fn excuse(&mut self, is_written: bool) {
        let epoch = self.redis.epoch();
        let is_watched = self.nodes.iter().any(|node| node.written.is_some_and(|(of, _)| of == epoch));
        for (name, log) in self.logs.iter_mut().filter(|(_, log)| log.died.is_some()) {
            let lacking = (log.rows.len() + log.open.len() - log.in_base) as u64;
            let awaited = self.redis.awaits(*name);
            let unknown = if awaited && !is_watched { lacking } else { log.unrecorded().min(lacking) };
            log.excused = log.excused.max(if awaited || is_written { unknown } else { 0 });
        }
    }

    /// Admissions that nobody can know of.
    pub(super) fn excused(&self) -> u64 {
        self.logs.values().map(|log| log.excused).sum()
    }

    /// What happens to logs on their way to the record.
    fn take_of_logs(&mut self, event: &Event) {
        match *event {
            Event::Recovers { name } => {
                let log = self.logs.entry(name).or_default();
                let open = std::mem::take(&mut log.open);
                log.rows.extend(open.into_values().map(|(key, at)| (key, at, 0)));
                log.recorded = log.rows.len();
            }
            Event::Ships { node, life } if self.lives(node, life) => self.ship(node),
            Event::ShipArrives { node, life, number, upto } if self.lives(node, life) => {
                let log = self.logs.entry(name(node, life)).or_default();
                (log.recorded, log.number) = (log.recorded.max(upto), Some(number));
                if !self.random.chance(self.world.loss) {
                    let delay = self.random.below(self.world.delay);
                    self.after(delay, Event::ShipAnswered { node, life, number, upto });
                }
            }
            Event::ShipAnswered { node, life, number, upto } if self.lives(node, life) => {
                let now = self.local(node);
                let node = &mut self.nodes[node];
                if node.batch == number {
                    node.sent = upto;
                    for (number, batch) in node.shipments.sent() {
                        for tally in batch.into_values() {
                            node.ledger.shipped(number, tally, now);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Sends all rows that are not known to be in the record.
    fn ship(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let log = self.logs.entry(name(node, life)).or_default();
        let (sent, upto) = (self.nodes[node].sent, log.rows.len());
        if upto > sent {
            let mut tally = Tally::default();
            log.rows[sent..].iter().for_each(|(key, at, cost)| tally.add(Some(*key), *at, *cost));
            let of = &mut self.nodes[node];
            of.batch += 1;
            let number = of.batch;
            of.shipments.sending(number, [(self.org.clone(), tally)].into_iter().collect());
            if !self.random.chance(self.world.loss) {
                let delay = self.random.below(self.world.delay);
                self.after(delay, Event::ShipArrives { node, life, number, upto });
            }
        }
        if upto > sent || !self.is_over() || self.nodes[node].in_flight > 0 {
            let pause = SHIPPED_WITHIN + self.random.below(self.world.lag);
            self.after(pause, Event::Ships { node, life });
        }
    }

    /// Sees to it that a node is counted.
    pub(super) fn join(&mut self, node: usize) {
        if self.nodes[node].joining.is_none() {
            self.ask(node);
        }
    }

    fn ask(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let number = self.number;
        self.nodes[node].joining = Some(number);
        let joining = self.nodes[node].ledger.joining();
        self.after(60_000, Event::JoinGivesUp { node, life, number });
        self.tell(node, number, joining);
    }

    fn tell(&mut self, node: usize, number: u64, joining: Joining) {
        let life = self.nodes[node].life;
        if !self.random.chance(self.world.loss) {
            let delay = self.random.below(self.world.delay);
            self.after(delay, Event::JoinArrives { node, life, number, joining });
        }
    }

    fn heard(&mut self, node: usize, said: Said) {
        let now = self.local(node);
        let life = self.nodes[node].life;
        let is_unlocked = self.lock.is_none_or(|(_, until)| until < self.now);
        let of = &mut self.nodes[node];
        let step = of.ledger.heard(&self.org, said, &of.shipments, now);
        // The question under way is answered: whoever asks next gives it a number.
        of.joining = Some(u64::MAX);
        match step {
            Step::Again => self.ask(node),
            Step::Wait => {
                let written = of.written.filter(|(_, at)| *at + SPEAK_WITHIN <= self.now);
                let silent = self.redis.silent().clone();
                match written.filter(|_| !silent.is_empty() && is_unlocked) {
                    Some((epoch, _)) => self.build(node, Instead { epoch, silent }),
                    None => self.after(LOOK_AGAIN, Event::Joins { node, life }),
                }
            }
            Step::Build if is_unlocked => self.build(node, Instead::default()),
            Step::Build => self.after(LOOK_AGAIN, Event::Joins { node, life }),
            Step::Anew(epoch) => {
                self.redis.forget(epoch);
                self.after(LOOK_AGAIN, Event::Joins { node, life });
            }
            Step::Over => {
                (of.joining, of.written) = (None, None);
                let owing = of.ledger.owing();
                let waiting: Vec<_> = of.waiting.keys().copied().map(Some).collect();
                for key in waiting.into_iter().chain(owing) {
                    self.wake(node, key);
                }
            }
        }
    }

    fn build(&mut self, node: usize, instead: Instead) {
        let (life, lock) = (self.nodes[node].life, self.number);
        self.lock = Some((lock, self.now + LOCK_FOR));
        let delay = self.random.below(50_000);
        self.after(delay, Event::Reads { node, life, lock, instead });
    }

    /// When all is over, and Redis was emptied after the last request, one that asks once more.
    pub(super) fn have_it_rebuilt(&mut self) {
        self.join(0);
        (1..self.world.nodes).for_each(|node| self.begin(node));
        self.run();
    }
}
