//! The site that a request is about: the host of the `url` in its query or in its JSON body.
//!
//! **Invariants.** Of a target nothing but its host is ever kept: no path, no query, no user name. A host is at
//! most [`DOMAIN_BYTES_MAX`] bytes, lower-case in ASCII, without port and trailing dot; internationalised names stay
//! as they were written, in UTF-8 or in Punycode. What is no host is none: it is not cut into one.
//!
//! **Deliberately absent:** whether the host exists, and what an upstream makes of a `url` that can be read in two
//! ways. This is for reports; nothing is decided by it.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode;

mod json;
#[cfg(test)]
mod tests;

pub use self::json::JsonScanner;

/// The longest host, in bytes: what DNS can carry (RFC 1035 section 2.3.4).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// What of a target is looked at: scheme, user name, host and port stand in its first bytes.
const LOOKED_AT_BYTES_MAX: usize = 1024;
/// The name of the parameter, and of the field at the top of a JSON body.
const NAME: &str = "url";

/// The host of the first `url` in a query, the text behind the `?` as it was sent.
pub fn in_query(query: &str) -> Option<String> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(name, _)| {
        *name == NAME || (name.contains('%') && percent_decode(name.as_bytes()).eq(NAME.bytes()))
    })?;
    let decoded = percent_decode(value.as_bytes()).take(LOOKED_AT_BYTES_MAX).collect::<Vec<u8>>();
    host(&decoded)
}

/// The host that a URL names, of which `url` is the beginning. Without a scheme (`example.com/page`), a name with a dot
/// in it is taken for one.
pub fn host(url: &[u8]) -> Option<String> {
    let text = url.trim_ascii();
    let authority = match memchr::memmem::find(text, b"://") {
        Some(colon) if is_scheme(&text[..colon]) => until_path(&text[colon + 3..])?,
        _ => match text.strip_prefix(b"//") {
            Some(rest) => until_path(rest)?,
            None => bare(until_path(text)?)?,
        },
    };
    let after_user = authority.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    named(&authority[after_user..])
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// What stands before path, query and fragment; browsers end it at a backslash, too. `None` where it may go on
/// behind what is looked at.
fn until_path(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'));
    match end {
        Some(end) => Some(&text[..end]),
        None => (text.len() <= LOOKED_AT_BYTES_MAX / 2).then_some(text),
    }
}

fn bare(authority: &[u8]) -> Option<&[u8]> {
    (authority.contains(&b'.') && !authority.contains(&b'@')).then_some(authority)
}

/// The host of `host[:port]`.
fn named(text: &[u8]) -> Option<String> {
    if let Some(rest) = text.strip_prefix(b"[") {
        let end = rest.iter().position(|byte| *byte == b']')?;
        is_port(&rest[end + 1..]).then_some(())?;
        let address: Ipv6Addr = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    let (name, port) = text.split_at(end);
    is_port(port).then_some(())?;
    let mut name = String::from_utf8(percent_decode(name).collect()).ok()?;
    if name.ends_with('.') {
        name.pop();
    }
    if name.is_empty() || name.len() > DOMAIN_BYTES_MAX || name.contains(is_forbidden) {
        return None;
    }
    name.make_ascii_lowercase();
    Some(name)
}

/// `:443`, `:` or nothing.
fn is_port(text: &[u8]) -> bool {
    text.strip_prefix(b":").map_or(text.is_empty(), |digits| digits.iter().all(u8::is_ascii_digit))
}

/// The forbidden domain code points of the URL standard (url.spec.whatwg.org, section 3.2), and every other
/// control character and blank.
fn is_forbidden(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || matches!(
            character,
            '#' | '%'
                | '/'
                | ':'
                | '<'
                | '>'
                | '?'
                | '@'
                | '['
                | '\\'
                | ']'
                | '^'
                | '|'
                | '"'
                | '`'
                | '{'
                | '}'
        )
}
