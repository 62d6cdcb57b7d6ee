//! A request as a target will read it: its head as text, and its body.
//!
//! The head is written once, whichever targets are tried: only `Host` can depend on the target.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method};
use http_body::Body;

use super::super::message::outgoing::{Framing, Outgoing, put_fields, put_line};
use super::super::message::text;

/// A request that has not been sent.
#[derive(Debug)]
pub struct Outbound<B> {
    /// The head without its empty line.
    text: Vec<u8>,
    /// Where its fields begin, and `Host` belongs (RFC 9110 section 7.2).
    fields_at: usize,
    names_host: bool,
    framing: Framing,
    body: Option<B>,
    /// Whether its answer has no content: it is HEAD.
    pub bodiless: bool,
}

impl<B> Outbound<B> {
    /// A request for `target`, in origin form, with these fields and those that `own` writes. `headers` say how long
    /// the body is, or else it is sent in chunks.
    pub fn new(
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        own: impl FnOnce(&mut Vec<u8>),
        body: Option<B>,
    ) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let framing = length.map_or(Framing::Chunked, Framing::Length);
        let mut text = text::take();
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b' ');
        text.extend_from_slice(target.as_bytes());
        text.extend_from_slice(b" HTTP/1.1\r\n");
        let fields_at = text.len();
        put_fields(&mut text, headers);
        own(&mut text);
        if body.is_some() && framing == Framing::Chunked {
            put_line(&mut text, "transfer-encoding", b"chunked");
        }
        Self {
            text,
            fields_at,
            names_host: headers.contains_key(HOST),
            framing,
            body,
            bodiless: *method == Method::HEAD,
        }
    }

    /// Its body, where that has not been sent.
    pub fn into_body(self) -> Option<B> {
        self.body
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outbound<B> {
    /// What is written to the target `host`, which is named where the request names none. [`Outbound::take_back`]
    /// undoes it.
    pub(super) fn begin(&mut self, host: &str) -> Outgoing<B> {
        let mut text = std::mem::take(&mut self.text);
        if !self.names_host {
            text.splice(self.fields_at..self.fields_at, host_line(host));
        }
        text.extend_from_slice(b"\r\n");
        Outgoing::new(text, self.body.take(), self.framing)
    }

    /// Takes back what was to be sent to `host`, and is untouched.
    pub(super) fn take_back(&mut self, sending: Outgoing<B>, host: &str) {
        let (mut text, body) = sending.into_parts();
        text.truncate(text.len().saturating_sub("\r\n".len()));
        if !self.names_host {
            text.drain(self.fields_at..self.fields_at + host_line(host).len());
        }
        (self.text, self.body) = (text, body);
    }
}

fn host_line(host: &str) -> Vec<u8> {
    let mut line = Vec::new();
    put_line(&mut line, "host", host.as_bytes());
    line
}
