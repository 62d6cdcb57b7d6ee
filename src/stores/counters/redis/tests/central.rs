//! The script's counterpart in plain Rust, over the very accounts that memory counters use: what `claim.lua` does is
//! held against this, and the simulation runs over it.

mod rebuilding;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::account::{Account, Claim, Claimed};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::limit::{Caps, Limit, Quotas};
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;
use crate::domain::used::{InPeriod, Used};
use crate::stores::counters::lease::{Call, Count, Done, Entry, Reply, SlotsReply, Spent, Terms};

const SLOTS_FOR: Duration = Duration::from_secs(10);
const RETURNING: Duration = Duration::from_millis(250);

/// One organization as Redis holds it.
#[derive(Clone, Debug)]
pub(super) struct Central {
    /// 0 where it is not known.
    epoch: u64,
    clock: Timestamp,
    /// The last batch of every node's log that it was built with.
    shipped: BTreeMap<usize, u64>,
    /// Nodes that have not reported, from when and at the latest when it may be claimed by all the same.
    awaited: BTreeSet<usize>,
    opens: (Timestamp, Timestamp),
    /// Parts of reports that are counted, and whose are whole.
    counted: BTreeMap<usize, usize>,
    whole: BTreeSet<usize>,
    account: Account,
    leased: Leased,
    keys: BTreeMap<KeyId, Leased>,
    slots: BTreeMap<usize, Slots>,
    records: BTreeMap<(usize, Option<KeyId>), Record>,
}

/// Allowances that nodes hold, by the end of their cells.
type Leased = BTreeMap<Timestamp, u64>;

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    seq: u64,
    granted: u64,
    microcents: u64,
    at: Timestamp,
    leased: u64,
    cell_end: Timestamp,
}

impl Record {
    /// What it leased by its last call is its own to tell, and what is long overdue nobody has any more.
    fn settle(&self, leases: &mut Leased, now: Timestamp) {
        if let Some(leased) = leases.get_mut(&self.cell_end) {
            *leased -= self.leased;
        }
        leases.retain(|end, leased| *leased > 0 && end.plus(RETURNING) > now);
    }
}

#[derive(Clone, Copy, Debug)]
struct Slots {
    seq: u64,
    held: u64,
    used: u64,
    until: Timestamp,
}

/// What the record holds at an instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    /// Admissions: key, when, and what they cost.
    pub rows: Vec<(KeyId, Timestamp, u64)>,
    pub shipped: BTreeMap<usize, u64>,
    /// How many of the rows are of each log.
    pub counts: Vec<(usize, usize)>,
}

impl Central {
    pub fn new(now: Timestamp) -> Self {
        let mut central = Self {
            epoch: now.micros(),
            clock: now,
            shipped: BTreeMap::new(),
            awaited: BTreeSet::new(),
            opens: Default::default(),
            counted: BTreeMap::new(),
            whole: BTreeSet::new(),
            account: Account::default(),
            leased: Leased::default(),
            keys: BTreeMap::new(),
            slots: BTreeMap::new(),
            records: BTreeMap::new(),
        };
        central.turn(None);
        central
    }

    /// The latest instant that it was called at.
    pub const fn clock(&self) -> Timestamp {
        self.clock
    }

    /// Admissions of a key that count in all time.
    pub fn total(&mut self, key: KeyId) -> u64 {
        self.counts(Some(key))[2].sum
    }

    /// Brings the calendar's counts to the present, as every call of the script does.
    fn turn(&mut self, key: Option<KeyId>) {
        let terms = Terms::default();
        let (claimed, _) = self.account.claim(&claim(key, &terms), self.clock).unwrap();
        self.account.release(&claimed);
    }

    /// When it was built; 0 where it is not known.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it has cost by today.
    pub fn spent(&mut self, key: KeyId) -> u64 {
        self.account.used(key, self.clock).organization[0].microcents
    }

    /// Why a call is not carried out.
    fn refusal(&self, call: &Call, now: Timestamp) -> Option<Reply> {
        if self.epoch == 0 {
            return Some(Reply::Missing);
        }
        let is_open = now.max(self.clock) >= self.opens.1 || self.awaited.is_empty();
        (call.epoch != 0 && call.epoch != self.epoch || !is_open).then_some(Reply::OtherEpoch)
    }

