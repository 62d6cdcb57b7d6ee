//! Instants and calendar periods, in whole microseconds of Unix time.
//!
//! One integer type for every instant keeps the windows exact: a cell index is a division, a comparison
//! is a comparison, and nothing rounds.

use std::fmt;
use std::time::Duration;

use jiff::civil::Weekday;
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
    pub fn bounds(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let today = at.civil().to_zoned(TimeZone::UTC).date();
        let first = match self {
            Self::Daily => today,
            Self::Weekly => {
                let back = today.weekday().since(Weekday::Monday);
                today.saturating_sub(jiff::Span::new().days(i64::from(back)))
            }
            Self::Monthly => today.first_of_month(),
        };
        let next = match self {
            Self::Daily => first.saturating_add(jiff::Span::new().days(1)),
            Self::Weekly => first.saturating_add(jiff::Span::new().days(7)),
            Self::Monthly => first.saturating_add(jiff::Span::new().months(1)),
        };
        (midnight(first), midnight(next))
    }
}

fn midnight(date: jiff::civil::Date) -> Timestamp {
    let micros = date.to_zoned(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_microsecond());
    Timestamp(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
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
