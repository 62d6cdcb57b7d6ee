//! What is wrong with a configuration, said to the person who has to mend it.

use std::fmt;

use serde::Serialize;

/// One mistake. Never holds a secret: values of secret settings, and whatever came out of the environment
/// through `${NAME}`, are named and not quoted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The file, or what else the setting came from: an environment variable, a command-line flag.
    pub source: String,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// The setting, dotted, such as `plans.free.per_minute`; empty where it is the file as a whole.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

/// `gateway.toml:12: plans.free.per_minute: -3 is not a whole number of at least 0; leave it out for no cap`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.reason, self.advice)
    }
}

/// Every mistake of a configuration, those of the file in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn sorted(mut problems: Vec<Problem>) -> Self {
        // Stable: what has no line keeps the order in which it was found, behind what has one.
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Self(problems)
    }

    /// The mistakes.
    pub fn all(&self) -> &[Problem] {
        &self.0
    }

    /// For `--json`: a list of objects with `source`, `line`, `key`, `reason`, `advice`.
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(|problem| serde_json::json!(problem)).collect()
    }
}

/// One line each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
