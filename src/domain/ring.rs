//! A rolling window as a ring of cells: the one mechanism behind every rolling limit.
//!
//! Time is cut into cells of a fixed width. A ring keeps a count per cell that still matters and their
//! running sum, so that adding, expiring and asking are amortised O(1), and memory is bounded by
//! span ÷ width + 2 cells.
//!
//! **Invariants.** The sum is at least the number of admissions in the trailing window `(now − span, now]`:
//! a cell is dropped only when its *last* instant has left the window, so an admission stops counting at most
//! one cell late and never early. What is added behind the newest cell is counted in the newest: a wrong order
//! can make a limit stricter, never looser. The cap is not part of the ring, so editing it resets nothing.
//!
//! **Memory.** 56 bytes, and 8 for each further cell: the newest cell lies in the ring itself, so a window that
//! saw one burst allocates nothing, and a busy one touches no heap until its cell ends.
//!
//! **Deliberately absent:** the clock. Time must not run backwards between calls;
//! [`Account`](super::account::Account) sees to that.

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Timestamp;

#[cfg(test)]
mod tests;

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

    /// A window of `span` in `cells` cells.
    ///
    /// # Panics
    /// Where the span is not that many cells of whole microseconds, or there are more than 60,000; for the
    /// constants above, the compiler finds out.
    pub const fn new(span: Duration, cells: u64) -> Self {
        let span = span.as_micros() as u64;
        assert!(cells > 0 && cells <= 60_000 && span > 0 && span.is_multiple_of(cells));
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
        let end = index.saturating_add(1).saturating_mul(self.cell);
        Timestamp::from_micros(end.saturating_add(self.span))
    }
}

/// The admissions of one rolling window. Every call on one ring must name the same [`Window`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ring {
    /// Cells before the newest, oldest first, indices strictly rising, none of them empty.
    older: VecDeque<Cell>,
    /// The index of the newest cell.
    newest: u64,
    /// Admissions in the newest cell.
    in_newest: u64,
    /// Admissions in all cells.
    sum: u64,
}

impl Ring {
    /// Admissions that count at `now`.
    pub fn count(&mut self, window: Window, now: Timestamp) -> u64 {
        while let Some(&cell) = self.older.front() {
            if window.expiry(cell.index(self.newest)) > now {
                return self.sum;
            }
            self.older.pop_front();
            self.sum = self.sum.saturating_sub(cell.admitted());
        }
        if window.expiry(self.newest) <= now {
            (self.in_newest, self.sum) = (0, 0);
        }
        self.sum
    }

    /// Counts `n` admissions at `now`, or in the newest cell where `now` lies before it.
    pub fn add(&mut self, window: Window, now: Timestamp, n: u64) {
        // Cells are told apart by 16 bits of their index: the expired ones must go first.
        self.count(window, now);
        let index = window.cell_of(now);
        if index > self.newest {
            if self.in_newest > 0 {
                self.grow(window);
                self.older.push_back(Cell::new(self.newest, self.in_newest));
            }
            (self.newest, self.in_newest) = (index, 0);
        }
        self.in_newest = self.in_newest.saturating_add(n);
        self.sum = self.sum.saturating_add(n);
    }

    /// Takes back one admission made at `at` that turned out not to happen; nothing where it has expired.
    pub fn take_back(&mut self, window: Window, at: Timestamp) {
        let index = window.cell_of(at);
        if index == self.newest {
            if self.in_newest > 0 {
                self.in_newest -= 1;
                self.sum = self.sum.saturating_sub(1);
            }
            return;
        }
        let newest = self.newest;
        let Ok(place) = self.older.binary_search_by_key(&index, |cell| cell.index(newest)) else { return };
        self.sum = self.sum.saturating_sub(1);
        match self.older[place].admitted() {
            1 => drop(self.older.remove(place)),
            admitted => self.older[place] = Cell::new(index, admitted - 1),
        }
    }

    /// When a count that has reached `cap` will have fallen below it, if nothing more is admitted. `None` where
    /// no passing of time helps (a cap of zero). O(1) unless the cap was lowered below what had been admitted.
    pub fn below_at(&self, window: Window, cap: u64) -> Option<Timestamp> {
        let mut left = self.sum;
        for (index, admitted) in self.cells() {
            left = left.saturating_sub(admitted);
            if left < cap {
                return Some(window.expiry(index));
            }
        }
        None
    }

    /// When the oldest admission stops counting; `None` where there is none.
    pub fn next_expiry(&self, window: Window) -> Option<Timestamp> {
        self.cells().next().map(|(index, _)| window.expiry(index))
    }

    /// Gives back memory that a burst of cells has left unused.
    pub fn shrink(&mut self, window: Window, now: Timestamp) {
        self.count(window, now);
        if self.older.capacity() > 2 * self.older.len() {
            self.older.shrink_to_fit();
        }
    }

    /// Makes room for one more cell: twofold as any vector, but never for more cells than the window has.
    fn grow(&mut self, window: Window) {
        let (len, most) = (self.older.len(), (window.span / window.cell + 1) as usize);
        if len == self.older.capacity() {
            self.older.reserve_exact(len.max(4).min(most.saturating_sub(len)).max(1));
        }
    }

    /// (index, admissions) of every cell with admissions, oldest first.
    fn cells(&self) -> impl Iterator<Item = (u64, u64)> {
        let newest = (self.in_newest > 0).then_some((self.newest, self.in_newest));
        self.older.iter().map(|cell| (cell.index(self.newest), cell.admitted())).chain(newest)
    }
}

/// A cell that is not the newest, in 8 bytes: the low 16 bits of its index (a ring never spans 2^16 cells, and
/// knows the whole index of its newest) below 48 bits of count (31,000 million a second over the widest cell).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell(u64);

impl Cell {
    const ADMITTED_MAX: u64 = u64::MAX >> 16;

    fn new(index: u64, admitted: u64) -> Self {
        Self(admitted.min(Self::ADMITTED_MAX) << 16 | (index & 0xFFFF))
    }

    const fn admitted(self) -> u64 {
        self.0 >> 16
    }

    const fn index(self, newest: u64) -> u64 {
        newest - (newest.wrapping_sub(self.0) & 0xFFFF)
    }
}
