//! The head of an upstream's answer, read so that it means one thing (RFC 9112 sections 4 to 6). Pure.
//!
//! The same rules as for a client's head, and the same rejection of all that is not `CRLF`: an upstream may be
//! made to say what a stranger wants. What an answer may do and a request may not: both `Content-Length` and
//! `Transfer-Encoding` (the chunks count, and the connection is not used again), the same length twice, a body
//! that ends with its connection, bodies that are announced and do not come (HEAD, 204, 304).

use std::sync::LazyLock;

use http::StatusCode;
use memchr::memmem::Finder;

use super::super::message::fields::Fields;
use super::fields::{self, Field, Line, Special, next_line, text_run};
use super::head::content_length;
use super::{HeadLimits, Violation};

/// An answer's head.
#[derive(Debug)]
pub struct AnswerHead {
    /// What came of it.
    pub status: StatusCode,
    /// Every field, as it came.
    pub fields: Fields,
    /// How its body ends.
    pub framing: AnswerFraming,
    /// Whether another request may be sent on the connection behind it.
    pub persistent: bool,
}

/// How the body of an answer ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is none.
    Empty,
    /// After so many bytes, at least 1.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// How many bytes at the front of `bytes` are a head; `None` while it is not complete. What is complete may
/// still break a rule.
///
/// # Errors
/// The first rule that an incomplete head breaks, as far as it has come.
pub fn find(bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Violation> {
    static END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    let end = END.find(bytes).map(|at| at + 4);
    if end.unwrap_or(bytes.len()) > limits.head_bytes_max {
        return Err(Violation::HeadTooLarge);
    }
    if end.is_none() {
        let mut rest = bytes;
        if status_line(&mut rest)?.is_some() {
            while let Line::Field(_) = next_line(&mut rest)? {}
        }
    }
    Ok(end)
}

/// Reads a whole head. `bodiless`: it answers a request whose answer has no body (HEAD).
///
/// # Errors
/// The first rule that it breaks.
pub fn read(head: &[u8], limits: &HeadLimits, bodiless: bool) -> Result<AnswerHead, Violation> {
    const CUT_SHORT: Violation = Violation::BadRequest("head cut short");
    let mut rest = head;
    let line = status_line(&mut rest)?.ok_or(CUT_SHORT)?;
    let mut seen = Seen::default();
    let mut all = Fields::new();
    loop {
        match next_line(&mut rest)? {
            Line::Field(field) => {
                if all.count() >= limits.headers_max {
                    return Err(Violation::HeadTooLarge);
                }
                let repeats = match field.special()? {
                    Some(special) => seen.take(special, &field)?,
                    None => false,
                };
                if !repeats {
                    all.push(field.name(), field.value());
                }
            }
            Line::End if rest.is_empty() => break,
            Line::End | Line::Partial => return Err(CUT_SHORT),
        }
    }
    let framing = seen.decide(&line, bodiless)?;
    let unambiguous = !(seen.chunked && seen.length.is_some());
    let persistent = line.is_1_1
        && unambiguous
        && framing != AnswerFraming::Close
        && !fields::is_among(all.all("connection"), b"close");
    Ok(AnswerHead { status: line.status, fields: all, framing, persistent })
}

struct StatusLine {
    is_1_1: bool,
    status: StatusCode,
}

/// Reads `HTTP/1.x SP status [SP reason] CRLF`, and moves `rest` behind it; `None` while it is not complete.
fn status_line(rest: &mut &[u8]) -> Result<Option<StatusLine>, Violation> {
    const ILL_FORMED: Violation = Violation::BadRequest("ill-formed status line");
    let bytes = *rest;
    let (start, after) = match bytes.split_at_checked(b"HTTP/1.1 200".len()) {
        Some(split) => split,
        None if b"HTTP/1.".starts_with(bytes) || bytes.starts_with(b"HTTP/1.") => return Ok(None),
        None => return Err(ILL_FORMED),
    };
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', code @ ..] = start else {
        return Err(ILL_FORMED);
    };
    let status = StatusCode::from_bytes(code).map_err(|_| ILL_FORMED)?;
    // Anything but controls; tabs too (RFC 9112 section 4).
    let length = match after {
        [b' ', reason @ ..] => 1 + text_run(reason),
        _ => 0,
    };
    match after.get(length..).unwrap_or_default() {
        [b'\r', b'\n', lines @ ..] => *rest = lines,
        [] | [b'\r'] => return Ok(None),
        _ => return Err(ILL_FORMED),
    }
    Ok(Some(StatusLine { is_1_1: *minor == b'1', status }))
}

/// What the headers say about framing.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
}

impl Seen {
    /// Whether the field only says again what has been said.
    fn take(&mut self, special: Special, field: &Field<'_>) -> Result<bool, Violation> {
        match special {
            Special::ContentLength => {
                let length = content_length(field.value())?;
                match self.length.replace(length) {
                    Some(before) if before != length => {
                        return Err(Violation::BadRequest("differing Content-Length"));
                    }
                    before => return Ok(before.is_some()),
                }
            }
            Special::TransferEncoding if self.chunked => {
                return Err(Violation::BadRequest("more than one Transfer-Encoding"));
            }
            Special::TransferEncoding if field.value().eq_ignore_ascii_case(b"chunked") => {
                self.chunked = true;
            }
            // No other was offered, and what cannot be decoded cannot be passed on as what it is.
            Special::TransferEncoding => {
                return Err(Violation::BadRequest("Transfer-Encoding other than chunked"));
            }
            Special::Host | Special::Expect => {}
        }
        Ok(false)
    }

    fn decide(&self, line: &StatusLine, bodiless: bool) -> Result<AnswerFraming, Violation> {
        if self.chunked && !line.is_1_1 {
            return Err(Violation::BadRequest("Transfer-Encoding in HTTP/1.0"));
        }
        let status = line.status;
        if bodiless
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(AnswerFraming::Empty);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => AnswerFraming::Chunked,
            (false, Some(0)) => AnswerFraming::Empty,
            (false, Some(length)) => AnswerFraming::Length(length),
            (false, None) => AnswerFraming::Close,
        })
    }
}
