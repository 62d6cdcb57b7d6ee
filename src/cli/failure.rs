//! What went wrong, for people and for programs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde_json::{Value, json};

use crate::admin::AdminError;
use crate::config::problem::Problems;
use crate::stores::record::RecordError;

/// Not done.
const FAILED: u8 = 1;
/// Wrong arguments or configuration.
const WRONG: u8 = 2;

/// Why a command was not done, and what to do about it.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    error: String,
    advice: Option<String>,
    problems: Option<Problems>,
}

impl Failure {
    /// Wrong arguments.
    pub(super) fn wrong(error: impl Into<String>) -> Self {
        Self { code: WRONG, error: error.into(), advice: None, problems: None }
    }

    /// Right arguments, not done.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self { code: FAILED, error: error.into(), advice: None, problems: None }
    }

    pub(super) fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    pub(super) fn json(&self) -> Value {
        let mut object = json!({"error": self.error});
        if let Some(advice) = &self.advice {
            object["advice"] = json!(advice);
        }
        if let Some(problems) = &self.problems {
            object["problems"] = problems.to_json();
        }
        object
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("error: {}", self.error)];
        lines.extend(self.problems.as_ref().map(ToString::to_string));
        lines.extend(self.advice.clone());
        lines.join("\n")
    }

    /// Tells of it on standard error.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let text = if json { self.json().to_string() } else { self.text() };
        // Where standard error is closed, the exit code still tells.
        let _ = writeln!(io::stderr().lock(), "{text}");
        ExitCode::from(self.code)
    }
}

/// Tells of arguments that clap did not take; help and version, too, come this way.
pub(super) fn arguments(error: &clap::Error, json: bool) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked_for || !json {
        // A closed pipe is no failure of ours.
        let _ = error.print();
        return ExitCode::from(if asked_for { 0 } else { WRONG });
    }
    // Paragraphs: the error, tips, the usage, and a pointer to --help.
    let text = error.render().to_string();
    let mut parts = text.trim().split("\n\n").map(str::trim);
    let failure = Failure::wrong(parts.next().unwrap_or_default().trim_start_matches("error: "));
    let advice: Vec<_> = parts.filter(|part| !part.starts_with("For more information")).collect();
    if advice.is_empty() { failure } else { failure.advice(advice.join("; ")) }.report(true)
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let text = match problems.all().len() {
            1 => "the configuration has a mistake".to_owned(),
            many => format!("the configuration has {many} mistakes"),
        };
        Self { problems: Some(problems), ..Self::wrong(text) }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Invalid { .. } => Self::wrong(error.to_string()),
            AdminError::Record(error) => error.into(),
            // The others are answers to a caller who has to show who it is.
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        let failure = Self::failed(error.to_string());
        match advice(&error) {
            Some(advice) => failure.advice(advice),
            None => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// What the running gateway ends with. Its configuration mistakes are told like those of every command.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Problems>() {
            Ok(problems) => problems.into(),
            Err(error) => {
                let failure = Self::failed(chain(&error));
                match error.downcast_ref().and_then(advice) {
                    Some(advice) => failure.advice(advice),
                    None => failure,
                }
            }
        }
    }
}

/// What helps where a record fails; `None` where it only said no.
fn advice(error: &RecordError) -> Option<&'static str> {
    match error {
        RecordError::NotFound(_)
        | RecordError::Conflict(_)
        | RecordError::Stale(_)
        | RecordError::Refused(_) => None,
        _ if error.is_of_disk() => {
            Some("its disk is full, or fails: make room where `record.url` lies, and try again")
        }
        RecordError::Unavailable(_) | RecordError::Corrupt(_) => {
            Some("see that `record.url` in the configuration names the right place, and try again")
        }
    }
}

/// An error and its causes, each said once: many a library's error says its cause, too.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.ends_with(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}