    fn is_open(&self) -> bool {
        self.clock >= self.opens.1 || self.awaited.is_empty() && self.clock >= self.opens.0
    }

    /// Carries out a call of `node`, of which there are `nodes`.
    pub fn call(&mut self, node: usize, nodes: u64, call: &Call, now: Timestamp) -> Reply {
        if let Some(reply) = self.refusal(call, now) {
            return reply;
        }
        let record = self.records.get(&(node, call.key)).copied().unwrap_or_default();
        if call.seq <= record.seq {
            return Reply::Stale;
        }
        self.clock = self.clock.max(now);
        let now = self.clock;
        self.turn(call.key);
        if record.seq > call.acked && record.granted > 0 {
            let (requests, microcents) = (-(record.granted as i64), -(record.microcents as i64));
            self.count(call.key, Entry { at: record.at, requests, microcents });
        }
        for (_, entry) in call.entries.iter().filter(|(seq, _)| *seq > record.seq) {
            self.count(call.key, *entry);
        }
        self.scopes(call.key).for_each(|leases| record.settle(leases, now));
        let (slots, in_flight) = self.slots(node, nodes, call);
        let mut waiting = call.waiting;
        let mut refused = None;
        let capped = slots.zip(call.slots).filter(|_| call.terms.caps.concurrency.is_some());
        match capped {
            Some((reply, asked)) if asked.waiting > 0 && reply.held <= asked.used => {
                refused = Some((Limit::Concurrency, None));
            }
            Some((reply, asked)) => waiting = waiting.min(reply.held - asked.used),
            None => {}
        }
        let cell = Window::SECOND.cell().as_micros() as u64;
        let cell_end = Timestamp::from_micros((now.micros() / cell + 1) * cell);
        let mut granted = 0;
        if refused.is_none() {
            let left_of_cell = cell_end.since(now).as_micros() as u64;
            let expected = (call.rate * left_of_cell / cell).saturating_sub(call.left);
            let asks = call.waiting > 0 || call.rate > 0;
            (granted, refused) = self.grant(call, waiting, expected, nodes, asks);
        }
        let leased = call.left + granted - granted.min(waiting);
        let others = match (refused, call.key) {
            (Some((limit, _)), Some(key)) if of_the_key(limit) => &self.keys[&key],
            _ => &self.leased,
        };
        let elsewhere = others.values().sum();
        let back_at = others.keys().next().copied().unwrap_or_default();
        if leased > 0 {
            for leases in self.scopes(call.key) {
                *leases.entry(cell_end).or_default() += leased;
            }
        }
        let microcents = granted * call.terms.estimate;
        self.records.insert(
            (node, call.key),
            Record { seq: call.seq, granted, microcents, at: now, leased, cell_end },
        );
        Reply::Done(Box::new(Done {
            epoch: self.epoch,
            now,
            cell_end,
            granted,
            refused,
            elsewhere,
            back_at,
            slots,
            in_flight,
            counts: self.counts(call.key),
            spent: self.spends(call.key),
        }))
    }

    fn scopes(&mut self, key: Option<KeyId>) -> impl Iterator<Item = &mut Leased> {
        let of_key = key.map(|key| self.keys.entry(key).or_default());
        std::iter::once(&mut self.leased).chain(of_key)
    }

    /// As many as wait, and a share of what is left for those expected; or the limit that has no room for one.
    fn grant(
        &mut self,
        call: &Call,
        waiting: u64,
        expected: u64,
        nodes: u64,
        asks: bool,
    ) -> (u64, Option<(Limit, Option<Timestamp>)>) {
        let (terms, now) = (call.terms, self.clock);
        let terms = Terms { caps: Caps { concurrency: None, ..terms.caps }, ..terms };
        let claim = claim(call.key, &terms);
        // One at least, to learn whether a limit refuses.
        let try_for = (waiting + expected * 2 * nodes).max(1);
        let mut taken = Vec::new();
        let mut refused = None;
        while (taken.len() as u64) < try_for {
            match self.account.claim(&claim, now) {
                Ok((claimed, _)) => taken.push(claimed),
                Err(denial) => {
                    refused = Some((denial.limit, denial.retry_at));
                    break;
                }
            }
        }
        let room = taken.len() as u64;
        let ahead = expected.min(room.saturating_sub(waiting) / (2 * nodes));
        let granted = if asks { room.min(waiting + ahead) } else { 0 };
        for claimed in taken.drain(granted as usize..) {
            self.account.release(&claimed);
        }
        for claimed in taken {
            // In flight is counted by slots.
            self.account.settle(&claimed, claimed.estimate);
        }
        (granted, refused.filter(|_| room == 0))
    }

