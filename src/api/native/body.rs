//! Bodies and queries of calls: bytes first, what they say once the caller may say it.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{Native, Problem};
use crate::api::json::{self, Misread};
use crate::domain::time::Timestamp;

/// A body of JSON, not yet read.
pub(super) struct Input {
    pub bytes: Bytes,
    json: bool,
}

impl FromRequest<Native> for Input {
    type Rejection = Problem;

    async fn from_request(request: Request, native: &Native) -> Result<Self, Problem> {
        let json = is_json(&request);
        let bytes = Bytes::from_request(request, native).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(
                axum::extract::rejection::FailedToBufferBody::LengthLimitError(_),
            ) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too large"),
            _ => Problem::new(StatusCode::BAD_REQUEST, "bad_request", "the body did not arrive whole"),
        })?;
        Ok(Self { bytes, json })
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl Input {
    /// What the body says.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.json {
            let detail = "send the body as JSON, with `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        json::read(&self.bytes).map_err(|misread| match misread {
            Misread::Field { path, why } if path.is_empty() => Problem::invalid(unknown_field(&why), why),
            Misread::Field { path, why } => Problem::invalid(path, why),
            Misread::Malformed(error) => malformed(&error),
        })
    }
}

/// The field that serde names itself, where the path ends before it.
fn unknown_field(text: &str) -> String {
    let quoted = text
        .split('`')
        .nth(1)
        .filter(|_| text.starts_with("unknown field") || text.starts_with("missing field"));
    quoted.unwrap_or("body").to_owned()
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is no JSON: {error}"))
}

/// The parameters of a query.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Native> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, native: &Native) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, native).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text =
                    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text).to_owned();
                let field = match text.split_once(": ") {
                    Some((field, _)) if !field.contains(' ') => field.to_owned(),
                    _ => unknown_field(&text),
                };
                Err(Problem::invalid(field, text))
            }
        }
    }
}

/// A field that may be left out (as it was), be null (none), or hold something.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// An instant in RFC 3339.
pub(super) fn instant(field: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).map_err(|why| Problem::invalid(field, why))
}
