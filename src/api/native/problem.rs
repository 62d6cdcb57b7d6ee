//! How the native API says no: problem details for HTTP (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::AdminError;
use crate::admin::access::Denied;
use crate::domain::refusal::Refusal;
use crate::stores::record::RecordError;

/// Why a call was not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the status means.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What was wrong and what to do, for people.
    detail: String,
    /// For programs: stable.
    code: &'static str,
    /// The field, header or parameter that was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What was wrong by row, of an import.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<RowProblem>,
    #[serde(skip)]
    retry_after: Option<u64>,
    #[serde(skip)]
    refusal: Option<Refusal>,
}

/// What is wrong with one row of an import.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RowProblem {
    /// The row, counted from 0.
    pub row: usize,
    /// What was wrong and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            field: None,
            rows: Vec::new(),
            retry_after: None,
            refusal: None,
        }
    }

    /// A field that holds what it may not hold.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// The same, at this field.
    pub fn at(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// The same, with what is wrong by row.
    pub fn with_rows(self, rows: Vec<RowProblem>) -> Self {
        Self { rows, ..self }
    }

    /// There is no such thing, for this caller.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Nobody knows who calls.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// Whether the caller can do nothing about it.
    pub fn is_ours(&self) -> bool {
        self.status >= 500
    }

    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.clamp(1, 60)), ..self }
    }

    /// Too much at this moment.
    pub fn busy(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let detail = error.to_string();
        match error {
            AdminError::Invalid { field, advice } => Self::invalid(field, advice),
            AdminError::Record(error) => error.into(),
            AdminError::Machine(_) => {
                tracing::error!(error = detail, "a call could not be answered");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "this machine failed; its log says why",
                )
            }
            AdminError::InvalidToken | AdminError::SessionEnded => Self::unauthorized("invalid_token", detail),
            AdminError::InvalidKey(refusal) => {
                let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
                Self { refusal: Some(refusal), ..Self::new(status, refusal.code(), detail) }
            }
            AdminError::WrongLogin => Self::unauthorized("wrong_login", detail),
            AdminError::Wait(wait) => {
                let seconds = wait.as_millis().div_ceil(1_000) as u64;
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", detail).retry_after(seconds)
            }
            AdminError::Busy => Self::busy(&detail),
            AdminError::Denied(denied) => denied.into(),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        match denied {
            Denied::Unseen => Self::missing(detail),
            Denied::Keys => Self::new(StatusCode::FORBIDDEN, "key_not_allowed", detail),
            Denied::Scope => Self::new(StatusCode::FORBIDDEN, "scope_missing", detail),
            Denied::Needs(_) => Self::new(StatusCode::FORBIDDEN, "role_too_low", detail),
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let detail = error.to_string();
        match error {
            RecordError::NotFound(_) => Self::missing(detail),
            RecordError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", detail),
            RecordError::Stale(_) => Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail),
            RecordError::Unavailable(_) | RecordError::Corrupt(_) | RecordError::Refused(_) => {
                tracing::error!(error = detail, "a call could not be answered");
                let detail = "the record cannot be asked: try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(1)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == 401 {
            // RFC 9110 section 11.6.1 wants a challenge on every 401.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(refusal) = self.refusal {
            // The address guard counts what failed to authenticate.
            response.extensions_mut().insert(refusal);
        }
        response
    }
}

pub(super) async fn no_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_route", "there is no such path: see /docs")
}

pub(super) async fn no_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "this path has no such method: see /docs")
}