    fn slots(&mut self, node: usize, nodes: u64, call: &Call) -> (Option<SlotsReply>, u64) {
        let Some(asked) = call.slots else { return (None, 0) };
        let now = self.clock;
        self.slots.retain(|_, slots| slots.until > now);
        let others = || self.slots.iter().filter(|(other, _)| **other != node).map(|(_, slots)| slots);
        let held_by_others: u64 = others().map(|slots| slots.held).sum();
        let in_flight = others().map(|slots| slots.used).sum();
        if self.slots.get(&node).is_some_and(|mine| mine.seq >= asked.seq) {
            return (None, in_flight);
        }
        let room = call.terms.caps.concurrency.unwrap_or(1 << 52).saturating_sub(held_by_others);
        let asking = asked.used + asked.waiting;
        let share = room.saturating_sub(asking) / (2 * nodes);
        let spare = asked.wanted.saturating_sub(asking).min(share);
        let held = asked.used.max((asking + spare).min(room));
        let mine = Slots { seq: asked.seq, held, used: asked.used, until: now.plus(SLOTS_FOR) };
        self.slots.insert(node, mine);
        (Some(SlotsReply { held, free: room.saturating_sub(held) }), in_flight)
    }

    fn count(&mut self, key: Option<KeyId>, entry: Entry) {
        let Entry { at, requests, mut microcents } = entry;
        let cost = |microcents| Cost { credits: 0, microcents };
        if requests > 0 {
            for number in 0..requests {
                let estimate = if number == 0 { microcents.max(0) as u64 } else { 0 };
                let terms = Terms { estimate, ..Terms::default() };
                let (claimed, _) = self.account.claim(&claim(key, &terms), at).unwrap();
                self.account.settle(&claimed, claimed.estimate);
            }
            return;
        }
        for _ in requests..0 {
            let estimate = cost((-microcents).max(0) as u64);
            self.account.release(&Claimed { key, at, estimate });
            microcents = microcents.max(0);
        }
        if microcents != 0 {
            let (less, more) = ((-microcents).max(0) as u64, microcents.max(0) as u64);
            self.account.settle(&Claimed { key, at, estimate: cost(less) }, cost(more));
        }
    }

    fn spends(&mut self, key: Option<KeyId>) -> [[Spent; 3]; 2] {
        let in_use = self.account.used(key.unwrap_or(KeyId(uuid::Uuid::nil())), self.clock);
        let spent = |of: InPeriod| Spent { requests: of.requests, microcents: of.microcents };
        [in_use.key.spent.map(spent), in_use.organization.map(spent)]
    }

    fn counts(&mut self, key: Option<KeyId>) -> [Count; 6] {
        let in_use = self.account.used(key.unwrap_or(KeyId(uuid::Uuid::nil())), self.clock);
        let count = |used: Used| Count { sum: used.count, next_expiry: used.resets_at };
        [
            count(in_use.second),
            count(in_use.minute),
            Count { sum: in_use.key.total, next_expiry: None },
            count(in_use.key.daily),
            count(in_use.key.weekly),
            count(in_use.key.monthly),
        ]
    }
}

const fn of_the_key(limit: Limit) -> bool {
    use Limit::{Daily, KeyBudget, KeyRequests, Monthly, Total, Weekly};
    matches!(limit, Total | Daily | Weekly | Monthly | KeyRequests(_) | KeyBudget(_))
}

fn claim<'a>(key: Option<KeyId>, terms: &'a Terms) -> Claim<'a> {
    Claim {
        key,
        caps: terms.caps,
        quotas: if key.is_some() { terms.quotas } else { Quotas::default() },
        key_limit: terms.key_limit.as_ref(),
        org_limit: terms.org_limit.as_ref(),
        estimate: Cost { credits: 0, microcents: terms.estimate },
    }
}
