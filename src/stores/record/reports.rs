//! What people ask of the request log: sums, series, breakdowns and pages.
//!
//! Two sources answer. **Sums** ([`ReportRecord::totals`] to [`ReportRecord::top_domains`]) come from rollups
//! that are written in the transaction of the rows they count, so their cost depends on the span and not on the
//! number of requests; they are exact to [`CELL`]. **Pages** read rows by their [`Place`], which is an order of
//! arrival that never changes, so that turning pages while rows come in neither skips nor repeats one.
//!
//! Sums outlive rows: `logs.retention` removes rows, and sums of five minutes after [`CELLS_KEPT`]; sums of days stay.
//!
//! **Deliberately absent:** who may ask (a floor up), and an offset: page *n* is reached over the counts of
//! blocks of rows, not by reading the rows before it.

mod filter;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use self::filter::{LogFilter, StatusFilter, is_part};
use super::RecordError;
use crate::domain::cost::{Cost, Outcome};
use crate::domain::id::{KeyId, OrgId, RequestId};
use crate::domain::row::{Row, RowRef, Variables};
use crate::domain::time::Timestamp;

/// The width of the finest sum: spans are widened to whole cells, counted from the Unix epoch.
pub const CELL: Duration = Duration::from_secs(300);

/// How long sums of five minutes are kept at least. Beyond, a span is answered in whole days (UTC), those that lie
/// within it.
pub const CELLS_KEPT: Duration = Duration::from_secs(92 * 86_400);

/// Tiers, domains, and kinds of errors that one sum tells apart; the rarest of more are summed as *other*. A bound,
/// as all three are texts from outside: a client that makes up 100,000 domains makes one sum no larger.
pub const PARTS_MAX: usize = 32;

/// Points of one series; what is asked for beyond them is not answered.
pub const POINTS_MAX: usize = 10_000;

/// Rows of one page.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Rows of a scope and span, the newest, of which a filter by tier, domain or status is asked for a page by its number,
/// about: what such a page costs does not grow with the log. Pages by keyset reach every row.
pub const COUNTED_MAX: usize = 1_000_000;

/// Whose requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those made with one key.
    Key(KeyId),
    /// All that one organization pays for, with whatever key, and without one (sessions).
    Organization(OrgId),
    /// All, also of callers that stayed unknown: for operators.
    Everything,
}

/// From an instant to another one, which is no longer part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub since: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
}

impl Span {
    /// The last `days` days up to `now`, to the microsecond; what arrives this very instant belongs to it.
    pub fn last_days(days: u32, now: Timestamp) -> Self {
        let until = now.plus(Duration::from_micros(1));
        Self { since: now.minus(Duration::from_secs(u64::from(days) * 86_400)), until }
    }
}

/// Sums over requests. All saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that the limits admitted: what quotas count.
    pub admitted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Of the admitted ones, those whose [`Outcome`] is a success. The rest failed.
    pub success: u64,
    /// What was charged.
    pub cost: Cost,
    /// Microseconds to the first byte of the answer, over the admitted ones.
    pub first_byte_micros: u64,
    /// Microseconds to the last byte of the answer, over the admitted ones.
    pub total_micros: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of response bodies.
    pub bytes_out: u64,
}

impl Totals {
    /// What one row adds.
    pub(in crate::stores::record) fn of(row: &RowRef<'_>) -> Self {
        Self::with(&row.variables(), row.admitted, row.outcome == Some(Outcome::Success))
    }

    /// What a row adds that has these variables.
    #[inline]
    pub(in crate::stores::record) fn with(row: &Variables<'_>, admitted: bool, success: bool) -> Self {
        let of_admitted = |micros| if admitted { micros } else { 0 };
        Self {
            admitted: u64::from(admitted),
            refused: u64::from(!admitted),
            success: u64::from(success),
            cost: row.cost,
            first_byte_micros: of_admitted(row.first_byte_micros),
            total_micros: of_admitted(row.total_micros),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        }
    }

    /// Adds others to these.
    pub fn add(&mut self, others: &Self) {
        for (sum, other) in [
            (&mut self.admitted, others.admitted),
            (&mut self.refused, others.refused),
            (&mut self.success, others.success),
            (&mut self.cost.credits, others.cost.credits),
            (&mut self.cost.microcents, others.cost.microcents),
            (&mut self.first_byte_micros, others.first_byte_micros),
            (&mut self.total_micros, others.total_micros),
            (&mut self.bytes_in, others.bytes_in),
            (&mut self.bytes_out, others.bytes_out),
        ] {
            *sum = sum.saturating_add(other);
        }
    }

    /// Every request, refused ones too.
    pub const fn requests(&self) -> u64 {
        self.admitted.saturating_add(self.refused)
    }

    /// Requests without success, refused ones too.
    pub const fn failed(&self) -> u64 {
        self.requests().saturating_sub(self.success)
    }
}

