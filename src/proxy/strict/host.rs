//! The form of `Host` and of the authority in an absolute target.

use std::net::Ipv6Addr;

/// Whether `value` is `host` or `host:port` (RFC 9112 section 3.2).
///
/// Narrower than RFC 3986's `reg-name`: no percent-encoding and no sub-delimiters, which no name in use has and
/// programs decode differently; no user information; and not empty, which RFC 9110 section 4.2.1 has refused.
pub fn is_well_formed(value: &[u8]) -> bool {
    if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (literal, port) = rest.split_at(end);
        let literal = std::str::from_utf8(literal).ok().map(str::parse::<Ipv6Addr>);
        return matches!(literal, Some(Ok(_))) && is_port(port.get(1..).unwrap_or_default());
    }
    let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
    let (name, port) = value.split_at(end);
    !name.is_empty() && name.iter().all(|byte| is_name_byte(*byte)) && is_port(port)
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Nothing, or a colon and a port number.
fn is_port(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b":") else { return text.is_empty() };
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    });
    !digits.is_empty() && digits.len() <= 5 && number.is_some_and(|number| number <= 65_535)
}
