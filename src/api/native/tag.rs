//! `ETag` and `If-Match` (RFC 9110, section 13.1.1): who changes a thing may say which it has seen.
//!
//! A tag names the settings of a thing. Counts, such as a key's requests, are no settings: they change with every
//! use, and an edit overwrites none of them.

use http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH};
use http::{HeaderMap, StatusCode};

use super::Problem;
use crate::stores::record::Seen;

/// The header of an answer that shows a thing.
pub(super) fn tag(seen: &Seen) -> [(HeaderName, HeaderValue); 1] {
    // Hexadecimal digits make a header value.
    let value = HeaderValue::from_str(&format!("\"{}\"", seen.0));
    [(ETAG, value.unwrap_or_else(|_| HeaderValue::from_static("\"\"")))]
}

/// What the caller has seen, where it says so; `now` is how the thing is now.
///
/// # Errors
/// 412 where it is none of those.
pub(super) fn seen(headers: &HeaderMap, now: Seen) -> Result<Option<Seen>, Problem> {
    let mut named = false;
    for value in headers.get_all(IF_MATCH) {
        named = true;
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            // A weak tag matches nothing here.
            if tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&now.0) {
                return Ok(Some(now));
            }
        }
    }
    if named {
        let detail = "it has changed since: read it again";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "stale", detail));
    }
    Ok(None)
}
