//! AlterLab's answers to what was not done: `error`, `message` and `detail` with the same sentence, as its pages name
//! the first two and its clients read the third.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::api::no::No;

/// Bad fields are 422 here.
const UNPROCESSABLE: u16 = 422;

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = alterlab::ErrorBody)]
pub(super) struct ErrorBody {
    error: String,
    message: String,
    detail: String,
    /// For programs.
    code: &'static str,
}

/// A [`No`], as AlterLab says it.
#[derive(Debug)]
pub(super) struct Refused(No);

impl From<No> for Refused {
    fn from(no: No) -> Self {
        Self(no)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let text = self.0.text();
        let body =
            ErrorBody { error: text.clone(), message: text.clone(), detail: text, code: self.0.code() };
        self.0.answer(UNPROCESSABLE, body)
    }
}

/// What every call can be answered besides.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "for the document")]
pub(super) enum Refusals {
    /// Two different keys.
    #[response(status = 400)]
    Ambiguous(ErrorBody),
    /// No session or key, or one that is not valid.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// Not with an API key, or not with this role.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// No such key or organization, or another organization's.
    #[response(status = 404)]
    Missing(ErrorBody),
    /// A field is not as it should be.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The record cannot be reached, or the gateway is overloaded.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}
