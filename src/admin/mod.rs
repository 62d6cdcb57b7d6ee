//! What a person may do: make organizations, users, projects, sessions and keys, and change them.
//!
//! Between the ways in (command line, APIs) and the record: bad input ends here, with the field's name and what
//! to do about it, and secrets are made here, from the operating system's randomness. A way in only has to
//! spell the answer.
//!
//! **Invariant:** a secret leaves this module once, as the result of the call that made it; a password never.
//!
//! **Deliberately absent:** HTTP, clocks (every call is told `now`), and *who* may do it: whoever holds an
//! [`Admin`] is trusted, and names itself as [`Actor`].

mod fields;
mod keys;
mod organizations;
mod passwords;
mod people;
mod random;
mod sessions;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::{Config, Masked};
use crate::stores::record::{Actor, RecordError, SharedRecord};

pub use keys::{GRACE_MAX, KeyOrder};
pub use passwords::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub use people::UserOrder;
pub use sessions::{Login, SESSION_MAX, Tokens};

/// Passwords hashed at one time; each takes 19 MiB and tens of milliseconds of a core.
const HASHES_MAX: usize = 2;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A field holds what it may not hold.
    #[error("{field}: {advice}")]
    Invalid {
        /// The field, as sections 3 and 5 of the contract name it.
        field: &'static str,
        /// What is wrong and what to do, for the person who filled it in.
        advice: String,
    },
    /// The record says no, or nothing.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The machine failed: no randomness, no thread.
    #[error("this machine failed: {0}")]
    Machine(String),
}

impl AdminError {
    fn invalid(field: &'static str, advice: impl Into<String>) -> Self {
        Self::Invalid { field, advice: advice.into() }
    }
}

/// What of the configuration is needed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names of the plans there are; the first is the one of personal organizations.
    pub plans: Vec<String>,
    /// What made keys begin with.
    pub prefix: String,
    /// The secret of session tokens.
    pub session_secret: Option<Masked>,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            plans: config.plans.iter().map(|plan| plan.name.clone()).collect(),
            prefix: config.keys.prefix.clone(),
            session_secret: config.session.secret.clone(),
        }
    }
}

/// What a person may do, over a record. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    record: SharedRecord,
    settings: Settings,
    hashes: Arc<Semaphore>,
}

impl Admin {
    /// Over `record`.
    pub fn new(record: SharedRecord, settings: Settings) -> Self {
        Self { record, settings, hashes: Arc::new(Semaphore::new(HASHES_MAX)) }
    }

    /// The record, for what needs no rule: lists.
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }
}

#[cfg(test)]
mod tests;
