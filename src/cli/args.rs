//! Arguments that several commands read.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use crate::domain::limit::SpendLimit;
use crate::domain::time::{Period, Timestamp};

/// Reads a cap.
pub(super) fn cap(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "give a whole number, 0 or more (0 admits nothing), or leave it out for no cap".to_owned()
    })
}

/// A cap, or its removal.
#[derive(Debug, Clone, Copy)]
pub(super) struct CapOrNone(pub Option<u64>);

/// Reads a cap or `none`.
pub(super) fn cap_or_none(text: &str) -> Result<CapOrNone, String> {
    if text == "none" {
        return Ok(CapOrNone(None));
    }
    cap(text)
        .map(|cap| CapOrNone(Some(cap)))
        .map_err(|_| "give a whole number, 0 or more, or `none`".to_owned())
}

/// Reads a span such as `24h`, `30d`, `1h 30m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time as 30s, 15m, 24h or 7d".to_owned())
}

/// When something ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    At(Timestamp),
    In(Duration),
}

impl End {
    pub(super) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(span) => now.plus(span),
        }
    }
}

/// Reads an instant, a date (its midnight, UTC) or a span from now.
pub(super) fn end(text: &str) -> Result<End, String> {
    let time = Timestamp::parse(text).map(End::At);
    time.or_else(|_| humantime::parse_duration(text).map(End::In))
        .map_err(|_| "write a time as 2026-12-31, 2026-12-31T23:59:59Z, or 30d from now".to_owned())
}

/// Reads an instant, a date or a span that has gone by.
pub(super) fn begin(text: &str) -> Result<End, String> {
    end(text)
        .map_err(|_| "write a time as 2026-12-31, 2026-12-31T23:59:59Z, or 15m for so long ago".to_owned())
}

/// `--period`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PeriodArg {
    /// From midnight to midnight.
    Daily,
    /// From Monday to Monday.
    Weekly,
    /// From the first of a month to the next.
    Monthly,
}

impl From<PeriodArg> for Period {
    fn from(arg: PeriodArg) -> Self {
        match arg {
            PeriodArg::Daily => Self::Daily,
            PeriodArg::Weekly => Self::Weekly,
            PeriodArg::Monthly => Self::Monthly,
        }
    }
}

/// A spend limit, or its removal.
#[derive(Debug, Args)]
#[group(id = "spend_limit", required = true, multiple = true)]
#[command(group(ArgGroup::new("caps").args(["requests", "microcents"]).multiple(true)))]
pub(super) struct LimitArgs {
    /// Requests per period.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true, requires = "period")]
    requests: Option<u64>,
    /// Microcents per period.
    #[arg(long, value_name = "N", value_parser = cap, allow_negative_numbers = true, requires = "period")]
    microcents: Option<u64>,
    /// The period, by the calendar in UTC.
    #[arg(long, requires = "caps")]
    period: Option<PeriodArg>,
    /// Keep the limit, but let it refuse nothing.
    #[arg(long, requires = "period")]
    disabled: bool,
    /// Remove the limit.
    #[arg(long, conflicts_with_all = ["requests", "microcents", "period", "disabled"])]
    clear: bool,
}

impl LimitArgs {
    /// The limit; `None` is its removal.
    pub(super) fn limit(&self) -> Option<SpendLimit> {
        let period = self.period.filter(|_| !self.clear)?;
        Some(SpendLimit {
            requests: self.requests,
            microcents: self.microcents,
            period: period.into(),
            enabled: !self.disabled,
        })
    }
}
