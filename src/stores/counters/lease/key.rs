//! What a node holds and owes of one key.

use std::time::Duration;

use super::demand::Demand;
use super::sight::{Sight, Untold};
use super::unshipped::Unshipped;
use super::{DRIFT, Done, Entry, Local, Terms, cell_of};
use crate::domain::account::Denial;
use crate::domain::cost::Cost;
use crate::domain::limit::Limit;
use crate::domain::ring::Window;
use crate::domain::time::{Period, Timestamp};

/// How long a refusal is believed: what is undone at other nodes may end it sooner than time does.
const BELIEVED: Duration = Duration::from_secs(10);
/// The same for a budget, which every settlement may change, and for requests in flight, which end when they like.
const BUDGET_BELIEVED: Duration = Duration::from_millis(100);
const SLOTS_BELIEVED: Duration = Duration::from_millis(20);
/// How long after the end of a cell what others give back has arrived, as a rule.
const RETURNING: Duration = Duration::from_millis(15);
/// How long after the end of a lease of which nothing is left the store hears so, if it has not by then: those whom it
/// refused wait for what could still come back.
const SPENT: Duration = Duration::from_millis(5);
/// With less time left than this a lease is not worth adding to.
const ENDING: Duration = Duration::from_millis(8);
/// From this many requests per cell on, allowances that ran out of time are followed by others without a request that
/// waits for them.
const STEADY: u64 = 8;

/// Allowances at hand, all counted in one cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub left: u64,
    /// What is reserved for them in the calendar's counts. Negative where requests were dearer than what was asked for,
    /// and no budget minded.
    money: i64,
    /// When the store granted them, on its clock.
    at: Timestamp,
    /// A local instant at which that clock had not passed `at`.
    from: Local,
    /// From then on they must not be spent.
    pub ends: Local,
    /// About when their cell ends: not much earlier is a call counted in the next one.
    next: Local,
    /// At so few it is time to ask for more; 0 is never.
    low: u64,
}

/// A limit that refused, for as long as that stays true.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub denial: Denial,
    pub terms: Terms,
    pub until: Local,
    /// How many requests may wait for `until` because others may give back by then.
    pub seats: u64,
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub seq: u64,
    pub at: Local,
    pub waiting: u64,
    pub left: u64,
    pub terms: Terms,
    /// The number of its part about slots.
    pub slots: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct KeyState {
    pub seq: u64,
    pub acked: u64,
    pub call: Option<Sent>,
    /// What calls without an answer brought, each with the first call that did.
    pub unacked: Vec<(u64, Entry)>,
    /// What no call has brought yet.
    pub entries: Vec<Entry>,
    /// Since when there is something.
    pub owed_since: Option<Local>,
    pub pool: Option<Pool>,
    /// Where the last allowances ran out of time, and no call has asked for others since: about when the cell ends that
    /// they were counted in.
    pub is_over: Option<Local>,
    pub waiting: u64,
    pub demand: Demand,
    /// Boxed, as it is large and most keys have none.
    pub refused: Option<Box<Refused>>,
    /// When it will be looked at what is owed.
    look: Option<Local>,
    /// As the last claim named them.
    pub terms: Terms,
    /// What the store said last.
    pub seen: Option<Sight<4>>,
    /// From when on the store should hear that allowances are gone which it believes to be at hand.
    pub spent_at: Option<Local>,
    /// What was admitted and the record may not have.
    pub unshipped: Unshipped,
}

impl Pool {
    /// The cell in which its allowances are counted.
    #[cfg(test)]
    pub fn cell(&self) -> u64 {
        cell_of(self.at)
    }

    /// What the calendar counts for allowances that are not spent.
    pub fn reserved(&self) -> u64 {
        self.money.try_into().unwrap_or(0)
    }

