//! The filter as a stream: hyper reads from it what has been found good, and writes through it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::gather;
use super::deadline::Alarm;
use super::ending::Ended;
use super::handle::{Handle, Phase};
use super::head::Framing;
use super::messages::{Messages, Unit};
use super::{Limits, Violation};

/// At most this much of what a client sends ahead of its turn is taken from the socket at once, in bytes.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// A client's socket `S` as hyper may see it. Wrap it in `TokioIo`.
#[derive(Debug)]
pub struct StrictIo<S> {
    socket: S,
    limits: Limits,
    handle: Handle,
    messages: Messages,
    /// Bytes taken from the socket that hyper has not got: first `good` ones it may have, then others. Usually
    /// empty, and then without memory.
    held: Vec<u8>,
    good: usize,
    /// Held bytes already looked at without result.
    looked: usize,
    alarm: Alarm,
    /// Since when the unit being read, or the answer being written, has been waited for.
    reading_since: Option<Instant>,
    writing_since: Option<Instant>,
    /// The answer being written had to wait for its reader.
    waited: bool,
    /// hyper was told to wait for its turn though bytes are held.
    turn_wanted: bool,
    ending: Ending,
    /// The refused head begins as one of HEAD does: its answer has no body.
    asks_for_head: bool,
}

/// How the connection is going to end, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    /// The client is gone, or has been idle for too long: nothing more to say.
    Silent,
    /// The head was refused, and the client is to be told.
    Refused(Violation),
    /// The body was refused, and the service tells the client.
    Broken(Violation),
}

impl<S> StrictIo<S> {
    /// Filters what comes from `socket`. `handle` must be a new one.
    pub const fn new(socket: S, limits: Limits, handle: Handle) -> Self {
        Self {
            socket,
            limits,
            handle,
            messages: Messages::new(),
            held: Vec::new(),
            good: 0,
            looked: 0,
            alarm: Alarm { sleep: None },
            reading_since: None,
            writing_since: None,
            waited: false,
            turn_wanted: false,
            ending: Ending::Open,
            asks_for_head: false,
        }
    }

    /// Takes the socket back after hyper has ended. `None` where it can simply be closed.
    pub fn into_ended(self) -> Option<Ended<S>> {
        let unread = !self.messages.is_between() || !self.held.is_empty();
        match self.ending {
            _ if self.handle.is_tunnel() => None,
            Ending::Silent => None,
            Ending::Refused(violation) => {
                Some(Ended { socket: self.socket, answer: Some(violation), bodiless: self.asks_for_head })
            }
            Ending::Broken(_) => Some(Ended { socket: self.socket, answer: None, bodiless: false }),
            Ending::Open => unread.then_some(Ended { socket: self.socket, answer: None, bodiless: false }),
        }
    }

    /// Looks at `bytes`, which come next, up to the end of the request: how many hyper may have. The others are
    /// not complete, belong to the next request, or break a rule, which `ending` then tells.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.messages.take(rest, &self.limits.head) {
                Ok(Unit::Partial) => break,
                Ok(Unit::Head(head)) => {
                    self.handle.give(head.bytes, head.framing != Framing::Empty);
                    head.bytes
                }
                Ok(Unit::Body(taken)) => {
                    self.handle.add_body(taken, self.messages.is_between());
                    taken
                }
                Err(violation) => {
                    self.asks_for_head = self.messages.is_between() && rest.starts_with(b"HEAD ");
                    self.refuse(violation);
                    break;
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
            if self.messages.is_between() {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    fn refuse(&mut self, violation: Violation) {
        self.handle.set_violation(violation);
        self.ending =
            if self.messages.is_between() { Ending::Refused(violation) } else { Ending::Broken(violation) };
    }

    /// Looks at what is held, where that can tell more than last time.
    fn look_at_held(&mut self) {
        let new = self.held.get(self.looked..).unwrap_or_default();
        let held = self.held.len();
        let limits = &self.limits.head;
        // A line is judged when it ends, so a head that drips in byte by byte costs one look a line, not one a
        // byte. Only the bounds have to be watched in between; an endless target shows right after its bound.
        let crossed = |bound: usize| self.looked < bound && held >= bound;
        let worth = !self.messages.is_in_lines()
            || memchr::memchr(b'\n', new).is_some()
            || crossed(limits.target_bytes_max + 64)
            || held >= limits.head_bytes_max;
        if held == self.looked || !worth {
            return;
        }
        let bytes = std::mem::take(&mut self.held);
        self.good = self.look(&bytes);
        self.held = bytes;
        if self.good == 0 {
            self.looked = held;
        } else {
            self.looked = 0;
            self.reading_since = None;
        }
    }

    /// Gives hyper what is good of what is held.
    fn give_held(&mut self, buf: &mut ReadBuf<'_>) {
        let some = self.good.min(buf.remaining());
        buf.put_slice(self.held.get(..some).unwrap_or_default());
        self.good -= some;
        if some == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..some);
        }
    }

    /// Whether what is held is part of a request, not just the empty line that may come before one.
    fn has_begun(&self) -> bool {
        !b"\r\n".starts_with(&self.held)
    }

