//! The head of an answer as text, and how its content is framed. Pure, but for the date.

use std::cell::RefCell;

use http::{StatusCode, response};
use http_body::SizeHint;

use crate::domain::time::Timestamp;

use super::super::message::fields::Fields;
use super::super::message::outgoing::{Framing, put_line};
use super::super::message::text;

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

/// Content that has a word to say in its answer's head.
pub trait InHead {
    /// The fields that came with it.
    fn fields(&self) -> Option<&Fields>;

    /// Writes lines that stand nowhere else.
    fn put_own_fields(&self, text: &mut Vec<u8>);
}

/// The head of an answer, with what its `body` adds to it, and how its content is framed: `None`, it has none. Where
/// the content can only end with the connection, `terms` are changed to that.
pub fn text(
    parts: &response::Parts,
    content: &SizeHint,
    terms: &mut Terms,
    body: &impl InHead,
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

    let mut text = text::take();
    text.extend_from_slice(if terms.old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    // What frames the content is written by us alone. Where there is none, the length that it would have passes.
    let length_passes = !sent && !without;
    let mut dated = false;
    let mut passes = |name: &str| {
        dated |= name == "date";
        match name {
            "transfer-encoding" => false,
            "content-length" => length_passes,
            "connection" => status.is_informational(),
            _ => true,
        }
    };
    for (name, value) in &parts.headers {
        if passes(name.as_str()) {
            put_line(&mut text, name.as_str(), value.as_bytes());
        }
    }
    if let Some(fields) = body.fields() {
        fields.put(&mut text, passes);
    }
    body.put_own_fields(&mut text);
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

    impl InHead for () {
        fn fields(&self) -> Option<&Fields> {
            None
        }
        fn put_own_fields(&self, _: &mut Vec<u8>) {}
    }

    const USUAL: Terms = Terms { bodiless: false, old: false, persistent: true };
    const HEAD: Terms = Terms { bodiless: true, ..USUAL };
    const OLD: Terms = Terms { old: true, ..USUAL };
    const LAST: Terms = Terms { persistent: false, ..USUAL };
    const LENGTH: (&str, &str) = ("content-length", "005");
    const OTHER: (&str, &str) = ("x", "y");

    /// The head of an answer with this field, its lines divided by bars and without the date.
    fn head(
        status: u16,
        field: (&str, &str),
        length: Option<u64>,
        mut terms: Terms,
    ) -> (String, Option<Framing>) {
        let answer = Response::builder().status(status).header(field.0, field.1).header("date", "d");
        let (parts, ()) = answer.body(()).unwrap().into_parts();
        let content = length.map_or_else(SizeHint::default, SizeHint::with_exact);
        let (text, framing) = text(&parts, &content, &mut terms, &(), || Timestamp::from_seconds(0));
        let text = String::from_utf8(text).unwrap().replace("date: d\r\n", "");
        (text.strip_suffix("\r\n\r\n").unwrap().replace("\r\n", "|"), framing)
    }

    #[test]
    fn what_frames_an_answer_is_written_by_us() {
        let (five, none) = (Some(Framing::Length(5)), Some(Framing::Length(0)));
        let (chunked, close) = (Some(Framing::Chunked), Some(Framing::Close));
        let coding = ("transfer-encoding", "x");
        for (status, field, length, terms, expected, framing) in [
            (200, LENGTH, Some(5), USUAL, "1.1 200 OK|content-length: 5", five),
            (200, LENGTH, Some(5), LAST, "1.1 200 OK|content-length: 5|connection: close", five),
            (200, OTHER, Some(0), USUAL, "1.1 200 OK|x: y|content-length: 0", none),
            (200, LENGTH, None, USUAL, "1.1 200 OK|transfer-encoding: chunked", chunked),
            (200, coding, None, USUAL, "1.1 200 OK|transfer-encoding: chunked", chunked),
            (200, LENGTH, None, OLD, "1.0 200 OK|connection: close", close),
            (200, LENGTH, Some(5), OLD, "1.0 200 OK|content-length: 5|connection: keep-alive", five),
            (200, ("connection", "x"), Some(0), USUAL, "1.1 200 OK|content-length: 0", none),
            (299, OTHER, Some(0), USUAL, "1.1 299 |x: y|content-length: 0", none),
        ] {
            let found = head(status, field, length, terms);
            assert_eq!(
                found,
                (format!("HTTP/{expected}"), framing),
                "{status} {field:?} {length:?} {terms:?}"
            );
        }
    }

    /// The length that there would have been passes.
    #[test]
    fn an_answer_without_content_has_no_framing() {
        for (status, field, length, terms, expected) in [
            (200, LENGTH, Some(0), HEAD, "1.1 200 OK|content-length: 005"),
            (200, OTHER, Some(0), HEAD, "1.1 200 OK|x: y"),
            (401, OTHER, Some(5), HEAD, "1.1 401 Unauthorized|x: y|content-length: 5"),
            (200, OTHER, None, Terms { old: true, ..HEAD }, "1.0 200 OK|x: y|connection: keep-alive"),
            (304, LENGTH, Some(0), USUAL, "1.1 304 Not Modified|content-length: 005"),
            (204, LENGTH, Some(0), USUAL, "1.1 204 No Content"),
            (
                101,
                ("connection", "upgrade"),
                Some(0),
                USUAL,
                "1.1 101 Switching Protocols|connection: upgrade",
            ),
        ] {
            let found = head(status, field, length, terms);
            assert_eq!(found, (format!("HTTP/{expected}"), None), "{status} {field:?} {length:?} {terms:?}");
        }
    }

    #[test]
    fn an_answer_without_a_date_gets_one() {
        let (parts, ()) = Response::new(()).into_parts();
        for (second, date) in
            [(0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT")]
        {
            let now = || Timestamp::from_seconds(second);
            let (text, _) = text(&parts, &SizeHint::with_exact(0), &mut USUAL.clone(), &(), now);
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with(&format!("\r\ndate: {date}\r\n\r\n")), "{text}");
        }
    }
}
