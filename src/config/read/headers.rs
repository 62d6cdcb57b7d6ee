//! Header names that a setting may not claim.

use http::{HeaderName, HeaderValue};

use crate::config::field::Field;

/// Headers that frame a message or name its next hop (RFC 9110 section 7.6.1, RFC 9112), and `Host`.
const OF_THE_CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a header of any kind.
pub(super) fn name(field: &Field<'_>, text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok().or_else(|| {
        field
            .wrong(format!("{text:?} is not a header name"), "use letters, digits and `-`, such as x-api-key")
    })
}

/// The name of a header that carries a credential, of a client or of the gateway.
pub(super) fn credential_name(field: &Field<'_>, text: &str) -> Option<HeaderName> {
    let name = name(field, text)?;
    let word = name.as_str();
    if OF_THE_CONNECTION.contains(&word) {
        return field.wrong(
            format!("`{word}` belongs to the connection and cannot carry a credential"),
            "use authorization, or a name such as x-api-key",
        );
    }
    let ours = ["x-tollgate-", "x-forwarded-"].iter().any(|prefix| word.starts_with(prefix));
    if ours || word == "x-request-id" || word == "forwarded" {
        return field.wrong(
            format!("`{word}` is set by the gateway itself and cannot carry a credential"),
            "use authorization, or a name such as x-api-key",
        );
    }
    Some(name)
}

/// Whether `text` may stand in a header.
pub(super) fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && HeaderValue::from_str(text).is_ok()
        && text.trim() == text
}

/// The name of a query parameter that carries a credential.
pub(super) fn query_name(field: &Field<'_>, text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        let advice = "use up to 64 letters, digits and `-_.~`, such as x_api_key";
        return field.is_not("the name of a query parameter that needs no encoding", Some(advice));
    }
    Some(text.to_owned())
}
