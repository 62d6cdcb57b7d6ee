//! What a command prints: text for people, or JSON.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use crate::stores::record::open;

/// One answer in both forms.
pub(super) struct Output {
    text: String,
    json: Value,
    unprinted: Option<&'static str>,
}

impl Output {
    pub(super) fn new(text: impl Into<String>, json: &impl Serialize) -> Self {
        // Our own structs have string keys and no failing parts.
        let json = serde_json::to_value(json).unwrap_or_default();
        Self { text: text.into(), json, unprinted: None }
    }

    /// What to do where this could not be printed.
    pub(super) fn or_else_advise(self, advice: &'static str) -> Self {
        Self { unprinted: Some(advice), ..self }
    }

    /// Prints it on standard output.
    pub(super) fn print(self, json: bool) -> Result<ExitCode, Failure> {
        let text = if json { self.json.to_string() } else { self.text };
        let mut out = io::stdout().lock();
        match (writeln!(out, "{text}").and_then(|()| out.flush()), self.unprinted) {
            (Ok(()), _) => Ok(ExitCode::SUCCESS),
            // A reader that has seen enough, such as `head`.
            (Err(error), None) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            (Err(error), advice) => {
                let failure = Failure::failed(format!("the answer could not be printed: {error}"));
                Err(match advice {
                    Some(advice) => failure.advice(advice),
                    None => failure,
                })
            }
        }
    }
}

/// As [`table`]; where there are no rows, where that was looked for, and the command that makes what is listed.
pub(super) fn listed<const N: usize>(
    head: [&str; N],
    rows: &[[String; N]],
    context: &Context,
    making: &str,
) -> String {
    if rows.is_empty() {
        return format!("none in {}; `tollgate {making}` makes one", open::place(&context.config.record.url));
    }
    table(head, rows)
}

/// Rows under a head, columns aligned.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// One fact per line, values aligned.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<_> = facts.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}

/// A value, or what stands for none.
pub(super) fn or<T: ToString>(value: Option<T>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [["ä".to_owned(), "1".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["name", "n"], &rows), "name  n\nä     1\nlong");
        assert_eq!(facts(&[("id", "1".into()), ("name", "x".into())]), "id    1\nname  x");
    }
}
