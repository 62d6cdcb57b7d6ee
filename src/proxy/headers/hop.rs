//! What ends at this hop (RFC 9110 section 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::message::fields::Fields;
use super::identity::{is_account, is_identity};
use super::remove_where;

/// The longest wait that an answer may ask of a client, in seconds: client libraries sleep what it says.
const RETRY_AFTER_SECONDS_MAX: u32 = 60;

/// Whether a request asks to become a WebSocket (RFC 6455 section 4.1). No other protocol is offered to an
/// upstream: `h2c` would open a way around every check.
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).into_iter();
    let websocket = protocols.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    websocket && protocols.next().is_none() && has_option(headers, &CONNECTION, b"upgrade")
}

/// Makes a request's fields fit to be sent on: removes what ends at this hop and every spelling of what only
/// the gateway may say ([`own`](crate::proxy::own) writes those after).
///
/// `TE` is kept as `trailers`, `Upgrade` only with `upgrade`. `Transfer-Encoding` goes: the body is framed anew.
/// `Expect` goes: the gateway has met it itself.
pub fn clean_request(headers: &mut HeaderMap, upgrade: bool) {
    let trailers = headers.contains_key(TE) && has_option(headers, &TE, b"trailers");
    for name in named_by_connection(headers.get_all(CONNECTION).into_iter().map(HeaderValue::as_bytes)) {
        headers.remove(name);
    }
    remove_where(headers, |name| ends_here(name) || name == "expect" || is_identity(name));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if upgrade {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Joins the cookies that HTTP/2 lets a client split over several fields: HTTP/1.1 allows one `Cookie` (RFC 9113
/// section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// Makes an answer's fields fit for the client: removes what ends at this hop, what the gateway sets itself,
/// and what describes the operator's account with the upstream (the list is in `identity::is_account`). Read what
/// an answer cost before.
///
/// `switching`: the answer is a 101 to a request that asked for it. `Retry-After` stays, as whole seconds of
/// at most a minute.
pub fn clean_response(fields: &mut Fields, switching: bool) {
    let protocol = if switching { fields.all("upgrade").next().map(<[u8]>::to_vec) } else { None };
    // The chunks have been read, and their length is what counts (RFC 9112 section 6.3).
    let chunked = fields.has("transfer-encoding");
    let named = named_by_connection(fields.all("connection"));
    fields.remove_where(|name| {
        ends_here(name)
            || is_account(name)
            || (chunked && name == "content-length")
            || named.iter().any(|named| named == name)
    });
    if let Some(protocol) = protocol {
        fields.set("upgrade", &protocol);
        fields.set("connection", b"upgrade");
    }
    if fields.has("retry-after") {
        bound_retry_after(fields);
    }
}

/// A date, or more than a minute, crashes or parks client libraries that take it at its word.
fn bound_retry_after(fields: &mut Fields) {
    let seconds = fields.text("retry-after").and_then(|value| value.trim().parse::<u32>().ok());
    let bounded = seconds.map_or(RETRY_AFTER_SECONDS_MAX, |seconds| seconds.min(RETRY_AFTER_SECONDS_MAX));
    fields.set("retry-after", bounded.to_string().as_bytes());
}

/// Trailers as they may be sent on: without what frames or routes a message, authenticates it or changes how
/// its content is read (RFC 9110 section 6.5.1), without credentials and without what only the gateway says.
pub fn clean_trailers(mut trailers: HeaderMap) -> HeaderMap {
    remove_where(&mut trailers, |name| {
        ends_here(name) || never_in_trailers(name) || is_identity(name) || is_account(name)
    });
    trailers
}

/// Fields that are about one connection.
fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn never_in_trailers(name: &str) -> bool {
    let framing =
        name.starts_with("content-") || name.starts_with("if-") || name.starts_with("access-control-");
    framing
        || matches!(
            name,
            "host"
                | "trailer"
                | "expect"
                | "max-forwards"
                | "cache-control"
                | "pragma"
                | "range"
                | "authorization"
                | "www-authenticate"
                | "x-api-key"
                | "cookie"
                | "set-cookie"
                | "age"
                | "date"
                | "expires"
                | "location"
                | "retry-after"
                | "vary"
                | "warning"
        )
}

/// The fields that `Connection` names and that end here, but for those that no sender may name there as they describe
/// the content or the target (RFC 9110 section 7.6.1): naming them is an attack, not a wish.
fn named_by_connection<'v>(values: impl Iterator<Item = &'v [u8]>) -> Vec<HeaderName> {
    let mut named: Vec<HeaderName> = Vec::new();
    for value in values {
        for option in options(value) {
            // The usual ones name nothing, or a field that goes anyway.
            let usual = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
            if usual.iter().any(|usual| option.eq_ignore_ascii_case(usual)) {
                continue;
            }
            named.extend(HeaderName::from_bytes(option));
        }
    }
    named.retain(|name| {
        let described = *name == HOST || *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
        !described && !name.as_str().starts_with("content-")
    });
    named
}

fn has_option(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    headers
        .get_all(name)
        .into_iter()
        .map(HeaderValue::as_bytes)
        .flat_map(options)
        .any(|option| option.eq_ignore_ascii_case(wanted))
}

/// The members of a list field, without parameters.
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(|member| member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
        .filter(|member| !member.is_empty())
}
