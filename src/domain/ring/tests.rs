//! Rings against the plainest oracle there is: the list of admissions, counted.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Ring, Window};
use crate::domain::time::Timestamp;

/// What may happen to a limit. Times are parts of a cell, in thousandths.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Back(u64),
    Claim,
    Edit(u64),
    Release(usize),
}

/// A ring, a cap, a clock that may step back, and the log of what was admitted.
struct Trial {
    window: Window,
    cap: u64,
    ring: Ring,
    clock: u64,
    /// The latest instant seen: what an account counts by.
    now: Timestamp,
    /// Admissions of the last span and cell, in the order of time.
    log: VecDeque<Timestamp>,
}

impl Trial {
    fn new(cells: u64, cell_micros: u64, cap: u64, start: u64) -> Self {
        let window = Window::new(Duration::from_micros(cells * cell_micros), cells);
        let now = Timestamp::from_micros(start);
        Self { window, cap, ring: Ring::default(), clock: start, now, log: VecDeque::new() }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Wait(part) => self.turn_clock(self.clock + self.window.cell * part / 1_000),
            Step::Back(part) => self.turn_clock(self.clock.saturating_sub(self.window.cell * part / 1_000)),
            Step::Claim => self.claim(),
            Step::Edit(cap) => self.cap = cap,
            Step::Release(which) if !self.log.is_empty() => {
                let at = self.log.remove(which % self.log.len()).unwrap();
                self.ring.take_back(self.window, at);
            }
            Step::Release(_) => {}
        }
    }

    fn turn_clock(&mut self, clock: u64) {
        self.clock = clock;
        self.now = self.now.max(Timestamp::from_micros(clock));
        let longest = self.window.span() + self.window.cell();
        while self.log.front().is_some_and(|at| self.now.since(*at) >= longest) {
            self.log.pop_front();
        }
    }

    /// Admissions in the trailing window, by the log.
    fn in_span(&self) -> u64 {
        let gone = self.log.partition_point(|at| self.now.since(*at) >= self.window.span());
        (self.log.len() - gone) as u64
    }

    fn claim(&mut self) {
        let count = self.ring.count(self.window, self.now);
        let in_span_and_cell = self.log.len() as u64;
        assert!(count >= self.in_span(), "an admission stopped counting too early");
        assert!(count <= in_span_and_cell, "an admission counts for more than a cell too long");
        assert!(self.ring.older.len() as u64 <= self.window.span / self.window.cell + 1, "the ring grows");
        if count < self.cap {
            self.ring.add(self.window, self.now, 1);
            self.log.push_back(self.now);
            assert!(self.in_span() <= self.cap, "one admitted too many");
            return;
        }
        assert!(in_span_and_cell >= self.cap, "refused although there is room");
        match self.ring.below_at(self.window, self.cap) {
            None => assert_eq!(self.cap, 0),
            Some(at) => {
                let count_at = |at| self.ring.clone().count(self.window, at);
                assert!(count_at(at) < self.cap, "told to come back too early");
                let before = Timestamp::from_micros(at.micros() - 1);
                assert!(count_at(before) >= self.cap, "told to come back too late");
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => Just(Step::Claim),
        4 => prop_oneof![Just(0), 1..2_000_u64, 1_000..40_000_u64, 200_000..400_000_u64, Just(100_000_000)]
            .prop_map(Step::Wait),
        1 => prop_oneof![1..3_000_u64, Just(10_000_000)].prop_map(Step::Back),
        1 => (0..20_u64).prop_map(Step::Edit),
        1 => any::<usize>().prop_map(Step::Release),
    ]
}

proptest! {
    #[test]
    fn a_ring_agrees_with_the_log(
        cells in prop_oneof![Just(1), Just(2), Just(20), Just(288), 1..400_u64],
        cell_micros in prop_oneof![Just(1), Just(50_000), 1..10_000_000_u64],
        cap in 0..20_u64,
        start in prop_oneof![Just(0), 0..10_000_000_000_000_000_u64],
        steps in vec(step(), 1..300),
    ) {
        let mut trial = Trial::new(cells, cell_micros, cap, start);
        steps.into_iter().for_each(|step| trial.apply(step));
    }
}

/// SplitMix64: the same long history on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn step(&mut self) -> Step {
        match self.below(32) {
            0..20 => Step::Claim,
            20..24 => Step::Wait(self.below(2_000)),
            24..27 => Step::Wait(self.below(40_000)),
            27 => Step::Wait(self.below(400_000)),
            28 => Step::Back(self.below(5_000)),
            29 => Step::Edit(self.below(40)),
            30 => Step::Release(self.below(1_000) as usize),
            _ if self.below(50) == 0 => Step::Wait(self.below(1 << 30)),
            _ if self.below(50) == 0 => Step::Back(self.below(1 << 30)),
            _ => Step::Wait(1_000),
        }
    }
}

#[test]
fn a_ring_agrees_with_the_log_for_two_million_steps() {
    let mut seeded = Seeded(0x7011_6A7E);
    for _ in 0..200 {
        let cells = [1, 2, 3, 20, 20, 60, 288, 288][seeded.below(8) as usize];
        let cell_micros = [1, 1_000, 50_000, 3_000_000, 300_000_000][seeded.below(5) as usize];
        let mut trial = Trial::new(cells, cell_micros, seeded.below(40), seeded.below(1 << 50));
        (0..10_000).for_each(|_| trial.apply(seeded.step()));
    }
}

#[test]
fn a_cell_keeps_its_count_and_its_place() {
    for (newest, index, admitted) in [
        (1, 0, 1),
        (65_536, 65_535, 7),
        (65_536, 65_536 - 60_000, 1 << 40),
        (35_600_000_000, 35_599_999_980, super::Cell::ADMITTED_MAX),
    ] {
        let cell = super::Cell::new(index, admitted);
        assert_eq!((cell.index(newest), cell.admitted()), (index, admitted));
    }
}

#[test]
fn an_admission_stops_counting_within_a_cell_of_its_span() {
    let (window, at) = (Window::SECOND, Timestamp::from_micros);
    for (admitted, counts, gone) in [
        (5_000_000, 6_049_999, 6_050_000), // first instant of a cell: a whole cell late
        (5_049_999, 6_049_999, 6_050_000), // last instant of it: a microsecond late
        (5_050_000, 6_099_999, 6_100_000),
    ] {
        let mut ring = Ring::default();
        ring.add(window, at(admitted), 1);
        assert_eq!(ring.next_expiry(window), Some(at(gone)));
        assert_eq!(ring.count(window, at(counts)), 1, "{admitted}");
        assert_eq!(ring.count(window, at(gone)), 0, "{admitted}");
    }
}

#[test]
fn a_ring_that_is_only_added_to_stays_small_and_exact() {
    let window = Window::SECOND;
    let mut ring = Ring::default();
    for cell in 0..200_000 {
        ring.add(window, Timestamp::from_millis(cell * 50), 1);
        assert!(ring.older.len() <= 21);
    }
    assert_eq!(ring.count(window, Timestamp::from_millis(199_999 * 50)), 21);
}
