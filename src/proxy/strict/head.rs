//! Whether the bytes of a request head mean one thing to every reader (RFC 9112). Pure functions.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::fields::{Field, Line, Special, is_token, next_line};
use super::{HeadLimits, Violation, host};

/// A head that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its bytes, the empty line and one empty line before it included.
    pub bytes: usize,
    /// How its body ends.
    pub framing: Framing,
}

/// How the body of a request ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes, at least 1.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// Methods are tokens of any length to RFC 9110; nobody has one longer than this, in bytes.
const METHOD_BYTES_MAX: usize = 32;
/// What hyper can hold of a target, in bytes.
const TARGET_BYTES_MAX: usize = 65_534;
/// What hyper can hold of a length: two values mean something else there.
const LENGTH_MAX: u64 = u64::MAX - 2;
/// What hyper can hold of a trailer section, in bytes.
const TRAILER_BYTES_MAX: usize = 16 * 1024 - 1;

/// Bytes of a target before and from its `?`: what RFC 3986 allows and what clients send raw all the same. Not
/// among them: whitespace, controls, bytes above ASCII, and `#`, behind which hyper would stop reading.
const PATH: u8 = 1;
const QUERY: u8 = 2;
static TARGET: [u8; 256] = target_classes();

const fn target_classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0x21;
    while at < 0x7f {
        table[at] = match at as u8 {
            b'#' | b'<' | b'>' => 0,
            b'?' | b'`' => QUERY,
            b'"' => PATH,
            _ => PATH | QUERY,
        };
        at += 1;
    }
    table
}

/// Room for so many fields is made at once: most requests have fewer.
const FIELDS: usize = 12;

/// Looks at the head at the front of `bytes`; `None` while it is not complete.
///
/// # Errors
/// The first rule that it breaks, as soon as that is certain.
#[inline]
pub fn check(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Violation> {
    // One empty line before the request line is a courtesy to old clients (RFC 9112 section 2.2).
    let start = match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => return Ok(None),
        whole => whole,
    };
    let mut rest = start;
    let Some(line) = request_line(&mut rest, limits)? else { return incomplete(start, limits) };
    let mut seen = Seen::default();
    let mut lines = 0;
    loop {
        match next_line(&mut rest)? {
            Line::Field(field) => {
                lines += 1;
                if lines > limits.headers_max {
                    return Err(Violation::HeadTooLarge);
                }
                if let Some(special) = field.special()? {
                    seen.take(special, &field)?;
                }
            }
            Line::End => break,
            Line::Partial => return incomplete(start, limits),
        }
    }
    if start.len() - rest.len() > limits.head_bytes_max {
        return Err(Violation::HeadTooLarge);
    }
    let framing = seen.decide(&line)?;
    Ok(Some(Head { bytes: bytes.len() - rest.len(), framing }))
}

/// The request in the bytes of a head that [`check`] has let through. Fields are not copied: they stay parts of
/// `head`.
///
/// # Errors
/// A target that is well-formed to us but not to whom it is given next.
pub fn read(head: &Bytes) -> Result<Request<()>, Violation> {
    const NOT_UNDERSTOOD: Violation = Violation::BadRequest("not understood");
    let start = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut rest = head.get(start..).unwrap_or_default();
    let mut word = || {
        let end = memchr::memchr2(b' ', b'\r', rest)?;
        let (word, after) = rest.split_at_checked(end)?;
        rest = after.get(1..)?;
        Some(word)
    };
    let (Some(method), Some(target), Some(version)) = (word(), word(), word()) else {
        return Err(NOT_UNDERSTOOD);
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(|_| NOT_UNDERSTOOD)?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| NOT_UNDERSTOOD)?;
    *request.version_mut() = if version == b"HTTP/1.1" { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = HeaderMap::with_capacity(FIELDS);
    rest = rest.strip_prefix(b"\n").ok_or(NOT_UNDERSTOOD)?;
    while let Line::Field(field) = next_line(&mut rest)? {
        field.append_to(&mut headers, head)?;
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn incomplete(head: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Violation> {
    if head.len() >= limits.head_bytes_max { Err(Violation::HeadTooLarge) } else { Ok(None) }
}

/// Looks at the trailer section at the front of `bytes`: how many bytes it has, or `None` while it is not
/// complete.
///
/// # Errors
/// Lines of bad form, and names that decide framing (RFC 9110 section 6.5.1), or too many.
pub fn check_trailers(bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Violation> {
    let bytes_max = limits.head_bytes_max.min(TRAILER_BYTES_MAX);
    let mut rest = bytes;
    let mut lines = 0;
    loop {
        match next_line(&mut rest)? {
            Line::Field(field) => {
                lines += 1;
                if lines > limits.headers_max || bytes.len() - rest.len() > bytes_max {
                    return Err(Violation::HeadTooLarge);
                }
                if field.special()?.is_some() {
                    return Err(Violation::BadRequest("framing header among the trailers"));
                }
            }
            Line::End if bytes.len() - rest.len() > bytes_max => return Err(Violation::HeadTooLarge),
            Line::End => return Ok(Some(bytes.len() - rest.len())),
            Line::Partial if bytes.len() >= bytes_max => return Err(Violation::HeadTooLarge),
            Line::Partial => return Ok(None),
        }
    }
}

/// What the request line says that the headers must agree with.
struct RequestLine<'b> {
    /// The authority of an absolute target.
    authority: Option<&'b [u8]>,
    is_1_1: bool,
}

/// Reads `METHOD SP target SP HTTP/1.x CRLF`, and moves `rest` behind it.
fn request_line<'b>(rest: &mut &'b [u8], limits: &HeadLimits) -> Result<Option<RequestLine<'b>>, Violation> {
    let bytes = *rest;
    let length = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
    if length > METHOD_BYTES_MAX {
        return Err(Violation::BadRequest("ill-formed method"));
    }
    let (method, bytes) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let bytes = match bytes {
        [b' ', bytes @ ..] if length > 0 => bytes,
        [] => return Ok(None),
        _ => return Err(Violation::BadRequest("ill-formed method")),
    };
    let length = target_run(bytes);
    if length > limits.target_bytes_max.min(TARGET_BYTES_MAX) {
        return Err(Violation::UriTooLong);
    }
    let (target, bytes) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let bytes = match bytes {
        [b' ', bytes @ ..] if length > 0 => bytes,
        [] => return Ok(None),
        _ => return Err(Violation::BadRequest("ill-formed request target")),
    };
    let is_1_1 = match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b'\r', b'\n', after @ ..] => {
            *rest = after;
            *minor == b'1'
        }
        _ if b"HTTP/1.1\r\n".starts_with(bytes) || b"HTTP/1.0\r\n".starts_with(bytes) => return Ok(None),
        _ => return Err(Violation::BadRequest("ill-formed or unknown version")),
    };
    let authority = authority(method, target)?;
    Ok(Some(RequestLine { authority, is_1_1 }))
}

