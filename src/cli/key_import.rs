//! `tollgate key import`: keys that were made elsewhere, from a file of JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::output::Output;
use super::wire::KeyWire;
use crate::admin::{IMPORT_ROWS_MAX, ImportRow};
use crate::api::json::{self, Misread};
use crate::api::native::ImportedKey;

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
        match row(&text, import) {
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

/// The row that a line is, or why it is none.
fn row(line: &[u8], import: &Import) -> Result<ImportRow, String> {
    let key: ImportedKey = json::read(line).map_err(|misread| match misread {
        Misread::Field { path, why } if path.is_empty() => why,
        Misread::Field { path, why } => format!("{path}: {why}"),
        // The line is told of already.
        Misread::Malformed(error) => {
            format!("is no JSON object: {}", error.to_string().split(" at line ").next().unwrap_or_default())
        }
    })?;
    key.row(import.org.as_deref()).map_err(|(field, why)| match field {
        "organization" => format!("{field}: {why}, or give --org for all lines that name none"),
        _ => format!("{field}: {why}"),
    })
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
