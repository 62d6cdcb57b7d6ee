//! How time is divided for sums: five minutes, and days, each counted since the Unix epoch.

use std::ops::Range;

use super::reports::Span;
use crate::domain::time::Timestamp;

/// How wide a sum is. The numbers are those of the column `usage.width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::stores::record) enum Width {
    /// Five minutes.
    Cell = 300,
    /// A day.
    Day = 86_400,
}

impl Width {
    /// The cell that `at` lies in.
    pub const fn cell_of(self, at: Timestamp) -> u64 {
        at.seconds() / self as u64
    }

    /// The first instant of a cell.
    pub const fn start(self, cell: u64) -> Timestamp {
        Timestamp::from_micros(cell.saturating_mul(self as u64).saturating_mul(1_000_000))
    }
}

/// Five minutes of a day.
const CELLS_PER_DAY: u64 = Width::Day as u64 / Width::Cell as u64;

/// The cells of five minutes that a span touches.
pub(in crate::stores::record) fn cells(span: Span) -> Range<u64> {
    let last = span.until.minus(std::time::Duration::from_micros(1));
    let end = if span.until > span.since { Width::Cell.cell_of(last) + 1 } else { 0 };
    Width::Cell.cell_of(span.since)..end
}

/// A span as the fewest sums: in the order of time.
pub(in crate::stores::record) fn pieces(span: Span) -> [(Width, Range<u64>); 3] {
    let cells = cells(span);
    let days = cells.start.div_ceil(CELLS_PER_DAY)..cells.end / CELLS_PER_DAY;
    if days.is_empty() {
        return [(Width::Cell, cells), (Width::Day, 0..0), (Width::Cell, 0..0)];
    }
    let (first, last) = (days.start * CELLS_PER_DAY, days.end * CELLS_PER_DAY);
    [(Width::Cell, cells.start..first), (Width::Day, days), (Width::Cell, last..cells.end)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_the_cells_of_the_span_each_once(since in 0..2_000_000_u64, seconds in 0..900_000_u64) {
            let micros = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000 + seconds % 3);
            let span = Span { since: micros(since), until: micros(since + seconds) };
            let covered: Vec<_> = pieces(span)
                .into_iter()
                .flat_map(|(width, cells)| {
                    let factor = width as u64 / 300;
                    cells.start * factor..cells.end * factor
                })
                .collect();
            prop_assert_eq!(covered, cells(span).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_span_is_widened_to_whole_cells() {
        let span = |since, until| {
            cells(Span { since: Timestamp::from_micros(since), until: Timestamp::from_micros(until) })
        };
        assert_eq!(span(299_999_999, 300_000_001), 0..2);
        assert_eq!(span(300_000_000, 300_000_001), 1..2);
        assert_eq!(span(0, 300_000_000), 0..1);
        assert!(span(5, 5).is_empty() && span(900_000_000, 5).is_empty());
    }
}
