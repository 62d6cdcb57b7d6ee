//! What a node has admitted and the record may not hold yet: what has to be added to the record's sums where counts are
//! rebuilt from them.
//!
//! Two widths are kept, as the record has two: five minutes of a key, which quotas and calendars are made of, and the
//! finest cell of the organization's plan, for as long as a minute's window needs it.
//!
//! **Invariant:** an admission is added when it is made, follows its cost, and goes when the record is known to have
//! its row, or when it is undone. A request in flight is in no row, so it stays; so does one whose row was lost.

use std::collections::{BTreeMap, VecDeque};

use super::cell_of;
use crate::domain::id::KeyId;
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;

const FIVE_MINUTES: u64 = Window::DAY.cell().as_micros() as u64;
const FINEST: u64 = Window::SECOND.cell().as_micros() as u64;
/// Finest cells that a minute's window can still need.
const RECENT_CELLS: u64 =
    (Window::MINUTE.span().as_micros() + Window::MINUTE.cell().as_micros()) as u64 / FINEST + 1;

/// Admissions and what they cost, so far or as reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::stores::counters) struct Sum {
    pub requests: u64,
    pub microcents: u64,
}

/// Of one key, by five minutes: a handful, but when the record is away.
#[derive(Clone, Debug, Default)]
pub(super) struct Unshipped(Vec<(u64, Sum)>);

/// Of an organization, by the finest cell, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<(u64, u64)>);

/// Both, apart from where they are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::stores::counters) struct Tally {
    pub cells: BTreeMap<(Option<KeyId>, u64), Sum>,
    pub recent: BTreeMap<u64, u64>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.microcents = self.microcents.saturating_add(other.microcents);
    }

    fn take(&mut self, other: Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.microcents = self.microcents.saturating_sub(other.microcents);
    }
}

impl Unshipped {
    /// One admission, which reserves `microcents`.
    pub fn add(&mut self, at: Timestamp, microcents: u64) {
        let sum = Sum { requests: 1, microcents };
        let cell = five_minutes_of(at);
        match self.0.last_mut() {
            Some((last, of)) if *last == cell => of.add(sum),
            Some((last, _)) if *last > cell => self.insert(cell, sum),
            _ => self.0.push((cell, sum)),
        }
    }

    /// What was admitted at `at` costs so much more, or less.
    pub fn cost(&mut self, at: Timestamp, more: i64) {
        let cell = five_minutes_of(at);
        if let Some((_, sum)) = self.0.iter_mut().rev().find(|(of, _)| *of == cell) {
            sum.microcents = sum.microcents.saturating_add_signed(more);
        }
    }

    /// Takes back what was admitted at `at`.
    pub fn take(&mut self, at: Timestamp, microcents: u64) {
        self.take_cell(five_minutes_of(at), Sum { requests: 1, microcents });
    }

    fn take_cell(&mut self, cell: u64, sum: Sum) {
        let Some(place) = self.0.iter().rposition(|(of, _)| *of == cell) else { return };
        let of = &mut self.0[place].1;
        of.take(sum);
        if of.requests == 0 {
            self.0.remove(place);
        }
    }

