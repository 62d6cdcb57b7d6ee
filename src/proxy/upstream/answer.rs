//! An answer on its way from a target: its head, then its body piece by piece, read by whoever polls for it.
//!
//! The rest of the request is written meanwhile: a target may answer before it has all of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::super::strict::answer::{self, AnswerFraming, AnswerHead};
use super::super::strict::chunked::Chunked;
use super::super::strict::{HeadLimits, Violation, check_trailers};
use super::connection::Connection;
use super::pool::{Place, SendError};
use super::sending::{Sending, Stopped};

/// Bounds of an answer's head and of its trailers. The target is an upstream of the operator's: the numbers are
/// what no program exceeds.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 64 * 1024, headers_max: 100, target_bytes_max: 0 };

/// Why there is no answer, or no end to it.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection broke, or the target closed it too early.
    #[error("the connection broke: {0}")]
    Connection(#[from] io::Error),
    /// What the target says cannot be read in one way.
    #[error("the answer is none: {0}")]
    Answer(#[from] Violation),
    /// The request's body failed: the client is to blame.
    #[error("the request's body failed")]
    Body,
}

/// A request and its answer on one connection.
#[derive(Debug)]
struct Call<B> {
    connection: Connection,
    /// Where it is kept afterwards; `None`: nowhere.
    place: Option<Place>,
    sending: Option<Sending<B>>,
    /// Whether the connection can be used again as far as is known.
    persistent: bool,
    /// What is there has been looked at, and is not a whole head or trailer section.
    partial: bool,
}

/// The body of an answer. Its connection goes back to where it is kept when the body has been read whole, and is
/// closed when this is dropped before.
#[derive(Debug)]
pub struct AnswerBody<B> {
    /// `None`: it has been read whole.
    call: Option<Call<B>>,
    rest: Rest,
}

/// What is still to be read.
#[derive(Debug)]
enum Rest {
    Nothing,
    Length(u64),
    Chunked(Chunked),
    Trailers,
    /// All until the connection ends.
    Close,
}

/// Sends `request` on `connection` and waits for the head of its answer.
///
/// # Errors
/// [`SendError`]; where it is `Unsent`, `request` has its body back.
pub async fn ask<B>(
    connection: Connection,
    place: Option<Place>,
    host: &str,
    request: &mut Request<Option<B>>,
) -> Result<Response<AnswerBody<B>>, SendError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let bodiless = request.method() == Method::HEAD;
    let sending = Some(Sending::new(request, host));
    let mut call = Call { connection, place, sending, persistent: true, partial: false };
    let head = std::future::poll_fn(|cx| call.poll_head(bodiless, cx)).await;
    match head {
        Ok(head) => Ok(call.answered(head)),
        Err(broken) => match (broken, call.sending) {
            (Broken::Connection(error), Some(sending)) if sending.is_untouched() => {
                *request.body_mut() = sending.into_body();
                Err(SendError::Unsent(error))
            }
            (broken, _) => Err(SendError::Sent(broken)),
        },
    }
}

