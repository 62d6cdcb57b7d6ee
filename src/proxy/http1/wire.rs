//! A client's connection: its requests' heads and bodies as they come, and how long they may take.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use http::{Method, Request, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::message::block;
use super::super::message::content::Content;
use super::super::message::outgoing;
use super::super::strict::chunked::Chunked;
use super::super::strict::fields::has_option;
use super::super::strict::{self, Framing, Limits, Violation};
use super::alarm::Alarm;
use super::head::Terms;
use super::socket::Socket;

/// At most this much of what a client sends ahead of its turn is taken from the socket, in bytes.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What the loop that serves a connection and the body of the present request have in common.
#[derive(Debug)]
pub struct Wire {
    pub(super) socket: Socket,
    /// What has come and has not been taken. Usually empty, and then without memory.
    pub(super) read: BytesMut,
    limits: Limits,
    alarm: Alarm,
    /// Bytes of a head that have been looked at without result.
    looked: usize,
    /// Since when the rest of a head or body, or the reader of an answer, has been waited for.
    reading_since: Option<Instant>,
    writing_since: Option<Instant>,
    idle_since: Instant,
    /// What of the present request's body is still to come.
    content: Content,
    /// What is still to be written before the client sends the body.
    go_on: &'static [u8],
    /// Why the body was not let through to its end.
    broken: Option<Violation>,
    gone: bool,
    upgrade: Option<oneshot::Sender<Upgraded>>,
}

/// What a client says next.
pub enum Heard {
    /// A request, and what it asks of its answer.
    Request(Request<()>, Terms),
    /// One that is refused. `bodiless`: it begins as HEAD does.
    Refused { violation: Violation, bodiless: bool },
    /// Nothing more.
    End,
}

/// A connection that has become another protocol's, and what has come of it already.
pub type Upgraded = (Socket, BytesMut);
/// Has the connection when the answer, a `101 Switching Protocols`, has been written.
pub type OnUpgrade = oneshot::Receiver<Upgraded>;

impl Wire {
    pub fn new(socket: Socket, limits: Limits) -> Self {
        Self {
            socket,
            read: BytesMut::new(),
            limits,
            alarm: Alarm::default(),
            looked: 0,
            reading_since: None,
            writing_since: None,
            idle_since: Instant::now(),
            content: Content::Whole,
            go_on: b"",
            broken: None,
            gone: false,
            upgrade: None,
        }
    }

