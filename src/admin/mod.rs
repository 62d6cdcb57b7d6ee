//! What a person may do: make organizations, users, projects, sessions and keys, and change them.
//!
//! Between the ways in (command line, APIs) and the record: bad input ends here, with the field's name and what
//! to do about it, and secrets are made here, from the operating system's randomness. A way in only has to
//! spell the answer.
//!
//! **Invariants.** A secret leaves this module once, as the result of the call that made it, and again only to an
//! owner where the operator keeps sealed copies; a password never. What was changed is in force in this process
//! when the call returns, where there is a keyring.
//!
//! **Deliberately absent:** HTTP, clocks (every call is told `now`), and a check of *who* calls inside the verbs: a
//! way in asks [`access`] first, by [`Admin::enter`] and its like; the command line need not.

pub mod access;
mod backoff;
mod enter;
mod fields;
mod identify;
mod import;
mod invitations;
mod keys;
mod logins;
mod members;
mod organizations;
mod outside;
mod passwords;
mod people;
mod random;
mod seal;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use self::access::Denied;
use self::logins::Brakes;
use self::passwords::Hashing;
use crate::config::{self, Config, Masked, SealKey};
use crate::domain::refusal::Refusal;
use crate::stores::keyring::{Keyring, follow};
use crate::stores::record::{Actor, RecordError, SharedRecord};

pub use identify::Credential;
pub use import::{IMPORT_ROWS_MAX, ImportRow};
pub use invitations::{INVITATION_MAX, Invited};
pub use keys::{GRACE_MAX, KeyChange, KeyOrder};
pub use organizations::OrganizationChange;
pub use outside::{KEY_SET_BYTES_MAX, KeySource, Outside};
pub use passwords::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub use people::UserOrder;
pub use seal::{SEAL_BYTES, Seal};
pub use sessions::{Login, SESSION_MAX, Signed, Tokens};

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
    /// The token is not one of ours, or was changed; of the outside issuer's, or it has ended or was revoked.
    #[error("this session token is not valid, or has ended: log in again")]
    InvalidToken,
    /// The token is one of ours, and its session has ended or was revoked: whoever shows it has guessed nothing.
    #[error("this session has ended: log in again")]
    SessionEnded,
    /// The API key is not one that may be used.
    #[error("{}", .0.text())]
    InvalidKey(Refusal),
    /// No user has this email and this password.
    #[error("wrong email or password")]
    WrongLogin,
    /// Too many failed logins of the account, or from the address.
    #[error("too many failed logins: wait {} seconds", .0.as_secs_f64().ceil())]
    Wait(Duration),
    /// As many passwords are being looked at as there may be.
    #[error("too many logins at this moment: try again")]
    Busy,
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
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
    /// How long a login lasts.
    pub session_ttl: Duration,
    /// What new keys are sealed with; `None` keeps digests only.
    pub reveal_key: Option<SealKey>,
    /// Passwords compared at one time. This and what follows is for good: [`Admin::reconfigure`] does not change it.
    pub hashes_max: usize,
    /// Passwords that wait for that.
    pub hashes_waiting_max: usize,
    /// Accounts, and addresses, whose failed logins are remembered.
    pub failing_max: usize,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            plans: config.plans.iter().map(|plan| plan.name.clone()).collect(),
            prefix: config.keys.prefix.clone(),
            session_secret: config.session.secret.clone(),
            session_ttl: config.session.ttl,
            reveal_key: config.keys.reveal_key.clone(),
            hashes_max: config.session.hashes_max,
            hashes_waiting_max: config.session.hashes_waiting_max,
            failing_max: config.session.failing_max,
        }
    }
}

/// What a person may do, over a record. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    record: SharedRecord,
    settings: Arc<ArcSwap<Settings>>,
    hashing: Arc<Hashing>,
    brakes: Arc<Brakes>,
    /// Where a running gateway looks keys up, which has to know of changes at once.
    keyring: Option<Arc<Keyring>>,
    outside: Option<Arc<Outside>>,
}

impl Admin {
    /// Over `record`.
    pub fn new(record: SharedRecord, settings: Settings) -> Self {
        Self {
            record,
            hashing: Arc::new(Hashing::new(settings.hashes_max, settings.hashes_waiting_max)),
            brakes: Arc::new(Brakes::new(settings.failing_max)),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            keyring: None,
            outside: None,
        }
    }

    /// How often each bound on logins was hit, by its name in metrics.
    pub fn overflows(&self) -> [(&'static str, u64); 2] {
        [("logins_waiting", self.hashing.refused()), ("logins_failing", self.brakes.evicted())]
    }

    /// With changes in force in `keyring` before a call returns.
    #[must_use]
    pub fn serving(self, keyring: Arc<Keyring>) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// With the people of an outside issuer, whose key set comes from `source`.
    #[must_use]
    pub fn believing(self, issuer: &config::Issuer, source: Arc<dyn KeySource>) -> Self {
        Self { outside: Some(Arc::new(Outside::new(issuer, source))), ..self }
    }

    /// Puts other settings in force, for every clone.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The record, for what needs no rule: lists.
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }

    /// Passes on what the record answered to a write, after it is in force here.
    async fn done<T>(&self, written: Result<T, RecordError>) -> Result<T, AdminError> {
        let written = written?;
        self.catch_up().await;
        Ok(written)
    }

    async fn catch_up(&self) {
        let Some(keyring) = &self.keyring else { return };
        if let Err(error) = follow::catch_up(keyring).await {
            tracing::warn!(%error, "a change is written, and in force here only when changes can be read again");
        }
    }
}

#[cfg(test)]
mod tests;