/// How many bytes from the front may stand in a target.
#[inline]
fn target_run(bytes: &[u8]) -> usize {
    let path = bytes.iter().position(|byte| TARGET[*byte as usize] & PATH == 0).unwrap_or(bytes.len());
    match bytes.split_at_checked(path) {
        Some((_, query @ [b'?', ..])) => {
            path + query.iter().position(|byte| TARGET[*byte as usize] & QUERY == 0).unwrap_or(query.len())
        }
        _ => path,
    }
}

/// Which of the four forms of a target this is (RFC 9112 section 3.2), and the authority of the absolute one.
#[inline]
fn authority<'b>(method: &[u8], target: &'b [u8]) -> Result<Option<&'b [u8]>, Violation> {
    if method == b"CONNECT" {
        return Err(Violation::BadRequest("CONNECT is for proxies of another kind"));
    }
    match target {
        [b'/', ..] => Ok(None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => {
            let (scheme, rest) = match target.iter().position(|byte| *byte == b':') {
                Some(colon) => target.split_at(colon),
                None => return Err(Violation::BadRequest("ill-formed request target")),
            };
            let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
            let Some(rest) = rest.strip_prefix(b"://").filter(|_| known) else {
                return Err(Violation::BadRequest("ill-formed request target"));
            };
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let authority = rest.get(..end).unwrap_or_default();
            if host::is_well_formed(authority) {
                Ok(Some(authority))
            } else {
                Err(Violation::BadRequest("ill-formed host in the request target"))
            }
        }
    }
}

/// What the headers say about framing.
#[derive(Default)]
struct Seen<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'b> Seen<'b> {
    fn take(&mut self, special: Special, field: &Field<'b>) -> Result<(), Violation> {
        let value = field.value();
        match special {
            Special::Host if self.host.is_some() => return Err(Violation::BadRequest("more than one Host")),
            Special::Host if host::is_well_formed(value) => self.host = Some(value),
            Special::Host => return Err(Violation::BadRequest("ill-formed Host")),
            Special::ContentLength if self.length.is_some() => {
                return Err(Violation::BadRequest("more than one Content-Length"));
            }
            Special::ContentLength => self.length = Some(content_length(value)?),
            Special::TransferEncoding if self.chunked => {
                return Err(Violation::BadRequest("more than one Transfer-Encoding"));
            }
            Special::TransferEncoding if value.eq_ignore_ascii_case(b"chunked") => self.chunked = true,
            Special::TransferEncoding => {
                return Err(Violation::BadRequest("Transfer-Encoding other than chunked"));
            }
            Special::Expect if value.eq_ignore_ascii_case(b"100-continue") => {}
            Special::Expect => return Err(Violation::BadRequest("Expect other than 100-continue")),
        }
        Ok(())
    }

    fn decide(&self, line: &RequestLine<'_>) -> Result<Framing, Violation> {
        match (line.authority, self.host) {
            (_, None) if line.is_1_1 => return Err(Violation::BadRequest("no Host")),
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                return Err(Violation::BadRequest("Host differs from the request target"));
            }
            _ => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Violation::BadRequest("both Transfer-Encoding and Content-Length")),
            (true, None) if !line.is_1_1 => Err(Violation::BadRequest("Transfer-Encoding in HTTP/1.0")),
            (true, None) => Ok(Framing::Chunked),
            (false, None | Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Digits only: no sign, no list, nothing that has to be ignored.
pub fn content_length(value: &[u8]) -> Result<u64, Violation> {
    let number = value.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    match number {
        Some(number) if !value.is_empty() && number <= LENGTH_MAX => Ok(number),
        _ => Err(Violation::BadRequest("ill-formed Content-Length")),
    }
}