    /// The next request. Once `closing` says so none is waited for that has not begun.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        closing: impl FnOnce(&mut Context<'_>) -> bool,
    ) -> Poll<Heard> {
        loop {
            if self.is_worth_a_look() {
                match strict::check(&self.read, &self.limits.head) {
                    Ok(Some(head)) => return Poll::Ready(self.take_head(head)),
                    Ok(None) => self.looked = self.read.len(),
                    Err(violation) => return Poll::Ready(self.refused(violation)),
                }
            }
            match block::poll_read(&mut self.socket, usize::MAX, cx) {
                Poll::Ready(Ok(new)) if !new.is_empty() => block::join(&mut self.read, new),
                Poll::Ready(_) => return Poll::Ready(Heard::End),
                Poll::Pending => return self.poll_waited(cx, closing),
            }
        }
    }

    /// Nothing has come. Whether that is the end.
    fn poll_waited(
        &mut self,
        cx: &mut Context<'_>,
        closing: impl FnOnce(&mut Context<'_>) -> bool,
    ) -> Poll<Heard> {
        // An empty line may come before a request, and is not yet one.
        if b"\r\n".starts_with(&self.read) {
            let passed = self.alarm.has_passed(cx, self.idle_since + self.limits.idle_timeout);
            return if passed || closing(cx) { Poll::Ready(Heard::End) } else { Poll::Pending };
        }
        let since = *self.reading_since.get_or_insert_with(Instant::now);
        if self.alarm.has_passed(cx, since + self.limits.head_timeout) {
            return Poll::Ready(self.refused(Violation::HeadTimeout));
        }
        block::hold(&mut self.read, b"");
        Poll::Pending
    }

    /// A line is judged when it ends, so a head that drips in byte by byte costs one look a line, not one a byte.
    /// Only the bounds have to be watched in between; an endless target shows right after its bound.
    fn is_worth_a_look(&self) -> bool {
        let (limits, come) = (&self.limits.head, self.read.len());
        let crossed = |bound: usize| self.looked < bound && come >= bound;
        come > self.looked
            && (memchr::memchr(b'\n', self.read.get(self.looked..).unwrap_or_default()).is_some()
                || self.looked == 0
                || crossed(limits.target_bytes_max + 64)
                || come >= limits.head_bytes_max)
    }

    fn refused(&self, violation: Violation) -> Heard {
        Heard::Refused { violation, bodiless: self.read.starts_with(b"HEAD ") }
    }

    fn take_head(&mut self, head: strict::Head) -> Heard {
        // Copied: what is kept of a head is kept as long as its request, and would keep the thread's whole block.
        let bytes = Bytes::copy_from_slice(self.read.get(..head.bytes).unwrap_or_default());
        let request = match strict::read(&bytes) {
            Ok(request) => request,
            Err(violation) => return self.refused(violation),
        };
        block::pass(&mut self.read, head.bytes);
        self.looked = 0;
        self.reading_since = None;
        self.content = match head.framing {
            Framing::Empty => Content::Whole,
            Framing::Length(length) => Content::Length(length),
            Framing::Chunked => Content::Chunked(Chunked::new()),
        };
        let old = request.version() < Version::HTTP_11;
        let expects = !old && !self.content.is_whole() && request.headers().contains_key(EXPECT);
        self.go_on = if expects { GO_ON } else { b"" };
        let headers = request.headers();
        let persistent = !has_option(headers, b"close") && (!old || has_option(headers, b"keep-alive"));
        let terms = Terms { bodiless: *request.method() == Method::HEAD, old, persistent };
        Heard::Request(request, terms)
    }

    /// The next of the present request's body.
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        if self.broken.is_some() || self.gone {
            return Poll::Ready(Some(Err(BodyBroken(self.broken))));
        }
        loop {
            match self.content.take(&mut self.read, &self.limits.head) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.content.is_whole() => return Poll::Ready(None),
                Ok(None) => {}
                Err(violation) => return self.broke(Some(violation)),
            }
            if ready!(self.poll_go_on(cx)).is_err() {
                return self.broke(None);
            }
            match block::poll_read(&mut self.socket, usize::MAX, cx) {
                Poll::Ready(Ok(new)) if !new.is_empty() => {
                    self.reading_since = None;
                    block::join(&mut self.read, new);
                }
                Poll::Ready(_) => return self.broke(None),
                Poll::Pending => {
                    let since = *self.reading_since.get_or_insert_with(Instant::now);
                    if self.alarm.has_passed(cx, since + self.limits.stall_timeout) {
                        return self.broke(Some(Violation::BodyTimeout));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn broke(&mut self, violation: Option<Violation>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        self.broken = violation;
        self.gone |= violation.is_none();
        Poll::Ready(Some(Err(BodyBroken(violation))))
    }

    /// Tells a client that asked whether to send its body that it may (RFC 9110 section 10.1.1).
    fn poll_go_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.go_on.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, self.go_on))?;
            self.go_on = self.go_on.get(written.max(1)..).unwrap_or_default();
            if self.go_on.is_empty() {
                let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client is gone while its request is served. To learn that, what it sends ahead is read.
    pub fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.read.is_empty() {
            block::hold(&mut self.read, b"");
        }
        while !self.gone && self.content.is_whole() && self.read.len() < AHEAD_BYTES_MAX {
            let room = AHEAD_BYTES_MAX - self.read.len();
            match block::poll_read(&mut self.socket, room, cx) {
                Poll::Ready(Ok(new)) if !new.is_empty() => block::hold(&mut self.read, &new),
                Poll::Ready(_) => self.gone = true,
                Poll::Pending => break,
            }
        }
        self.gone
    }

    /// Writes of an answer. A client that does not read it is waited for only so long.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Half a `100 Continue` cannot be followed by an answer.
        if !self.go_on.is_empty() && self.go_on.len() < GO_ON.len() {
            ready!(self.poll_go_on(cx))?;
        }
        match outgoing::poll_write(&mut self.socket, cx, pieces) {
            Poll::Pending => self.poll_stalled(cx),
            written => {
                self.writing_since = None;
                written
            }
        }
    }

    /// Sees to it that what has been written goes out.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Pending => self.poll_stalled(cx),
            flushed => flushed,
        }
    }

    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let since = *self.writing_since.get_or_insert_with(Instant::now);
        if self.alarm.has_passed(cx, since + self.limits.stall_timeout) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// The answer has been written: whether the connection is at the beginning of another request. What has come of
    /// this one's body and was not asked for is passed over.
    pub fn settle(&mut self) -> bool {
        self.reading_since = None;
        self.writing_since = None;
        self.idle_since = Instant::now();
        while let Ok(Some(_)) = self.content.take(&mut self.read, &self.limits.head) {}
        self.content.is_whole() && self.broken.is_none()
    }

    /// Whether closing the socket now could keep the client from reading what has been written: bytes are unread, or
    /// on their way.
    pub fn has_unread(&self) -> bool {
        !self.read.is_empty() || !self.content.is_whole()
    }

    pub const fn take_upgrade(&mut self) -> Option<oneshot::Sender<Upgraded>> {
        self.upgrade.take()
    }
}

/// The body of a request on a client's connection.
#[derive(Debug)]
pub struct Inbound(pub(super) Rc<RefCell<Wire>>);

/// Why a body ended before its time: the rule that it breaks, or `None` where the client is gone.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub struct BodyBroken(pub Option<Violation>);

impl Inbound {
    /// Asks for the connection, for when it has become another protocol's.
    pub fn on_upgrade(&self) -> OnUpgrade {
        let (sender, receiver) = oneshot::channel();
        self.0.borrow_mut().upgrade = Some(sender);
        receiver
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        self.0.borrow_mut().poll_content(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().content.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().content.size_hint()
    }
}