    fn insert(&mut self, cell: u64, sum: Sum) {
        match self.0.binary_search_by_key(&cell, |(of, _)| *of) {
            Ok(place) => self.0[place].1.add(sum),
            Err(place) => self.0.insert(place, (cell, sum)),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Recent {
    pub fn add(&mut self, at: Timestamp) {
        let cell = cell_of(at);
        match self.0.back_mut() {
            Some((last, count)) if *last == cell => *count += 1,
            Some((last, _)) if cell + RECENT_CELLS < *last => {}
            Some((last, _)) if *last > cell => match self.place(cell) {
                Ok(place) => self.0[place].1 += 1,
                Err(place) => self.0.insert(place, (cell, 1)),
            },
            _ => {
                self.0.push_back((cell, 1));
                while self.0.front().is_some_and(|(first, _)| first + RECENT_CELLS < cell) {
                    self.0.pop_front();
                }
            }
        }
    }

    pub fn take(&mut self, at: Timestamp) {
        self.take_cell(cell_of(at), 1);
    }

    fn take_cell(&mut self, cell: u64, n: u64) {
        let Ok(place) = self.place(cell) else { return };
        let count = &mut self.0[place].1;
        *count = count.saturating_sub(n);
        if *count == 0 {
            self.0.remove(place);
        }
    }

    fn place(&self, cell: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&cell, |(of, _)| *of)
    }
}

impl Tally {
    /// One request that was admitted at `at` and cost `microcents`.
    pub fn add(&mut self, key: Option<KeyId>, at: Timestamp, microcents: u64) {
        self.cells.entry((key, five_minutes_of(at))).or_default().add(Sum { requests: 1, microcents });
        *self.recent.entry(cell_of(at)).or_default() += 1;
    }

    /// Adds all of `other`.
    pub fn plus(&mut self, other: &Self) {
        for (cell, sum) in &other.cells {
            self.cells.entry(*cell).or_default().add(*sum);
        }
        for (cell, count) in &other.recent {
            *self.recent.entry(*cell).or_default() += count;
        }
    }

    /// Takes away all of `other`.
    pub fn less(&mut self, other: &Self) {
        for (cell, sum) in &other.cells {
            if let Some(of) = self.cells.get_mut(cell) {
                of.take(*sum);
            }
        }
        for (cell, count) in &other.recent {
            if let Some(of) = self.recent.get_mut(cell) {
                *of = of.saturating_sub(*count);
            }
        }
        self.cells.retain(|_, sum| sum.requests > 0);
        self.recent.retain(|_, count| *count > 0);
    }

    pub(super) fn put(&mut self, key: Option<KeyId>, unshipped: &Unshipped) {
        for (cell, sum) in &unshipped.0 {
            self.cells.entry((key, *cell)).or_default().add(*sum);
        }
    }

    pub(super) fn put_recent(&mut self, recent: &Recent) {
        for (cell, count) in &recent.0 {
            *self.recent.entry(*cell).or_default() += count;
        }
    }

    /// Takes all of this from where it is kept: `of` hands over what is kept of a key.
    pub(super) fn take_from(
        &self,
        mut of: impl FnMut(Option<KeyId>, &dyn Fn(&mut Unshipped)),
        recent: &mut Recent,
    ) {
        for ((key, cell), sum) in &self.cells {
            of(*key, &|unshipped| unshipped.take_cell(*cell, *sum));
        }
        for (cell, count) in &self.recent {
            recent.take_cell(*cell, *count);
        }
    }
}

/// The first instant of five minutes.
pub(super) const fn five_minutes(cell: u64) -> Timestamp {
    Timestamp::from_micros(cell * FIVE_MINUTES)
}

/// The first instant of a finest cell.
pub(super) const fn finest(cell: u64) -> Timestamp {
    Timestamp::from_micros(cell * FINEST)
}

const fn five_minutes_of(at: Timestamp) -> u64 {
    at.micros() / FIVE_MINUTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    fn of(unshipped: &Unshipped, recent: &Recent) -> Tally {
        let mut tally = Tally::default();
        tally.put(None, unshipped);
        tally.put_recent(recent);
        tally
    }

    #[test]
    fn what_is_added_and_taken_in_any_order_leaves_nothing() {
        let (mut unshipped, mut recent, mut shipped) = Default::default();
        let times = [0, 299, 300, 900, 301, 900, 1];
        for seconds in times {
            Unshipped::add(&mut unshipped, at(seconds), 5);
            Recent::add(&mut recent, at(seconds));
            Tally::add(&mut shipped, None, at(seconds), 5);
        }
        assert_eq!(of(&unshipped, &recent).cells, shipped.cells);
        let held = of(&unshipped, &recent);
        assert_eq!(held.recent.values().sum::<u64>(), 2, "what the minute needs: {held:?}");
        unshipped.cost(at(300), -3);
        unshipped.cost(at(0), 4);
        let costs: Vec<u64> = of(&unshipped, &recent).cells.values().map(|sum| sum.microcents).collect();
        assert_eq!(costs, [19, 7, 10]);
        shipped.take_from(|_, take| take(&mut unshipped), &mut recent);
        assert!(unshipped.is_empty());
        assert_eq!(of(&unshipped, &recent), Tally::default());
    }

    #[test]
    fn one_that_is_undone_goes_and_the_others_stay() {
        let (mut unshipped, mut recent) = (Unshipped::default(), Recent::default());
        for seconds in [1, 1, 400] {
            unshipped.add(at(seconds), 5);
            recent.add(at(seconds));
        }
        unshipped.take(at(1), 5);
        recent.take(at(1));
        let left = of(&unshipped, &recent);
        assert_eq!(left.cells.values().map(|sum| sum.requests).collect::<Vec<_>>(), [1, 1]);
        unshipped.take(at(700), 5);
        assert_eq!(of(&unshipped, &recent), left, "of nothing, nothing is taken");
    }
}