    /// When a request that is admitted at the local instant `now` was admitted, on the store's clock: in the cell in
    /// which it is counted.
    fn instant(&self, now: Local) -> Timestamp {
        self.at.plus(now.since(self.from))
    }
}

impl KeyState {
    /// A key of which nothing is known but what was seen counted.
    pub fn seen(seen: Option<Sight<4>>) -> Self {
        Self { seen, ..Self::default() }
    }

    /// What the store has not been told, or has and did not answer.
    pub fn untold(&self) -> impl Iterator<Item = &Entry> {
        self.unacked.iter().map(|(_, entry)| entry).chain(&self.entries)
    }

    /// All that is untold is, from now on, told.
    pub fn is_told(&mut self) -> Untold {
        let untold = Untold::of(self.untold());
        if let Some(seen) = &mut self.seen {
            seen.is_told(untold);
        }
        self.unacked.clear();
        self.entries.clear();
        untold
    }

    /// Gives up allowances whose time is over: they go back to where they were counted.
    pub fn roll(&mut self, now: Local) {
        if let Some(pool) = self.pool.take_if(|pool| now >= pool.ends) {
            self.is_over = Some(pool.next);
            self.owe(Entry { at: pool.at, requests: -(pool.left as i64), microcents: -pool.money });
        }
    }

    /// How many allowances to ask for ahead though nobody waits, and from when on: where so many were asked for that
    /// some of the next requests would.
    pub fn renewal(&mut self, now: Local) -> Option<(u64, Local)> {
        let from = self.is_over.filter(|_| self.refused.is_none())?;
        Some(self.demand.per_cell(now)).filter(|expected| *expected >= STEADY).map(|rate| (rate, from))
    }

    /// When what is at hand ends, or the cell after it begins where that is asked for ahead.
    pub fn ends(&mut self, now: Local) -> Option<Local> {
        let Pool { ends, next, .. } = self.pool?;
        let is_steady = self.demand.per_cell(now) >= STEADY;
        Some(if is_steady { ends.max(next) } else { ends })
    }

    /// Plans a look; `None` where one is planned as early.
    pub fn plan(&mut self, at: Local) -> Option<Local> {
        self.look.is_none_or(|planned| at < planned).then(|| *self.look.insert(at))
    }

    /// Takes a look that was planned; not where a sooner one has taken its place.
    pub fn take_look(&mut self, planned: Local) -> bool {
        self.look.take_if(|look| *look == planned).is_some()
    }

    /// Gives up allowances before their time.
    pub fn give_up(&mut self, now: Local) {
        if let Some(pool) = &mut self.pool {
            pool.ends = now;
        }
        self.roll(now);
    }

    /// Spends an allowance; when it was admitted on the store's clock, and whether it is time to ask for more.
    pub fn spend(&mut self, terms: &Terms, now: Local) -> Option<(Timestamp, bool)> {
        let has_budget = terms.has_budget();
        let pool = self.pool.as_mut()?;
        if pool.left == 0 || has_budget && pool.money < terms.estimate as i64 {
            return None;
        }
        pool.left -= 1;
        pool.money -= terms.estimate as i64;
        let more = pool.left == pool.low && pool.low > 0 && pool.ends.since(now) > ENDING;
        Some((pool.instant(now), more && self.call.is_none()))
    }

    /// Whether there is anything that the store should hear.
    pub fn owes(&self) -> bool {
        let is_lost = self.acked != self.seq;
        !self.entries.is_empty() || !self.unacked.is_empty() || is_lost || self.spent_at.is_some()
    }

    /// Puts back an allowance that came to nothing, or owes it where its cell has ended.
    pub fn put_back(&mut self, at: Timestamp, estimate: Cost, now: Local) {
        self.roll(now);
        self.refused = None;
        match self.pool.as_mut().filter(|pool| cell_of(pool.at) == cell_of(at)) {
            Some(pool) => {
                pool.left += 1;
                pool.money += estimate.microcents as i64;
            }
            None => self.owe(Entry { at, requests: -1, microcents: -(estimate.microcents as i64) }),
        }
    }

