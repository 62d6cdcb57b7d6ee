//! Refusals as responses.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode, Version};

use crate::api::dialect::refusal_body;
use crate::clock;
use crate::domain::refusal::Refusal;

use super::exchange::Exchange;
use super::message::outgoing::put_fields;
use super::own;
use super::relay::Answer;

/// Ends the exchange with `refusal`, and is what the client is sent.
pub fn respond(mut exchange: Box<Exchange>, refusal: Refusal, version: Version) -> Response<Answer> {
    let body = refusal_body(exchange.known.dialect, refusal, exchange.id);
    exchange.refuse(refusal, body.len());
    tracing::debug!(code = refusal.code(), request = %exchange.id, "refused");
    let mut response = Response::new(Answer::text(body));
    *response.status_mut() = status(refusal);
    let headers = response.headers_mut();
    set_headers(headers, &exchange, refusal);
    if closes(refusal) && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn set_headers(headers: &mut HeaderMap, exchange: &Exchange, refusal: Refusal) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let now = clock::now();
    own::set_for_client(headers, exchange, now);
    if let Some(seconds) = refusal.retry_after(now) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if refusal.status() == 401 {
        // RFC 9110 section 11.6.1 wants a challenge on every 401.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// A whole HTTP/1.1 response as bytes, for a head that never became a request. The connection closes after it.
pub fn raw(mut exchange: Box<Exchange>, refusal: Refusal, bodiless: bool) -> Bytes {
    let body = refusal_body(exchange.known.dialect, refusal, exchange.id);
    exchange.refuse(refusal, if bodiless { 0 } else { body.len() });
    let mut headers = HeaderMap::new();
    set_headers(&mut headers, &exchange, refusal);
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let status = status(refusal);
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
    put_fields(&mut text, &headers);
    text.extend_from_slice(b"\r\n");
    if !bodiless {
        text.extend_from_slice(&body);
    }
    text.into()
}

fn status(refusal: Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Whether what is left of the request on the connection can no longer be trusted or is not worth reading.
const fn closes(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::BadRequest | Refusal::BodyTooLarge | Refusal::BodyTimeout | Refusal::HeadTimeout
    )
}
