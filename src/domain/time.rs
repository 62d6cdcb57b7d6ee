//! Instants and calendar periods, in whole microseconds of Unix time.
//!
//! One integer type for every instant keeps the windows exact: a cell index is a division, a comparison
//! is a comparison, and nothing rounds.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;

/// An instant: microseconds since 1970-01-01T00:00:00Z. Leap seconds are not counted (POSIX time).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// The instant `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This instant moved later by `span`, saturating at the end of time.
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_micros() as u64))
    }

    /// This instant moved earlier by `span`, saturating at the epoch.
    pub const fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_micros() as u64))
    }

    /// The time from `earlier` to this instant; zero where `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339, such as `2026-11-21T09:00:00Z` or with an offset. A bare date is its midnight UTC.
    ///
    /// # Errors
    /// A sentence naming what was expected, where the text is neither, or lies before 1970.
    pub fn parse(text: &str) -> Result<Self, String> {
        let instant = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| {
                text.parse::<jiff::civil::Date>()
                    .and_then(|date| date.to_zoned(TimeZone::UTC))
                    .map(|zoned| zoned.timestamp())
            })
            .map_err(|_| format!("`{text}` is not a time: write it as 2026-12-31 or 2026-12-31T23:59:59Z"))?;
        u64::try_from(instant.as_microsecond()).map(Self).map_err(|_| format!("`{text}` lies before 1970"))
    }

    fn civil(self) -> jiff::Timestamp {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// RFC 3339 in UTC with as many fractional digits as are needed, such as `2026-11-21T09:00:00.25Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.civil().fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A calendar period of a spend limit, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Daily,
    /// From Monday midnight to Monday midnight (ISO 8601).
    Weekly,
    /// From the first of a month to the first of the next.
    Monthly,
}

impl Period {
    /// Every period, shortest first. The position is [`Period::index`].
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// The position in [`Period::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word used in configuration, APIs and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// The period called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// The bounds of the period that `at` lies in: first instant, and first instant after it.
    ///
    /// By arithmetic and not by a calendar's types: it is asked of every request that a spend limit counts.
    pub const fn bounds(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let today = at.0 / DAY;
        let (first, next) = match self {
            Self::Daily => (today, today + 1),
            Self::Weekly => {
                // The epoch was a Thursday.
                let back = (today + 3) % 7;
                (today.saturating_sub(back), today + 7 - back)
            }
            Self::Monthly => {
                let first = first_of_month(today);
                // 31 days on is the next month, whatever the length of either.
                (first, first_of_month(first + 31))
            }
        };
        (Timestamp(first.saturating_mul(DAY)), Timestamp(next.saturating_mul(DAY)))
    }
}

/// Microseconds of a day, as POSIX time has it.
const DAY: u64 = 86_400_000_000;

/// The first day of the month that `day` lies in, both in days since 1970-01-01: `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", which begins years with March, so that February's end is a year's.
const fn first_of_month(day: u64) -> u64 {
    // In eras of 400 years, of which 1970-01-01 is 719,468 days from the beginning of the first.
    let of_era = (day + 719_468) % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    day - (of_year - (153 * month + 2) / 5)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::Weekday;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn periods_are_those_of_the_calendar_in_utc() {
        for (period, instant, first, next) in [
            (Period::Daily, "2026-11-21T23:59:59.999999Z", "2026-11-21", "2026-11-22"),
            (Period::Daily, "2026-11-21T00:00:00Z", "2026-11-21", "2026-11-22"),
            (Period::Weekly, "2026-11-21T12:00:00Z", "2026-11-16", "2026-11-23"),
            (Period::Weekly, "2026-11-16T00:00:00Z", "2026-11-16", "2026-11-23"),
            (Period::Weekly, "2027-01-01T00:00:00Z", "2026-12-28", "2027-01-04"),
            (Period::Monthly, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"),
            (Period::Monthly, "2028-02-29T10:00:00Z", "2028-02-01", "2028-03-01"),
        ] {
            assert_eq!(period.bounds(at(instant)), (at(first), at(next)), "{period:?} of {instant}");
        }
    }

    proptest! {
        #[test]
        fn periods_are_those_of_a_calendar_library(micros in 0..253_370_000_000_000_000_u64) {
            let at = Timestamp::from_micros(micros);
            let today = at.civil().to_zoned(TimeZone::UTC).date();
            let week = today.saturating_sub(i64::from(today.weekday().since(Weekday::Monday)).days());
            let month = today.first_of_month();
            for (period, first, next) in [
                (Period::Daily, today, today.saturating_add(1.day())),
                (Period::Weekly, week, week.saturating_add(7.days())),
                (Period::Monthly, month, month.saturating_add(1.month())),
            ] {
                let midnight = |date: jiff::civil::Date| {
                    let micros = date.to_zoned(TimeZone::UTC).unwrap().timestamp().as_microsecond();
                    Timestamp(micros.try_into().unwrap_or(0))
                };
                prop_assert_eq!(period.bounds(at), (midnight(first), midnight(next)), "{:?} of {}", period, at);
            }
        }
    }

    #[test]
    fn times_are_read_and_written_as_rfc_3339() {
        assert_eq!(at("2026-12-31").to_string(), "2026-12-31T00:00:00Z");
        assert_eq!(at("2026-12-31T01:00:00+02:00").to_string(), "2026-12-30T23:00:00Z");
        assert_eq!(Timestamp::from_micros(1_500_000).to_string(), "1970-01-01T00:00:01.5Z");
        for wrong in ["", "tomorrow", "2026-13-01", "1969-12-31"] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }
}
