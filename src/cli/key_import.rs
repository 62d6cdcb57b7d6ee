//! `tollgate key import`: keys that were made elsewhere, from a file of JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::wire::KeyWire;
use crate::admin::{IMPORT_ROWS_MAX, ImportRow};
use crate::domain::limit;
use crate::domain::time::{Period, Timestamp};

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Lines that are told of; more are counted.
const TOLD_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// One JSON object per line: name, sha256 (hexadecimal, of the whole key as clients send it), and any of
    /// organization, project, category, prefix, hint, scopes, active, expires_at, allowed_ips,
    /// quotas {total, daily, weekly, monthly}, limits {requests, microcents, period, enabled}.
    file: PathBuf,
    /// The organization (id or name) of lines that name none.
    #[arg(long)]
    org: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    sha256: String,
    organization: Option<String>,
    project: Option<String>,
    category: Option<String>,
    prefix: Option<String>,
    hint: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    active: Option<bool>,
    expires_at: Option<String>,
    #[serde(default)]
    allowed_ips: Vec<String>,
    quotas: Option<Quotas>,
    limits: Option<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quotas {
    total: Option<u64>,
    daily: Option<u64>,
    weekly: Option<u64>,
    monthly: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    requests: Option<u64>,
    microcents: Option<u64>,
    period: String,
    enabled: Option<bool>,
}

/// Makes every key of the file, or none.
pub(super) async fn run(import: Import, context: &Context) -> Result<Output, Failure> {
    let Lines { rows, places, mut wrong } = read(&import)?;
    let Context { admin, actor, now, .. } = context;
    let found = if wrong.is_empty() {
        match admin.import_keys(&rows, actor, *now).await {
            Ok(keys) => {
                let wires: Vec<_> = keys.iter().map(|key| KeyWire::new(key, None)).collect();
                return Ok(Output::new(format!("imported {}", count(keys.len(), "key")), &wires));
            }
            Err(found) => found,
        }
    } else if rows.is_empty() {
        Vec::new()
    } else {
        admin.check_import(&rows, actor, *now).await
    };
    let place = |row: usize| places.get(row).copied().unwrap_or_default();
    wrong.extend(found.into_iter().map(|(row, error)| (place(row), error.to_string())));
    Err(refused(&import, wrong))
}

/// What a file holds.
struct Lines {
    rows: Vec<ImportRow>,
    /// The line that each row stands in.
    places: Vec<usize>,
    /// Lines that are no row, and why.
    wrong: Vec<(usize, String)>,
}

/// Reads the file; empty lines are skipped.
fn read(import: &Import) -> Result<Lines, Failure> {
    let name = import.file.display();
    let unread = |error: std::io::Error| Failure::wrong(format!("{name}: {error}"));
    let mut reader = BufReader::new(File::open(&import.file).map_err(unread)?);
    let (mut rows, mut places, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1.. {
        let mut text = Vec::new();
        let length = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text).map_err(unread)?;
        if length == 0 {
            break;
        }
        if length as u64 > LINE_BYTES_MAX || rows.len() >= IMPORT_ROWS_MAX {
            let most = format!("a line is at most {LINE_BYTES_MAX} bytes, a file {IMPORT_ROWS_MAX} keys");
            return Err(Failure::wrong(format!("{name}: line {number} is too much")).advice(most));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Line>(&text)
            .map_err(|error| told(&error))
            .and_then(|line| line.row(import))
        {
            Ok(row) => {
                rows.push(row);
                places.push(number);
            }
            Err(error) => wrong.push((number, error)),
        }
    }
    if rows.is_empty() && wrong.is_empty() {
        return Err(
            Failure::wrong(format!("{name} is empty")).advice("write one key per line, as a JSON object")
        );
    }
    Ok(Lines { rows, places, wrong })
}

/// What serde says, without the place, which is a line of its own here.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    if error.is_data() { text.to_owned() } else { format!("is no JSON object: {text}") }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn refused(import: &Import, mut wrong: Vec<(usize, String)>) -> Failure {
    wrong.sort_by_key(|(line, _)| *line);
    let all = wrong.len();
    let lines = count(all, "mistake");
    let mut text = format!("nothing was imported: {lines} in {}", import.file.display());
    for (line, error) in wrong.iter().take(TOLD_MAX) {
        text += &format!("\nline {line}: {error}");
    }
    if all > TOLD_MAX {
        text += &format!("\nand {} more", all - TOLD_MAX);
    }
    Failure::failed(text)
}

impl Line {
    fn row(self, import: &Import) -> Result<ImportRow, String> {
        let organization = self.organization.or_else(|| import.org.clone());
        let limit = |limit: Limit| {
            let period = Period::named(&limit.period).ok_or("limits.period: use daily, weekly or monthly")?;
            Ok::<_, String>(limit::SpendLimit {
                requests: limit.requests,
                microcents: limit.microcents,
                period,
                enabled: limit.enabled.unwrap_or(true),
            })
        };
        let expires_at = |text: &str| Timestamp::parse(text).map_err(|why| format!("expires_at: {why}"));
        Ok(ImportRow {
            organization: organization
                .ok_or("organization: name one, or give --org for those that name none")?,
            sha256: self.sha256,
            name: self.name,
            project: self.project,
            category: self.category,
            prefix: self.prefix,
            hint: self.hint,
            scopes: self.scopes,
            active: self.active,
            expires_at: self.expires_at.as_deref().map(expires_at).transpose()?,
            allowed_ips: self.allowed_ips,
            quotas: self
                .quotas
                .map_or_else(limit::Quotas::default, |Quotas { total, daily, weekly, monthly }| {
                    limit::Quotas { total, daily, weekly, monthly }
                }),
            limit: self.limits.map(limit).transpose()?,
        })
    }
}
