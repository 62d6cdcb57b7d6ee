//! A message on its way onto the wire.
//!
//! Head, chunk lines and small pieces of the content are put together and written at one time; large pieces are
//! not copied.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::text;

/// A piece of content of at most so many bytes is copied behind what is written with it.
const COPIED_BYTES_MAX: usize = 4096;

/// How the end of the content is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// What of a message has still to be written.
#[derive(Debug)]
pub struct Outgoing<B> {
    text: Vec<u8>,
    /// Comes behind the text, and `end` behind it.
    piece: Bytes,
    end: &'static [u8],
    /// How much of text, piece and end has been written.
    written: usize,
    body: Option<B>,
    framing: Framing,
    /// Nothing has been written, and nothing taken from the body.
    untouched: bool,
    /// The body failed: what came of it before is still written.
    failed: bool,
}

/// Why not all of a message was written.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Its body failed, or was not as long as its head said.
    #[error("the body failed")]
    Body,
    /// The connection did.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// A message with the head `text` (from [`text::take`]), which announces `framing` where there is a body.
    pub const fn new(text: Vec<u8>, body: Option<B>, framing: Framing) -> Self {
        Self {
            text,
            piece: Bytes::new(),
            end: b"",
            written: 0,
            body,
            framing,
            untouched: true,
            failed: false,
        }
    }

    /// Whether nothing has been written, and nothing taken from the body.
    pub const fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// What has not been written of the head, where that is untouched, and of the body.
    pub fn into_parts(mut self) -> (Vec<u8>, Option<B>) {
        (std::mem::take(&mut self.text), self.body.take())
    }

    /// Writes by `write` (in the end [`poll_write`]) what there is to write, until all has been.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            // Gathers before it writes: small content goes with its head.
            let room = self.piece.is_empty() && self.text.len() <= COPIED_BYTES_MAX;
            let next = if room { self.poll_body(cx) } else { Poll::Ready(()) };
            if self.pending() > 0 {
                ready!(self.poll_write(cx, &mut write))?;
            } else if self.failed {
                return Poll::Ready(Err(Stopped::Body));
            } else if self.body.is_none() || next.is_pending() {
                return next.map(Ok);
            }
        }
    }

    const fn pending(&self) -> usize {
        self.text.len() + self.piece.len() + self.end.len() - self.written
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let rest = |piece: &[u8], before: usize| self.written.saturating_sub(before).min(piece.len());
        let text = &self.text[rest(&self.text, 0)..];
        let piece = &self.piece[rest(&self.piece, self.text.len())..];
        let end = &self.end[rest(self.end, self.text.len() + self.piece.len())..];
        let written = if piece.is_empty() && end.is_empty() {
            ready!(write(cx, &[IoSlice::new(text)]))?
        } else {
            ready!(write(cx, &[IoSlice::new(text), IoSlice::new(piece), IoSlice::new(end)]))?
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
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(body) = &mut self.body {
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
            let last = body.is_end_stream();
            self.untouched = false;
            let fits = match frame {
                Some(Ok(frame)) => self.put(frame),
                Some(Err(_)) => false,
                None => self.end(&HeaderMap::new()),
            };
            let fits = fits && (!last || self.body.is_none() || self.end(&HeaderMap::new()));
            if !fits {
                self.body = None;
                self.failed = true;
            }
            if !self.piece.is_empty() || self.text.len() > COPIED_BYTES_MAX {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Whether the frame is as announced.
    fn put(&mut self, frame: Frame<Bytes>) -> bool {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return frame.into_trailers().map_or(true, |trailers| self.end(&trailers)),
        };
        if data.is_empty() {
            return true;
        }
        let behind: &'static [u8] = match &mut self.framing {
            Framing::Length(left) => {
                // More than announced would be read as the next message.
                let Some(less) = left.checked_sub(data.len() as u64) else { return false };
                *left = less;
                if less == 0 {
                    self.body = None;
                }
                b""
            }
            Framing::Chunked => {
                let _ = write!(self.text, "{:X}\r\n", data.len());
                b"\r\n"
            }
            Framing::Close => b"",
        };
        if data.len() <= COPIED_BYTES_MAX {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(behind);
        } else {
            (self.piece, self.end) = (data, behind);
        }
        true
    }

    /// The body is over: whether it has all that was announced.
    fn end(&mut self, trailers: &HeaderMap) -> bool {
        self.body = None;
        match self.framing {
            Framing::Length(left) => left == 0,
            Framing::Close => true,
            Framing::Chunked if self.piece.is_empty() => {
                self.text.extend_from_slice(b"0\r\n");
                put_fields(&mut self.text, trailers);
                self.text.extend_from_slice(b"\r\n");
                true
            }
            // Behind a large piece that was the last.
            Framing::Chunked => {
                self.end = b"\r\n0\r\n\r\n";
                true
            }
        }
    }
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        text::give(std::mem::take(&mut self.text));
    }
}

/// Writes `pieces` with the cheapest system call: for the kernel a list is dearer than a single piece.
pub fn poll_write<S: AsyncWrite + Unpin>(
    socket: &mut S,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match pieces {
        [piece] => Pin::new(socket).poll_write(cx, piece),
        pieces => Pin::new(socket).poll_write_vectored(cx, pieces),
    }
}

/// Writes fields as lines.
pub fn put_fields(text: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        put_line(text, name.as_str(), value.as_bytes());
    }
}

/// Writes a field as a line.
pub fn put_line(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
