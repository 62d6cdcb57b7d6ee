//! The head of an answer as text, and how its content is framed. Pure, but for the date.

use std::cell::RefCell;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{StatusCode, response};
use http_body::SizeHint;

use crate::domain::time::Timestamp;

use super::super::message::outgoing::{Framing, put_line};

/// Room for most heads with the content of a small answer.
const HEAD_BYTES: usize = 2048;

/// What the request and the connection ask of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// It answers HEAD: it has no content.
    pub bodiless: bool,
    /// The client speaks HTTP/1.0.
    pub old: bool,
    /// Another request may follow.
    pub persistent: bool,
}

/// The head of an answer, and how its content is framed: `None`, it has none. Where the content can only end with
/// the connection, `terms` are changed to that.
pub fn text(
    parts: &response::Parts,
    content: &SizeHint,
    terms: &mut Terms,
    now: impl FnOnce() -> Timestamp,
) -> (Vec<u8>, Option<Framing>) {
    let status = parts.status;
    let without = status.is_informational() || status == StatusCode::NO_CONTENT;
    let framing = match content.exact() {
        Some(length) => Framing::Length(length),
        None if terms.old => Framing::Close,
        None => Framing::Chunked,
    };
    let sent = !(terms.bodiless || without || status == StatusCode::NOT_MODIFIED);
    terms.persistent &= !sent || framing != Framing::Close;

    let mut text = Vec::with_capacity(HEAD_BYTES);
    text.extend_from_slice(if terms.old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    // What frames the content is written by us alone. Where there is none, the length that it would have passes.
    let length_passes = !sent && !without;
    let mut dated = false;
    for (name, value) in &parts.headers {
        if *name == TRANSFER_ENCODING || (*name == CONTENT_LENGTH && !length_passes) {
            continue;
        }
        if *name == CONNECTION && !status.is_informational() {
            continue;
        }
        dated |= *name == DATE;
        put_line(&mut text, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Length(length) if sent || (length > 0 && length_passes) => {
            put_line(&mut text, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked if sent => put_line(&mut text, "transfer-encoding", b"chunked"),
        _ => {}
    }
    if !status.is_informational() {
        if !terms.persistent {
            put_line(&mut text, "connection", b"close");
        } else if terms.old {
            put_line(&mut text, "connection", b"keep-alive");
        }
        if !dated {
            put_date(&mut text, now());
        }
    }
    text.extend_from_slice(b"\r\n");
    (text, sent.then_some(framing))
}

/// The date as RFC 9110 section 5.6.7 has it, made once a second.
fn put_date(text: &mut Vec<u8>, now: Timestamp) {
    thread_local! {
        static DATE_TEXT: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = now.micros() / 1_000_000;
    DATE_TEXT.with_borrow_mut(|(made, date)| {
        if *made != second {
            let at = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
            *date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            *made = second;
        }
        put_line(text, "date", date.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    /// One line each: what is answered, its content and the terms; then the head.
    #[test]
    fn what_frames_an_answer_is_written_by_us() {
        let [some, none, open] = [SizeHint::with_exact(5), SizeHint::with_exact(0), SizeHint::default()];
        let usual = Terms { bodiless: false, old: false, persistent: true };
        let head = Terms { bodiless: true, ..usual };
        let old = Terms { old: true, ..usual };
        let last = Terms { persistent: false, ..usual };
        let length = ("content-length", "005");
        for (status, field, content, terms, expected, framing) in [
            (200, length, &some, usual, "1.1 200 OK|content-length: 5", Some(Framing::Length(5))),
            (
                200,
                length,
                &some,
                last,
                "1.1 200 OK|content-length: 5|connection: close",
                Some(Framing::Length(5)),
            ),
            (200, ("te", "x"), &none, usual, "1.1 200 OK|te: x|content-length: 0", Some(Framing::Length(0))),
            (200, length, &open, usual, "1.1 200 OK|transfer-encoding: chunked", Some(Framing::Chunked)),
            (
                200,
                ("transfer-encoding", "x"),
                &open,
                usual,
                "1.1 200 OK|transfer-encoding: chunked",
                Some(Framing::Chunked),
            ),
            (200, length, &open, old, "1.0 200 OK|connection: close", Some(Framing::Close)),
            (
                200,
                length,
                &some,
                old,
                "1.0 200 OK|content-length: 5|connection: keep-alive",
                Some(Framing::Length(5)),
            ),
            (
                200,
                ("connection", "x"),
                &none,
                usual,
                "1.1 200 OK|content-length: 0",
                Some(Framing::Length(0)),
            ),
            (299, ("x", "y"), &none, usual, "1.1 299 |x: y|content-length: 0", Some(Framing::Length(0))),
            // No content: the length that there would have been passes.
            (200, length, &none, head, "1.1 200 OK|content-length: 005", None),
            (200, ("x", "y"), &none, head, "1.1 200 OK|x: y", None),
            (401, ("x", "y"), &some, head, "1.1 401 Unauthorized|x: y|content-length: 5", None),
            (
                200,
                ("x", "y"),
                &open,
                Terms { bodiless: true, ..old },
                "1.0 200 OK|x: y|connection: keep-alive",
                None,
            ),
            (304, length, &none, usual, "1.1 304 Not Modified|content-length: 005", None),
            (204, length, &none, usual, "1.1 204 No Content", None),
            (
                101,
                ("connection", "upgrade"),
                &none,
                usual,
                "1.1 101 Switching Protocols|connection: upgrade",
                None,
            ),
        ] {
            let mut answer = Response::builder().status(status).header(field.0, field.1).body(()).unwrap();
            if status != 101 {
                answer.headers_mut().insert("date", http::HeaderValue::from_static("d"));
            }
            let mut terms = terms;
            let (parts, ()) = answer.into_parts();
            let (text, found) = text(&parts, content, &mut terms, || Timestamp::from_seconds(0));
            let text = String::from_utf8(text).unwrap().replace("date: d\r\n", "");
            let lines = text.strip_prefix("HTTP/").unwrap().trim_end_matches("\r\n").replace("\r\n", "|");
            assert_eq!((&*lines, found), (expected, framing), "{status} {field:?} {content:?} {terms:?}");
        }
    }

    #[test]
    fn an_answer_without_a_date_gets_one() {
        let (parts, ()) = Response::new(()).into_parts();
        let mut terms = Terms { bodiless: false, old: false, persistent: true };
        for (second, date) in
            [(0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT")]
        {
            let now = || Timestamp::from_seconds(second);
            let (text, _) = text(&parts, &SizeHint::with_exact(0), &mut terms, now);
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with(&format!("\r\ndate: {date}\r\n\r\n")), "{text}");
        }
    }
}
