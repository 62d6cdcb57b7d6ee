//! `tollgate logs`: rows of the request log, and those that come.
//!
//! Printed as they are read, one line each, the newest last. With `--json` a line is an object as it is exported
//! (see [`Line`]), not an item of an array: the log has no end.
//!
//! **Invariant:** what a client has sent is never printed to a terminal as it came. In text, whatever is not plainly
//! visible is escaped ([`Plain`]); in JSON it stands in a text anyway.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::args::{End, begin};
use super::context::Context;
use super::failure::Failure;
use super::key_change::Named;
use crate::domain::cost::Outcome;
use crate::domain::id::RequestId;
use crate::domain::row::Row;
use crate::logs::Line;
use crate::stores::record::reports::{Arrived, LogFilter, LoggedRow, PAGE_ROWS_MAX, Scope, StatusFilter};

/// Rows that are read into memory to be printed in the order of time.
const ROWS_MAX: u64 = 100_000;
/// How often `--follow` looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Of this key only: its id, or with --org its name.
    #[arg(long)]
    key: Option<String>,
    /// Of this organization (id or name) only.
    #[arg(long)]
    org: Option<String>,
    /// From then on: 2026-12-31T23:59:59Z, 2026-12-31, or so long ago, such as 15m, 1h, 7d.
    #[arg(long, value_name = "TIME", value_parser = begin)]
    since: Option<End>,
    /// `success`, `failed`, a status such as 429, or a class such as 5xx.
    #[arg(long, value_parser = status)]
    status: Option<StatusFilter>,
    /// With this text anywhere in the target's domain.
    #[arg(long)]
    domain: Option<String>,
    /// With exactly this tier.
    #[arg(long)]
    tier: Option<String>,
    /// Of what there is, the newest so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=ROWS_MAX))]
    limit: u64,
    /// Go on with what comes, until interrupted.
    #[arg(long, short)]
    follow: bool,
}

fn status(text: &str) -> Result<StatusFilter, String> {
    let advice = || "write success, failed, a status such as 429, or a class such as 5xx".to_owned();
    StatusFilter::parse(text).ok_or_else(advice)
}

/// Prints what is asked for.
pub(super) async fn run(asked: Logs, context: &Context, json: bool) -> Result<ExitCode, Failure> {
    match printed(&asked, context, json).await {
        // A reader that has seen enough, such as `head`.
        Err(Stopped::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Stopped::Print(error)) => Err(Failure::failed(format!("the log could not be printed: {error}"))),
        Err(Stopped::Failed(failure)) => Err(failure),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

enum Stopped {
    Print(io::Error),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn printed(asked: &Logs, context: &Context, json: bool) -> Result<(), Stopped> {
    let filter = asked.filter(context).await?;
    let record = context.record();
    // Before the first page, so that nothing comes in between.
    let end = record.log_end().await?;
    let rows = newest(&filter, asked.limit as usize, context).await?;
    print(rows.iter().rev(), json).map_err(Stopped::Print)?;
    if asked.follow {
        let known = rows.into_iter().map(|logged| logged.row.id).collect();
        follow(&filter, end, known, context, json).await?;
    }
    Ok(())
}

impl Logs {
    async fn filter(&self, context: &Context) -> Result<LogFilter, Failure> {
        let scope = match (&self.key, &self.org) {
            (Some(key), org) => Scope::Key(Named::new(key, org.as_deref()).find(context).await?.id),
            (None, Some(org)) => Scope::Organization(context.record().organization(org).await?.id),
            (None, None) => Scope::Everything,
        };
        let since = self.since.map(|since| match since {
            End::At(at) => at,
            End::In(ago) => context.now.minus(ago),
        });
        let (tier, domain) = (self.tier.clone(), self.domain.clone());
        Ok(LogFilter { since, status: self.status, tier, domain, ..LogFilter::all(scope) })
    }
}

/// The newest `most` rows, newest first.
async fn newest(filter: &LogFilter, most: usize, context: &Context) -> Result<Vec<LoggedRow>, Failure> {
    let mut rows = Vec::new();
    let mut before = None;
    while rows.len() < most {
        let wanted = (most - rows.len()).min(PAGE_ROWS_MAX);
        let page = context.record().log_page(filter, before, wanted).await?;
        rows.extend(page.rows);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    Ok(rows)
}

/// Prints what comes, but for the rows that are `known`.
async fn follow(
    filter: &LogFilter,
    mut after: Arrived,
    mut known: HashSet<RequestId>,
    context: &Context,
    json: bool,
) -> Result<(), Stopped> {
    loop {
        let news = context.record().log_news(filter, after, PAGE_ROWS_MAX).await?;
        after = news.next;
        print(news.rows.iter().filter(|logged| !known.contains(&logged.row.id)), json)
            .map_err(Stopped::Print)?;
        if !news.more {
            known.clear();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn print<'r>(rows: impl Iterator<Item = &'r LoggedRow>, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for LoggedRow { row, .. } in rows {
        if json {
            serde_json::to_writer(&mut out, &Line::of(row))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", text(row))?;
        }
    }
    out.flush()
}

/// A row for people.
fn text(row: &Row<'_>) -> String {
    let ended = match row.outcome {
        _ if !row.code.is_empty() => &*row.code,
        Some(outcome) => Outcome::name(outcome),
        None => "answered",
    };
    let mut line = format!(
        "{:<27} {:>3} {:<20} {:>6} ms {:>5} cr  {} {}",
        row.at.to_string(),
        row.status,
        Plain(ended).to_string(),
        row.total_micros / 1_000,
        row.cost.credits,
        Plain(&row.method),
        Plain(&row.path),
    );
    let mut also = |name: &str, value: Option<&str>| {
        // Writing to a text never fails.
        let _ = value.map(|value| write!(line, "  {name}={}", Plain(value)));
    };
    also("domain", row.domain.as_deref());
    also("tier", row.tier.as_deref());
    also("org", row.organization.as_deref());
    also("key", row.key.map(|key| key.to_string()).as_deref());
    also("from", Some(&row.address.to_string()));
    also("agent", row.user_agent.as_deref());
    also("id", Some(&row.id.to_string()));
    line
}

/// A text from outside, made harmless for a terminal: control characters (CR, LF, ANSI escapes), blanks other than
/// the space, characters that are not seen or that turn the direction of others, and the backslash itself are
/// escaped as in Rust.
struct Plain<'t>(&'t str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                ' ' => f.write_char(' ')?,
                '\'' | '"' => f.write_char(character)?,
                // Escapes what Unicode has as a control, format, private, unassigned or separating character.
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_sent_moves_the_cursor_or_hides() {
        for (sent, shown) in [
            ("Mozilla/5.0 (X11; \"x\")", "Mozilla/5.0 (X11; \"x\")"),
            ("caf\u{e9} \u{65e5}\u{672c}", "caf\u{e9} \u{65e5}\u{672c}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("\u{2028}", "\\u{2028}"),
            ("\\r", "\\\\r"),
            ("\0\u{7f}", "\\0\\u{7f}"),
        ] {
            assert_eq!(Plain(sent).to_string(), shown, "{sent:?}");
        }
    }
}
