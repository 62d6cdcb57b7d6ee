//! `soft_fail=true`, for clients of Piloterr that take every other status for their own failure: an upstream's 404
//! becomes a 200 whose body has an `error`. What is logged and billed is the 404 (docs.piloterr.com, "Status Code").
//!
//! The upstream is not told: one that knew it would answer 200 by itself, and nobody could tell any more.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use crate::config::{Dialect, Route};
use crate::pipeline::credentials::{self, Query};
use crate::pipeline::verdict::Ending;

use super::exchange::Exchange;
use super::relay::Answer;
use super::upload::Upload;
use super::upstream::answer::AnswerBody;

const NAME: &str = "soft_fail";
/// What a 404 says that says nothing itself.
const NOTHING_SAID: &str = "Not Found";

/// Whether the client of a route asks for it.
pub fn is_asked(route: &Route, query: Option<&str>) -> bool {
    route.dialect == Dialect::Piloterr
        && query.is_some_and(|query| query.split('&').any(|pair| pair == "soft_fail=true"))
}

/// What is left of a query without it.
pub fn strip(query: Option<&str>, left: Query) -> Query {
    match left {
        Query::Unchanged => credentials::without(query.unwrap_or_default(), NAME),
        Query::Rest(rest) => credentials::without(&rest, NAME),
        Query::Gone => Query::Gone,
    }
}

/// Whether an answer of this status is softened.
pub fn is_failure(status: StatusCode) -> bool {
    status == StatusCode::NOT_FOUND
}

/// The whole body of a 404, of at most so many bytes that the route looks into; empty where it is longer, or could
/// not be looked into. `None` where it breaks off or stands still.
pub async fn collect(
    exchange: &Exchange,
    response: Response<AnswerBody<Upload>>,
    stall: Duration,
) -> Option<Response<Bytes>> {
    let most = exchange.known.route.as_ref().map_or(0, |(_, route)| route.inspect_bytes_max);
    let (parts, mut body) = response.into_parts();
    let due = exchange.core().deadlines.watch(stall);
    let mut said = Vec::new();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = due.expired() => return None,
        };
        due.extend(stall);
        let Some(frame) = frame else { break };
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if said.len() + data.len() > most {
            said.clear();
            break;
        }
        said.extend_from_slice(&data);
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        said.clear();
    }
    Some(Response::from_parts(parts, said.into()))
}

/// The answer in the place of a 404, at the end of its exchange.
pub fn answer(mut exchange: Box<Exchange>, response: Response<Bytes>) -> Response<Answer> {
    let (mut parts, said) = response.into_parts();
    let text = softened(&said);
    // The cost may stand in what the upstream said, and that is in it.
    exchange.inspect_body();
    exchange.passed(&text);
    exchange.finish(Ending::Whole);
    parts.status = StatusCode::OK;
    for about_the_body in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LAST_MODIFIED] {
        parts.headers.remove(about_the_body);
    }
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Answer::text(text))
}

/// What was said, where that was an object, with an `error` in any case.
fn softened(said: &[u8]) -> Bytes {
    let mut object: Map<String, Value> = serde_json::from_slice(said).unwrap_or_default();
    if object.get("error").is_none_or(Value::is_null) {
        object.insert("error".to_owned(), NOTHING_SAID.into());
    }
    Value::Object(object).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_stays_and_an_error_is_there_in_any_case() {
        for (said, expected) in [
            (r#"{"error":"Company not found"}"#, r#"{"error":"Company not found"}"#),
            (r#"{"error":{"code":7}}"#, r#"{"error":{"code":7}}"#),
            (r#"{"error":null,"query":"x"}"#, r#"{"error":"Not Found","query":"x"}"#),
            (r#"{"query":"x"}"#, r#"{"query":"x","error":"Not Found"}"#),
            (r#"["x"]"#, r#"{"error":"Not Found"}"#),
            ("<h1>Not Found</h1>", r#"{"error":"Not Found"}"#),
            (r#"{"error":"#, r#"{"error":"Not Found"}"#),
            ("", r#"{"error":"Not Found"}"#),
        ] {
            assert_eq!(softened(said.as_bytes()), expected, "{said}");
        }
    }

    #[test]
    fn the_upstream_is_not_told() {
        for (query, left, expected) in [
            ("soft_fail=true", Query::Unchanged, Query::Gone),
            ("a=1&soft_fail=true&b=2", Query::Unchanged, Query::Rest("a=1&b=2".into())),
            ("soft_fail=true&key=k&a=1", Query::Rest("soft_fail=true&a=1".into()), Query::Rest("a=1".into())),
            ("soft_fail=true&soft%5Ffail=true", Query::Unchanged, Query::Gone),
            ("key=k", Query::Gone, Query::Gone),
        ] {
            assert_eq!(strip(Some(query), left), expected, "{query}");
        }
    }
}