/// How wide a point of a series is. All begin at multiples of their width since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// [`CELL`].
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
}

impl Step {
    /// Its width.
    pub const fn width(self) -> Duration {
        Duration::from_secs(match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// The word in APIs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its first instant.
    pub at: Timestamp,
    /// What came in it. Points without a request are left out.
    pub totals: Totals,
}

/// The requests that have one tier, or went to one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which; `None` for the rest: those beyond [`PARTS_MAX`].
    pub name: Option<String>,
    /// Requests, refused ones too.
    pub requests: u64,
    /// Those with success.
    pub success: u64,
    /// What they were charged.
    pub cost: Cost,
}

/// Requests that did not succeed, of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The status that the client was sent; 0 where it was sent none, or for the rest beyond [`PARTS_MAX`].
    pub status: u16,
    /// The refusal's code; empty where an upstream answered; `other` for the rest.
    pub code: String,
    /// How many.
    pub requests: u64,
}

/// Where a row stands in the log: rows are ordered by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(pub i64);

/// As it is written in a cursor: 16 hexadecimal digits.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Place {
    /// Reads what [`Display`](fmt::Display) writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u64::from_str_radix(text, 16).ok().filter(|_| fits)?;
        i64::try_from(bits).ok().map(Self)
    }
}

/// A row as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedRow {
    /// Where.
    pub place: Place,
    /// What.
    pub row: Row<'static>,
}

/// A page of rows by keyset.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPage {
    /// Newest first.
    pub rows: Vec<LoggedRow>,
    /// Give it to the next call; `None` at the end of the log. A page can be short, even empty, and have a next one:
    /// one call looks at a bounded number of rows for those that the filter lets through.
    pub next: Option<Place>,
}

/// A page of rows by its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedPage {
    /// Newest first.
    pub rows: Vec<LoggedRow>,
    /// Rows on all pages together. Where [`COUNTED_MAX`] was reached there may be more behind.
    pub total: u64,
}

/// How far somebody has read who follows the log. It counts what came into the record, in the order in which it
/// came: a request that took an hour is behind those that came and went meanwhile, and a follower sees it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived(pub u64);

/// What came into the record since somebody looked.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// In the order in which they came into the record.
    pub rows: Vec<LoggedRow>,
    /// Give it to the next call.
    pub next: Arrived,
    /// Whether there is more already.
    pub more: bool,
}

/// What customers and operators ask of the log.
#[async_trait]
pub trait ReportRecord: Send + Sync + 'static {
    /// Sums over a span.
    async fn totals(&self, scope: &Scope, span: Span) -> Result<Totals, RecordError>;
    /// Sums over a span by [`Step`], oldest first, the first [`POINTS_MAX`].
    async fn series(&self, scope: &Scope, span: Span, step: Step) -> Result<Vec<Point>, RecordError>;
    /// Requests by tier, the most frequent first, the rest last. Requests without a tier are in none.
    async fn by_tier(&self, scope: &Scope, span: Span) -> Result<Vec<Share>, RecordError>;
    /// Requests by target domain, at most `most`, the most frequent first; what is summed as the rest comes last
    /// and holds everything beyond. Requests without a domain are in none.
    async fn top_domains(&self, scope: &Scope, span: Span, most: usize) -> Result<Vec<Share>, RecordError>;
    /// Requests that did not succeed, by status and code, the most frequent first, the rest last.
    async fn errors(&self, scope: &Scope, span: Span) -> Result<Vec<Failures>, RecordError>;
    /// Rows before `before` (`None`: from the end), newest first, at most `most` and [`PAGE_ROWS_MAX`].
    async fn log_page(
        &self,
        filter: &LogFilter,
        before: Option<Place>,
        most: usize,
    ) -> Result<LogPage, RecordError>;
    /// Page `page`, counted from 1, of `size` rows (at most [`PAGE_ROWS_MAX`]), and how many rows there are. A filter by
    /// tier, domain, or status other than success and failure, is asked of the newest [`COUNTED_MAX`] rows.
    async fn log_numbered(
        &self,
        filter: &LogFilter,
        page: u64,
        size: usize,
    ) -> Result<NumberedPage, RecordError>;
    /// What came into the record since `after`, at most `most` rows (and [`PAGE_ROWS_MAX`]) that the filter lets
    /// through.
    async fn log_news(&self, filter: &LogFilter, after: Arrived, most: usize) -> Result<News, RecordError>;
    /// How far the log goes at this moment, for somebody who follows it from now on.
    async fn log_end(&self) -> Result<Arrived, RecordError>;
    /// The row of one request.
    async fn log_row(&self, id: RequestId) -> Result<Option<LoggedRow>, RecordError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for place in [Place(0), Place(i64::MAX), Place(1_800_000_001_000 << 21 | 5)] {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for wrong in
            ["", "5", "ffffffffffffffff", "+00000000000000f", "00000000000000000", "000000000000000é"]
        {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
