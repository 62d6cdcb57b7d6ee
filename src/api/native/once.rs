//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): who repeats a creation, not knowing whether it was
//! done, is given the answer of the first time, for [`KEPT_FOR`].
//!
//! | what happens | what the repetition is answered |
//! |---|---|
//! | the first is under way | 409 `repeated_too_early` |
//! | the first was done | the same answer, with `Idempotency-Replayed: true` |
//! | the first was refused | it is tried again: nothing was done |
//! | the first ended with the process | 409 until [`LEASE`] is over, then it is tried again: names are unique |
//! | the same name with another request | 422 `name_of_another_request` |
//! | the answer was kept by a process with another `session.secret` | 409 `answer_lost`: it was done |
//!
//! A kept answer may hold a secret. It is sealed under a key that is not in the record, and of the name itself only
//! the digest is kept.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Problem;
use super::body::Input;
use super::call::Call;
use crate::domain::secret::Digest;
use crate::stores::record::{Attempt, Attempted, Seen};

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long a creation may be under way.
const LEASE: Duration = Duration::from_secs(60);
/// Answers kept of one caller.
const ANSWERS_MAX: u64 = 1_000;
/// The longest name of a request, in bytes.
const NAME_BYTES_MAX: usize = 255;

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a creation answers: 201.
#[derive(Serialize, Deserialize)]
pub(super) struct Made {
    location: String,
    tag: Option<String>,
    body: Value,
}

impl Made {
    /// A thing that was made, found at `location`.
    pub fn new(location: String, seen: Option<Seen>, body: &impl Serialize) -> Self {
        let body = serde_json::to_value(body).unwrap_or_default();
        Self { location, tag: seen.map(|seen| format!("\"{}\"", seen.0)), body }
    }

    fn answer(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.location.parse().map(|location: HeaderValue| (LOCATION, location)));
        headers.extend(self.tag.iter().filter_map(|tag| Some((ETAG, tag.parse().ok()?))));
        response
    }
}

/// Makes a thing, once for each name that the caller gives its request. `path` is what is asked for.
pub(super) async fn once(
    call: &Call,
    path: &str,
    input: &Input,
    make: impl AsyncFnOnce() -> Result<Made, Problem>,
) -> Result<Response, Problem> {
    let Some(name) = name(call)? else { return Ok(make().await?.answer()) };
    let caller = call.actor().who;
    let asked = [Method::POST.as_str(), path, ""].join("\n");
    let request = Digest::of(&[asked.as_bytes(), &input.bytes].concat());
    let attempt = Attempt { caller: &caller, name: Digest::of(name), request };
    let now = call.now();
    let record = call.record();
    match record.attempt(&attempt, now.plus(LEASE), ANSWERS_MAX, now).await? {
        Attempted::First => {}
        Attempted::Answered(sealed) => return replay(call, &attempt, &sealed),
        Attempted::UnderWay => {
            return Err(conflict("repeated_too_early", "the first request of this name is under way: wait"));
        }
        Attempted::Another => {
            let detail = "this name was given to another request: choose a new one";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "name_of_another_request", detail).at("Idempotency-Key"));
        }
        Attempted::TooMany => {
            let detail = "too many named requests in 24 hours: send this one without Idempotency-Key";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_names", detail));
        }
    }
    let made = make().await;
    let kept = match &made {
        Ok(made) => {
            let plain = serde_json::to_vec(made).unwrap_or_default();
            let sealed = call.native.seal.seal(&plain, &about(&attempt))?;
            record.answered(&attempt, Some((&sealed, now.plus(KEPT_FOR)))).await
        }
        Err(_) => record.answered(&attempt, None).await,
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "an answer could not be kept: its repetition is refused for a minute");
    }
    Ok(made?.answer())
}

fn replay(call: &Call, attempt: &Attempt<'_>, sealed: &[u8]) -> Result<Response, Problem> {
    let plain = call.native.seal.open(sealed, &about(attempt));
    let made: Option<Made> = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
    let lost = || conflict("answer_lost", "this was done, and its answer cannot be shown again");
    let mut response = made.ok_or_else(lost)?.answer();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// What a sealed answer is about: nobody can put it in the place of another.
fn about(attempt: &Attempt<'_>) -> Vec<u8> {
    [attempt.caller.as_bytes(), &attempt.name.0, &attempt.request.0].concat()
}

fn name(call: &Call) -> Result<Option<&[u8]>, Problem> {
    let mut names = call.headers.get_all(NAME).into_iter();
    let Some(name) = names.next() else { return Ok(None) };
    let name = name.as_bytes();
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    if !fits || names.next().is_some() {
        let advice = format!("give one name of 1 to {NAME_BYTES_MAX} visible ASCII characters");
        return Err(Problem::invalid("Idempotency-Key", advice));
    }
    Ok(Some(name))
}

fn conflict(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail)
}