impl<B: Body<Data = Bytes> + Unpin> Call<B> {
    /// Writes on. That the target takes no more is no failure: it may have answered why.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        match sending.poll(&mut self.connection, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sending = None,
            Poll::Ready(Err(Stopped::Body)) => return Err(Broken::Body),
            Poll::Ready(Err(Stopped::Connection(error))) if sending.is_untouched() => {
                return Err(Broken::Connection(error));
            }
            Poll::Ready(Err(Stopped::Connection(_))) => {
                self.sending = None;
                self.persistent = false;
            }
        }
        Ok(())
    }

    fn poll_head(&mut self, bodiless: bool, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Broken>> {
        self.poll_send(cx)?;
        loop {
            while let Some(bytes) = self.find_head()? {
                let head = answer::read(&self.connection.take(bytes), &LIMITS, bodiless)?;
                // Hints and `100 Continue`, which nobody has asked for, are not the answer.
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
            }
            if ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Err(Broken::Connection(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    fn find_head(&mut self) -> Result<Option<usize>, Violation> {
        if self.connection.read.is_empty() || self.partial {
            return Ok(None);
        }
        let found = answer::find(&self.connection.read, &LIMITS)?;
        self.partial = found.is_none();
        Ok(found)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.connection.read.len();
        let bytes = ready!(self.connection.poll_read(cx))?;
        // Lines are judged when they end: what drips in byte by byte costs one look a line, not one a byte.
        let new = self.connection.read.get(before..).unwrap_or_default();
        let bound = self.connection.read.len() > LIMITS.head_bytes_max;
        self.partial &= memchr::memchr(b'\n', new).is_none() && !bound;
        Poll::Ready(Ok(bytes))
    }

    fn answered(mut self, head: AnswerHead) -> Response<AnswerBody<B>> {
        self.persistent &= head.persistent;
        let rest = match head.framing {
            AnswerFraming::Empty => Rest::Nothing,
            AnswerFraming::Length(length) => Rest::Length(length),
            AnswerFraming::Chunked => Rest::Chunked(Chunked::new()),
            AnswerFraming::Close => Rest::Close,
        };
        let mut body = AnswerBody { call: Some(self), rest };
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            body.settle();
        }
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

impl<B> AnswerBody<B> {
    /// The connection behind a `101 Switching Protocols`, with what has come behind its head; `None` where part
    /// of the request is still to be sent.
    pub fn into_tunnel(self) -> Option<(TcpStream, BytesMut)> {
        let call = self.call.filter(|call| call.sending.is_none())?;
        Some((call.connection.stream, call.connection.read))
    }

    /// Where the answer has been read whole, lets the connection be used again, if it can be: not where the
    /// target answered before it had the whole request, nor with bytes behind the answer that are nobody's.
    fn settle(&mut self) {
        if matches!(self.rest, Rest::Nothing)
            && let Some(call) = self.call.take()
            && let Some(place) = call.place
            && call.persistent
            && call.sending.is_none()
            && call.connection.read.is_empty()
        {
            place.keep(call.connection);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> AnswerBody<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Broken>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Ok(None)) };
        call.poll_send(cx)?;
        loop {
            if let Some(frame) = self.rest.take(call)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if matches!(self.rest, Rest::Nothing) {
                return Poll::Ready(Ok(None));
            }
            if ready!(call.poll_more(cx))? == 0 {
                if !matches!(self.rest, Rest::Close) {
                    return Poll::Ready(Err(Broken::Connection(io::ErrorKind::UnexpectedEof.into())));
                }
                self.rest = Rest::Nothing;
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = self.poll(cx).map(Result::transpose);
        self.settle();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.call.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) | Rest::Trailers | Rest::Close => SizeHint::default(),
        }
    }
}

impl Rest {
    /// The next of what has come; `None` where more has to be read, or nothing is left.
    fn take<B>(&mut self, call: &mut Call<B>) -> Result<Option<Frame<Bytes>>, Broken> {
        self.pass_lines(call)?;
        let read = &call.connection.read;
        if read.is_empty() {
            return Ok(None);
        }
        let bytes = match self {
            Self::Nothing => return Ok(None),
            Self::Close => read.len(),
            Self::Length(left) => {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= some as u64;
                if *left == 0 {
                    *self = Self::Nothing;
                }
                some
            }
            Self::Chunked(chunked) => chunked.data(read),
            Self::Trailers => return self.take_trailers(call),
        };
        let data = call.connection.take(bytes);
        // Often the end is there too: whoever writes this piece shall know that it is the last.
        self.pass_lines(call)?;
        Ok(Some(Frame::data(data)))
    }

    /// Passes over what only frames the body, as far as it has come.
    fn pass_lines<B>(&mut self, call: &mut Call<B>) -> Result<(), Broken> {
        let Self::Chunked(chunked) = self else { return Ok(()) };
        let bytes = chunked.lines(&call.connection.read)?;
        call.connection.take(bytes);
        if chunked.is_at_trailers() {
            *self = Self::Trailers;
            call.partial = false;
            if call.connection.read.starts_with(b"\r\n") {
                call.connection.take(2);
                *self = Self::Nothing;
            }
        }
        Ok(())
    }

    fn take_trailers<B>(&mut self, call: &mut Call<B>) -> Result<Option<Frame<Bytes>>, Broken> {
        if call.partial {
            return Ok(None);
        }
        let Some(bytes) = check_trailers(&call.connection.read, &LIMITS)? else {
            call.partial = true;
            return Ok(None);
        };
        *self = Self::Nothing;
        let trailers = answer::read_trailers(&call.connection.take(bytes))?;
        Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
    }
}

#[cfg(test)]
mod tests;
