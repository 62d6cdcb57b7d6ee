//! Why something was not done, in no system's words.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::admin::AdminError;
use crate::clock;
use crate::domain::refusal::Refusal;
use crate::stores::record::RecordError;

/// The longest wait that a client is told, in seconds: one library sleeps whatever it reads.
const WAIT_MAX: u64 = 60;

/// Why something was not done.
#[derive(Debug)]
pub enum No {
    /// Nobody is logged in. The log and the address guard are told where something was shown that is nobody's: who shows
    /// nothing, or a session that has ended, has guessed nothing.
    Nobody(Option<Refusal>),
    /// A key that may not be used, or what keeps anybody from being served.
    Refused(Refusal),
    /// What this caller may not do, as a sentence.
    Forbidden(String),
    /// There is no such thing as this, for this caller.
    Missing(What),
    /// It is taken or in the way, as a sentence.
    Conflict(String),
    /// A field holds what it may not hold.
    Invalid {
        /// The field; empty for the body as a whole.
        field: String,
        /// What is wrong with it.
        advice: String,
    },
    /// No user has this email and this password.
    WrongLogin,
    /// Too many tries: wait so long.
    Wait(Duration),
    /// The path has no such method.
    Method,
    /// This machine failed; logged where that was seen.
    Failed,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A key.
    Key,
    /// A project.
    Project,
    /// An organization.
    Organization,
}

impl What {
    /// The sentence.
    pub const fn missing(self) -> &'static str {
        match self {
            Self::Key => "Key not found",
            Self::Project => "Project not found",
            Self::Organization => "Organization not found",
        }
    }
}

impl No {
    /// What `error` is to a client that asked for `what`.
    pub fn of(error: AdminError, what: What) -> Self {
        match error {
            AdminError::Invalid { field, advice } => Self::Invalid { field: field.to_owned(), advice },
            AdminError::InvalidToken => Self::Nobody(Some(Refusal::InvalidApiKey)),
            AdminError::SessionEnded => Self::Nobody(None),
            AdminError::InvalidKey(refusal) => Self::Refused(refusal),
            AdminError::WrongLogin => Self::WrongLogin,
            AdminError::Wait(wait) => Self::Wait(wait),
            AdminError::Busy => Self::Refused(Refusal::Overloaded),
            AdminError::Denied(denied) => Self::Forbidden(capitalized(&denied.to_string())),
            AdminError::Record(RecordError::NotFound(_)) => Self::Missing(what),
            AdminError::Record(RecordError::Conflict(text) | RecordError::Stale(text)) => {
                Self::Conflict(capitalized(&text))
            }
            AdminError::Record(error @ RecordError::Unavailable(_)) => {
                tracing::warn!(%error, "a published key system could not ask the record");
                Self::Refused(Refusal::StoreUnavailable)
            }
            error @ (AdminError::Record(RecordError::Corrupt(_) | RecordError::Refused(_))
            | AdminError::Machine(_)) => {
                tracing::error!(%error, "a published key system failed");
                Self::Failed
            }
        }
    }

    /// The same, where a conflict can only be a name that is taken.
    #[must_use]
    pub fn taken(self, text: &str) -> Self {
        match self {
            Self::Conflict(_) => Self::Conflict(text.to_owned()),
            other => other,
        }
    }

    /// The HTTP status; bad fields have their own in each system.
    pub const fn status(&self, invalid: u16) -> u16 {
        match self {
            Self::Nobody(_) | Self::WrongLogin => 401,
            Self::Refused(refusal) => refusal.status(),
            Self::Forbidden(_) => 403,
            Self::Missing(_) => 404,
            Self::Method => 405,
            Self::Conflict(_) => 409,
            Self::Invalid { .. } => invalid,
            Self::Wait(_) => 429,
            Self::Failed => 500,
        }
    }

    /// The word for programs, where a system has none of its own.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nobody(_) | Self::WrongLogin => "unauthorized",
            Self::Refused(refusal) => refusal.code(),
            Self::Forbidden(_) => "forbidden",
            Self::Missing(_) => "not_found",
            Self::Method => "method_not_allowed",
            Self::Conflict(_) => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::Wait(_) => "too_many_tries",
            Self::Failed => "internal_error",
        }
    }

    /// The sentence, in the words of this gateway.
    pub fn text(&self) -> String {
        match self {
            Self::Nobody(_) => "Missing or invalid session token".to_owned(),
            Self::Refused(refusal) => refusal.text().to_owned(),
            Self::Forbidden(text) | Self::Conflict(text) => text.clone(),
            Self::Missing(what) => what.missing().to_owned(),
            Self::Invalid { field, advice } if field.is_empty() => advice.clone(),
            Self::Invalid { field, advice } => format!("{field}: {advice}"),
            Self::WrongLogin => "Invalid credentials".to_owned(),
            Self::Wait(_) => "Too many failed logins".to_owned(),
            Self::Method => "Method not allowed".to_owned(),
            Self::Failed => "Internal server error".to_owned(),
        }
    }

    /// What of it the log, the metrics and the address guard are told. Failed logins have brakes of their own.
    const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Nobody(refusal) => *refusal,
            Self::Refused(refusal) => Some(*refusal),
            _ => None,
        }
    }

    /// The answer with `body`.
    pub fn answer(&self, invalid: u16, body: impl Serialize) -> Response {
        let mut response = Json(body).into_response();
        let status = self.status(invalid);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let wait = match self {
            Self::Wait(wait) => Some(wait.as_secs_f64().ceil() as u64),
            Self::Refused(refusal) => refusal.retry_after(clock::now()),
            _ => None,
        };
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, seconds.clamp(1, WAIT_MAX).into());
        }
        if status == 401 {
            // RFC 9110 section 11.6.1 wants a challenge on every 401.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(refusal) = self.refusal() {
            response.extensions_mut().insert(refusal);
        }
        response
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
