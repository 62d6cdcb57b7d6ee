//! AzScraper's envelope for what was not done.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::api::dialect::azscraper_code;
use crate::api::no::No;

/// Bad fields are 400 here.
const BAD_REQUEST: u16 = 400;

/// The envelope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::ErrorBody)]
pub(super) struct ErrorBody {
    success: bool,
    error: Problem,
}

/// What stands in the envelope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::Problem)]
struct Problem {
    /// `VALIDATION_ERROR`, `UNAUTHORIZED`, `INVALID_CREDENTIALS`, `FORBIDDEN`, `NOT_FOUND`, `CONFLICT`,
    /// `EMAIL_ALREADY_EXISTS`, `RATE_LIMIT_EXCEEDED`, `INSUFFICIENT_CREDITS` or `INTERNAL_ERROR`.
    code: &'static str,
    message: String,
    /// The fields that are wrong.
    details: Vec<Detail>,
}

/// A field that is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::Detail)]
struct Detail {
    field: String,
    message: String,
}

/// A [`No`], as AzScraper says it.
#[derive(Debug)]
pub(super) enum Refused {
    No(No),
    /// Somebody has an account with this email.
    EmailTaken,
}

impl From<No> for Refused {
    fn from(no: No) -> Self {
        Self::No(no)
    }
}

fn code(no: &No) -> &'static str {
    match no {
        No::Nobody(_) => "UNAUTHORIZED",
        No::WrongLogin => "INVALID_CREDENTIALS",
        No::Refused(refusal) => azscraper_code(*refusal),
        No::Forbidden(_) => "FORBIDDEN",
        No::Missing(_) => "NOT_FOUND",
        No::Conflict(_) => "CONFLICT",
        No::Invalid { .. } | No::Method => "VALIDATION_ERROR",
        No::Wait(_) => "RATE_LIMIT_EXCEEDED",
        No::Failed => "INTERNAL_ERROR",
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (no, code) = match self {
            Self::No(no) => {
                let code = code(&no);
                (no, code)
            }
            Self::EmailTaken => (No::Conflict("Email already registered".to_owned()), "EMAIL_ALREADY_EXISTS"),
        };
        let (message, details) = match &no {
            No::Invalid { field, advice } if !field.is_empty() => (
                "Validation failed".to_owned(),
                vec![Detail { field: field.clone(), message: advice.clone() }],
            ),
            no => (no.text(), Vec::new()),
        };
        let body = ErrorBody { success: false, error: Problem { code, message, details } };
        no.answer(BAD_REQUEST, body)
    }
}

/// What every call can be answered besides.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "for the document")]
pub(super) enum Refusals {
    /// A field is not as it should be.
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// No session, or one that is not valid.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// Not with an API key, or not with this role.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// No such project or key, or another organization's.
    #[response(status = 404)]
    Missing(ErrorBody),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The record cannot be reached, or the gateway is overloaded.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}