    /// Remembers something for the next call, together with what is counted in the same places.
    pub fn owe(&mut self, entry: Entry) {
        if entry.requests == 0 && entry.microcents == 0 {
            return;
        }
        let same = |known: &&mut Entry| {
            if known.requests.signum() != entry.requests.signum() {
                return false;
            }
            match entry.requests.signum() {
                // Costs alone go to the calendar, the finest part of which is a day.
                0 => Period::Daily.bounds(known.at) == Period::Daily.bounds(entry.at),
                // What is taken back must come from the very cell.
                -1 => cell_of(known.at) == cell_of(entry.at),
                // What is added may be counted later than it was, never earlier.
                _ => minute_cell(known.at) == minute_cell(entry.at),
            }
        };
        match self.entries.iter_mut().rev().take(4).find(same) {
            Some(known) => {
                known.at = known.at.max(entry.at);
                known.requests += entry.requests;
                known.microcents = known.microcents.saturating_add(entry.microcents);
            }
            None => self.entries.push(entry),
        }
    }

    /// Takes what was granted to a call, counted in a cell that ends about at `next`.
    pub fn granted(&mut self, sent: &Sent, done: &Done, next: Local, now: Local) {
        self.roll(now);
        let good_for = done.cell_end.since(done.now).as_micros() as u64;
        let ends = sent.at.plus(Duration::from_micros(good_for - good_for / DRIFT - 1));
        let believed = sent.left + done.granted.saturating_sub(sent.waiting);
        self.spent_at = (believed > 0).then(|| ends.plus(SPENT));
        if done.granted == 0 {
            return;
        }
        let fresh = Pool {
            left: done.granted,
            money: (done.granted * sent.terms.estimate) as i64,
            at: done.now,
            from: sent.at,
            ends,
            // Whatever is believed of clocks: the answer was on its way no longer than until now.
            next: next.min(now.plus(Duration::from_micros(good_for))),
            low: done.granted.saturating_sub(sent.waiting) / 4,
        };
        if let Some(pool) = &mut self.pool {
            if cell_of(pool.at) == cell_of(fresh.at) {
                // The same allowances, known better.
                let (left, money) = (pool.left + fresh.left, pool.money + fresh.money);
                *pool = Pool { left, money, ends: pool.ends.max(fresh.ends), ..fresh };
                return;
            }
            pool.ends = now;
            self.roll(now);
        }
        self.pool = Some(fresh);
        // The answer may have taken longer than the lease lasts.
        self.roll(now);
    }
}

impl Refused {
    /// What `limit` refused in `done`, an answer to a call sent at `sent` that has arrived at `now`.
    pub fn new(denial: Denial, terms: Terms, done: &Done, now: Local) -> Self {
        let wait = |at: Timestamp| at.since(done.now);
        let (until, seats) = match denial.limit {
            Limit::Concurrency => (SLOTS_BELIEVED, 0),
            // What is overdue is asked for less and less often, until the store no longer believes in it.
            _ if done.elsewhere > 0 => {
                let late = done.now.since(done.back_at);
                (wait(done.back_at) + RETURNING.max(late), done.elsewhere)
            }
            Limit::KeyBudget(_) | Limit::OrgBudget(_) => (BUDGET_BELIEVED, 0),
            _ => (denial.retry_at.map_or(BELIEVED, wait).min(BELIEVED), 0),
        };
        Self { denial, terms, until: now.plus(until), seats }
    }

    /// Whether it still refuses a claim under `terms`.
    pub fn holds(&self, terms: &Terms, now: Local) -> bool {
        now < self.until && self.terms.agrees(terms, self.denial.limit)
    }
}

const fn minute_cell(at: Timestamp) -> u64 {
    at.micros() / Window::MINUTE.cell().as_micros() as u64
}
