//! The fields that the gateway itself writes: to an upstream, who is calling; to a client, where its limits stand.
//!
//! They are many, on every request, so they go straight into the text of a head where that is ours, and into a map
//! only where another has it: HTTP/2's, or a refusal's. What the other side says under these names has been removed
//! ([`clean_request`](headers::clean_request), [`clean_response`](headers::clean_response)), so that each is there
//! once.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::domain::time::Timestamp;
use crate::pipeline::ratelimit;

use super::exchange::Exchange;
use super::headers::{self, Forwarded};
use super::message::outgoing::put_line;

/// Writes who is calling, and from where; `false` where a name could not stand in a field. Names are checked where
/// they are given, so that happens only with a record or configuration that somebody else wrote.
#[must_use]
pub fn put_identity(text: &mut Vec<u8>, exchange: &Exchange, forwarded: &Forwarded) -> bool {
    forwarded.tell(|name, value| put_line(text, name, value.as_bytes()));
    put_id(text, headers::REQUEST_ID, exchange.id.0);
    let Some(caller) = exchange.caller() else { return true };
    let grant = &caller.key.grant;
    put_id(text, headers::KEY_ID, grant.id.0);
    let names = [
        (headers::ORGANIZATION, caller.organization.id.as_str()),
        (headers::PROJECT, grant.project.as_str()),
        (headers::PLAN, &caller.organization.plan),
    ];
    names.into_iter().for_each(|(name, value)| put_line(text, name, value.as_bytes()));
    names.into_iter().all(|(_, value)| value.bytes().all(|byte| matches!(byte, b' '..=b'~')))
}

fn put_id(text: &mut Vec<u8>, name: &str, id: Uuid) {
    put_line(text, name, id.as_hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
}

/// Hands what a client is told with every answer, names in lower case, to `tell`.
pub fn tell_client(exchange: &Exchange, now: Timestamp, mut tell: impl FnMut(&'static str, &str)) {
    tell(headers::REQUEST_ID, exchange.id.0.as_hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]));
    if let Some(standing) = &exchange.known.standing {
        ratelimit::headers(standing, now, tell);
    }
}

/// As [`tell_client`], into a map.
pub fn set_for_client(headers: &mut HeaderMap, exchange: &Exchange, now: Timestamp) {
    tell_client(exchange, now, |name, value| {
        headers.extend(HeaderValue::from_str(value).map(|value| (HeaderName::from_static(name), value)));
    });
}