    /// What hyper reads once the request is over: the end of the stream, or a failing body.
    fn verdict(&self) -> Poll<io::Result<()>> {
        match self.ending {
            Ending::Broken(violation) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Nothing has come. Whether that has lasted too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.messages.is_between() {
            let since = *self.reading_since.get_or_insert_with(Instant::now);
            if !self.alarm.has_passed(cx, since + self.limits.stall_timeout) {
                return Poll::Pending;
            }
            self.refuse(Violation::BodyTimeout);
        } else if self.has_begun() {
            self.handle.set_receiving(true);
            let since = *self.reading_since.get_or_insert_with(Instant::now);
            if !self.alarm.has_passed(cx, since + self.limits.head_timeout) {
                return Poll::Pending;
            }
            self.asks_for_head = self.held.starts_with(b"HEAD ");
            self.refuse(Violation::HeadTimeout);
        } else {
            let at = self.handle.idle_since() + self.limits.idle_timeout;
            if !self.handle.is_closing() && !self.alarm.has_passed(cx, at) {
                return Poll::Pending;
            }
            self.ending = Ending::Silent;
        }
        self.verdict()
    }
}

impl<S: AsyncRead + Unpin> StrictIo<S> {
    /// A request is under way, and all of it has been given to hyper. hyper reads on only to learn whether the
    /// client is still there; whatever comes is held for later.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            // Taken out of hyper's buffer again by never being counted as filled.
            let mut ahead = buf.take(AHEAD_BYTES_MAX);
            match Pin::new(&mut self.socket).poll_read(cx, &mut ahead) {
                Poll::Ready(Ok(())) if ahead.filled().is_empty() => {
                    self.ending = Ending::Silent;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => self.held.extend_from_slice(ahead.filled()),
                Poll::Ready(Err(error)) => {
                    self.ending = Ending::Silent;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {}
            }
        }
        self.turn_wanted = !self.held.is_empty();
        self.alarm.keep_going(cx, self.handle.head_complete(), self.limits.idle_timeout);
        Poll::Pending
    }

    /// hyper waits for the next piece of a request.
    fn poll_next(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.look_at_held();
            if self.good > 0 {
                self.give_held(buf);
                return Poll::Ready(Ok(()));
            }
            if self.ending != Ending::Open {
                return self.verdict();
            }
            let before = buf.filled().len();
            match Pin::new(&mut self.socket).poll_read(cx, buf) {
                Poll::Pending => return self.poll_deadline(cx),
                Poll::Ready(Ok(())) if buf.filled().len() > before => {}
                Poll::Ready(end) => {
                    self.ending = Ending::Silent;
                    return Poll::Ready(end);
                }
            }
            if !self.messages.is_between() {
                self.reading_since = None;
            }
            let new = buf.filled().get(before..).unwrap_or_default();
            let mut good = 0;
            if self.held.is_empty() {
                // The usual case: what has come is looked at where it lies, in hyper's own buffer.
                good = self.look(new);
                self.looked = if good == 0 { new.len() } else { 0 };
            }
            if good < new.len() {
                self.held.extend_from_slice(new.get(good..).unwrap_or_default());
                buf.set_filled(before + good);
            }
            if good > 0 {
                self.reading_since = None;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.handle.is_tunnel() {
            this.good = this.held.len();
            if this.good == 0 {
                return Pin::new(&mut this.socket).poll_read(cx, buf);
            }
        }
        if this.good > 0 {
            this.give_held(buf);
            return Poll::Ready(Ok(()));
        }
        if this.ending != Ending::Open {
            return this.verdict();
        }
        if this.messages.is_between() && this.handle.phase() != Phase::Idle {
            return this.poll_ahead(cx, buf);
        }
        this.poll_next(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> StrictIo<S> {
    /// Whether bytes that hyper writes are the service's. Others are hyper's own answer to a head that it did
    /// not understand: it never should, but if it does the client reads our refusal instead.
    fn may_write(&mut self) -> bool {
        if matches!(self.handle.phase(), Phase::InService | Phase::Answered) || self.handle.is_tunnel() {
            return true;
        }
        if matches!(self.ending, Ending::Open) {
            let violation = Violation::BadRequest("not understood");
            self.handle.set_violation(violation);
            self.ending = Ending::Refused(violation);
        }
        false
    }

    /// A client that does not read its answer is waited for only so long.
    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(_)) => self.writing_since = None,
            Poll::Ready(Err(_)) => self.ending = Ending::Silent,
            Poll::Pending if self.handle.is_tunnel() => {}
            Poll::Pending => {
                self.waited = true;
                let since = *self.writing_since.get_or_insert_with(Instant::now);
                if self.alarm.has_passed(cx, since + self.limits.stall_timeout) {
                    self.ending = Ending::Silent;
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.may_write() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.poll_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.may_write() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = gather::poll_write(Pin::new(&mut this.socket), cx, bufs);
        this.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes when it has written all it had: only then is an answer over and the next request's turn.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        if this.handle.phase() == Phase::Answered {
            this.handle.set_phase(Phase::Idle);
            if std::mem::take(&mut this.waited) {
                this.handle.set_idle_since(Instant::now());
            }
            if std::mem::take(&mut this.turn_wanted) || this.handle.is_closing() {
                // hyper will not ask by itself.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.ending, Ending::Refused(_)) && !this.handle.is_tunnel() {
            // There is something left to say.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
