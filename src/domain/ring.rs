//! A rolling window as a ring of cells: the one mechanism behind every rolling limit.
//!
//! Time is cut into cells of a fixed width. A ring keeps a count per cell that still matters and their
//! running sum, so that adding, expiring and asking are amortised O(1), and memory is bounded by
//! span ÷ width + 2 cells.
//!
//! **Invariants.** The sum is at least the number of admissions in the trailing window `(now − span, now]`:
//! a cell is dropped only when its *last* instant has left the window, so an admission stops counting at most
//! one cell late and never early. A clock that steps back is held at the newest cell: limits can become
//! stricter by a clock error, never looser. The cap is not part of the ring, so editing it resets nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Timestamp;

/// The span and cell width of a rolling limit, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    span: u64,
    cell: u64,
}

impl Window {
    /// The plan's per-second window: cells of 1/20.
    pub const SECOND: Self = Self::new(Duration::from_secs(1), 20);
    /// The plan's per-minute window: cells of 1/20.
    pub const MINUTE: Self = Self::new(Duration::from_secs(60), 20);
    /// A key's daily quota: 24 hours in cells of 5 minutes.
    pub const DAY: Self = Self::new(Duration::from_secs(86_400), 288);
    /// A key's weekly quota: 7 days in cells of 35 minutes.
    pub const WEEK: Self = Self::new(Duration::from_secs(7 * 86_400), 288);
    /// A key's monthly quota: 30 days in cells of 150 minutes.
    pub const MONTH: Self = Self::new(Duration::from_secs(30 * 86_400), 288);

    /// A window of `span` in `cells` cells; the span must divide evenly into microseconds.
    pub const fn new(span: Duration, cells: u64) -> Self {
        let span = span.as_micros() as u64;
        Self { span, cell: span / cells }
    }

    /// How long an admission counts, at least.
    pub const fn span(self) -> Duration {
        Duration::from_micros(self.span)
    }

    /// How much longer than the span an admission counts, at most.
    pub const fn cell(self) -> Duration {
        Duration::from_micros(self.cell)
    }

    const fn cell_of(self, at: Timestamp) -> u64 {
        at.micros() / self.cell
    }

    /// The first instant at which nothing of cell `index` lies in the trailing window.
    const fn expiry(self, index: u64) -> Timestamp {
        Timestamp::from_micros((index + 1) * self.cell + self.span)
    }
}

/// The admissions of one rolling window. Every call on one ring must name the same [`Window`].
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// (cell index, admissions in it), oldest first, indices strictly rising.
    cells: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Ring {
    /// Admissions that count at `now`.
    pub fn count(&mut self, window: Window, now: Timestamp) -> u64 {
        while let Some(&(index, admitted)) = self.cells.front() {
            if window.expiry(index) > now {
                break;
            }
            self.cells.pop_front();
            self.sum -= admitted;
        }
        self.sum
    }

    /// Counts `n` admissions at `now`, or in the newest cell where the clock has stepped back behind it.
    pub fn add(&mut self, window: Window, now: Timestamp, n: u64) {
        let index = window.cell_of(now);
        match self.cells.back_mut() {
            Some((newest, admitted)) if *newest >= index => *admitted += n,
            _ => self.cells.push_back((index, n)),
        }
        self.sum += n;
    }

    /// Takes back `n` admissions made at `at` that turned out not to happen; fewer where they have already
    /// expired.
    pub fn take_back(&mut self, window: Window, at: Timestamp, n: u64) {
        let index = window.cell_of(at);
        let made_in = |&&mut (cell, admitted): &&mut (u64, u64)| cell >= index && admitted >= n;
        if let Some((_, admitted)) = self.cells.iter_mut().find(made_in) {
            *admitted -= n;
            self.sum -= n;
        }
    }

    /// When the count will next have fallen below `cap`, if nothing more is admitted. `None` where no passing
    /// of time helps (a cap of zero).
    pub fn below_at(&self, window: Window, cap: u64) -> Option<Timestamp> {
        let mut left = self.sum;
        for &(index, admitted) in &self.cells {
            left -= admitted;
            if left < cap {
                return Some(window.expiry(index));
            }
        }
        None
    }

    /// When the oldest admission stops counting.
    pub fn next_expiry(&self, window: Window) -> Option<Timestamp> {
        self.cells.front().map(|&(index, _)| window.expiry(index))
    }

    /// Whether nothing is counted any more, so that the ring may be forgotten.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}
