//! A request on its way onto the wire.
//!
//! Head, chunk lines and small pieces of the body are put together and written at one time; large pieces are
//! not copied.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Request};
use http_body::{Body, Frame};

use super::connection::Connection;

/// A piece of a body of at most so many bytes is copied behind what is written with it.
const COPIED_BYTES_MAX: usize = 4096;
/// Room for most heads.
const HEAD_BYTES: usize = 1024;

/// What of a request has still to be written.
#[derive(Debug)]
pub struct Sending<B> {
    text: Vec<u8>,
    /// Comes behind the text, and `end` behind it.
    piece: Bytes,
    end: &'static [u8],
    /// How much of text, piece and end has been written.
    written: usize,
    body: Option<B>,
    /// What is left of a body of known length; `None`: it goes in chunks.
    left: Option<u64>,
    /// Nothing has been written, and nothing taken from the body.
    untouched: bool,
}

/// Why not all of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Its body failed, or was not as long as its head said.
    #[error("the request's body failed")]
    Body,
    /// The connection did.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// `request` with its body, which is taken out of it. `host` is named where the request names none.
    pub fn new(request: &mut Request<Option<B>>, host: &str) -> Self {
        let body = request.body_mut().take();
        let left =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut text = Vec::with_capacity(HEAD_BYTES);
        text.extend_from_slice(request.method().as_str().as_bytes());
        text.push(b' ');
        text.extend_from_slice(
            request.uri().path_and_query().map_or("/", |target| target.as_str()).as_bytes(),
        );
        text.extend_from_slice(b" HTTP/1.1\r\n");
        if !request.headers().contains_key(HOST) {
            put_line(&mut text, "host", host.as_bytes());
        }
        put_fields(&mut text, request.headers());
        if body.is_some() && left.is_none() {
            put_line(&mut text, "transfer-encoding", b"chunked");
        }
        text.extend_from_slice(b"\r\n");
        Self { text, piece: Bytes::new(), end: b"", written: 0, body, left, untouched: true }
    }

    /// Whether nothing has been written, and nothing taken from the body.
    pub const fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// What is left of the body.
    pub fn into_body(self) -> Option<B> {
        self.body
    }

    /// Writes what there is to write, until all has been.
    pub fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            // Gathers before it writes: a small body goes with its head.
            let room = self.piece.is_empty() && self.text.len() <= COPIED_BYTES_MAX;
            let next = if room { self.poll_body(cx)? } else { Poll::Ready(()) };
            if self.pending() > 0 {
                ready!(self.poll_write(connection, cx))?;
            } else if self.body.is_none() || next.is_pending() {
                return next.map(Ok);
            }
        }
    }

    fn pending(&self) -> usize {
        self.text.len() + self.piece.len() + self.end.len() - self.written
    }

    fn poll_write(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let from = |piece: &[u8], before: usize| self.written.saturating_sub(before).min(piece.len());
        let text = &self.text[from(&self.text, 0)..];
        let piece = &self.piece[from(&self.piece, self.text.len())..];
        let end = &self.end[from(self.end, self.text.len() + self.piece.len())..];
        let written = if piece.is_empty() && end.is_empty() {
            ready!(connection.poll_write(cx, &[IoSlice::new(text)]))?
        } else {
            ready!(connection.poll_write(cx, &[IoSlice::new(text), IoSlice::new(piece), IoSlice::new(end)]))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.untouched = false;
        self.written += written;
        if self.pending() == 0 {
            self.text.clear();
            self.piece = Bytes::new();
            self.end = b"";
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next of the body; `Pending` where there is more to come.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Stopped> {
        while let Some(body) = &mut self.body {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(Poll::Pending) };
            self.untouched = false;
            match frame {
                None => self.end(&HeaderMap::new())?,
                Some(Ok(frame)) => self.put(frame)?,
                Some(Err(_)) => return Err(Stopped::Body),
            }
            if !self.piece.is_empty() || self.text.len() > COPIED_BYTES_MAX {
                break;
            }
        }
        Ok(Poll::Ready(()))
    }

    fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Stopped> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return frame.into_trailers().map_or(Ok(()), |trailers| self.end(&trailers)),
        };
        if data.is_empty() {
            return Ok(());
        }
        let behind: &'static [u8] = if let Some(left) = &mut self.left {
            // More than announced would be read as the next request.
            *left = left.checked_sub(data.len() as u64).ok_or(Stopped::Body)?;
            if *left == 0 {
                self.body = None;
            }
            b""
        } else {
            let _ = write!(self.text, "{:X}\r\n", data.len());
            b"\r\n"
        };
        if data.len() <= COPIED_BYTES_MAX {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(behind);
        } else {
            (self.piece, self.end) = (data, behind);
        }
        Ok(())
    }

    /// The body is over.
    fn end(&mut self, trailers: &HeaderMap) -> Result<(), Stopped> {
        self.body = None;
        match self.left {
            Some(0) => Ok(()),
            Some(_) => Err(Stopped::Body),
            None => {
                self.text.extend_from_slice(b"0\r\n");
                put_fields(&mut self.text, trailers);
                self.text.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

fn put_fields(text: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        put_line(text, name.as_str(), value.as_bytes());
    }
}

fn put_line(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
