//! An answer on its way from a target: its head, then its body piece by piece, read by whoever polls for it.
//!
//! The rest of the request is written meanwhile: a target may answer before it has all of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::super::message::content::Content;
use super::super::message::fields::Fields;
use super::super::message::outgoing::{Outgoing, Stopped};
use super::super::strict::answer::{self, AnswerFraming, AnswerHead};
use super::super::strict::chunked::Chunked;
use super::super::strict::{HeadLimits, Violation};
use super::connection::Connection;
use super::outbound::Outbound;
use super::pool::{Place, SendError};

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

/// An answer of which the head has come.
#[derive(Debug)]
pub struct Reply<B> {
    /// What came of the request.
    pub status: StatusCode,
    /// Every field, as it came.
    pub fields: Fields,
    /// The rest.
    pub body: AnswerBody<B>,
}

impl<B> Reply<B> {
    /// With its fields in a map.
    pub fn into_response(self) -> Response<AnswerBody<B>> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.to_map();
        response
    }
}

/// A request and its answer on one connection.
#[derive(Debug)]
struct Call<B> {
    connection: Connection,
    /// Where it is kept afterwards; `None`: nowhere.
    place: Option<Place>,
    sending: Option<Outgoing<B>>,
    /// Whether the connection can be used again as far as is known.
    persistent: bool,
    /// Bytes of a head that have been looked at without result.
    looked: usize,
}

/// The body of an answer. Its connection goes back to where it is kept when the body has been read whole, and is
/// closed when this is dropped before.
#[derive(Debug)]
pub struct AnswerBody<B> {
    /// `None`: it has been read whole.
    call: Option<Box<Call<B>>>,
    content: Content,
}

/// Sends `request` on `connection` and waits for the head of its answer.
///
/// # Errors
/// [`SendError`]; where it is `Unsent`, `request` is as it was.
pub async fn ask<B>(
    connection: Connection,
    place: Option<Place>,
    host: &str,
    request: &mut Outbound<B>,
) -> Result<Reply<B>, SendError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let bodiless = request.bodiless;
    let sending = Some(request.begin(host));
    // Boxed: it passes through many hands, and is several hundred bytes.
    let mut call = Box::new(Call { connection, place, sending, persistent: true, looked: 0 });
    let head = std::future::poll_fn(|cx| call.poll_head(bodiless, cx)).await;
    match head {
        Ok(head) => Ok(answered(call, head)),
        Err(broken) => match (broken, call.sending.take()) {
            (Broken::Connection(error), Some(sending)) if sending.is_untouched() => {
                request.take_back(sending, host);
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
        let connection = &mut self.connection;
        match sending.poll(cx, |cx, pieces| connection.poll_write(cx, pieces)) {
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
                let head = self.connection.read.get(..bytes).unwrap_or_default();
                let head = answer::read(head, &LIMITS, bodiless)?;
                self.connection.pass(bytes);
                // Hints and `100 Continue`, which nobody has asked for, are not the answer.
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
            }
            if ready!(self.connection.poll_read(cx))? == 0 {
                return Poll::Ready(Err(Broken::Connection(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    fn find_head(&mut self) -> Result<Option<usize>, Violation> {
        let read = &self.connection.read;
        // Lines are judged when they end: what drips in byte by byte costs one look a line, not one a byte.
        let new = read.get(self.looked..).unwrap_or_default();
        if memchr::memchr(b'\n', new).is_none() && self.looked > 0 && read.len() <= LIMITS.head_bytes_max {
            return Ok(None);
        }
        let found = if read.is_empty() { None } else { answer::find(read, &LIMITS)? };
        self.looked = if found.is_some() { 0 } else { read.len() };
        Ok(found)
    }
}

/// The answer behind this head.
fn answered<B>(mut call: Box<Call<B>>, head: AnswerHead) -> Reply<B> {
    call.persistent &= head.persistent;
    let content = match head.framing {
        AnswerFraming::Empty => Content::Whole,
        AnswerFraming::Length(length) => Content::Length(length),
        AnswerFraming::Chunked => Content::Chunked(Chunked::new()),
        AnswerFraming::Close => Content::UntilClose,
    };
    let mut body = AnswerBody { call: Some(call), content };
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        body.settle();
    }
    Reply { status: head.status, fields: head.fields, body }
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
        if self.content.is_whole()
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
            if let Some(frame) = self.content.take(&mut call.connection.read, &LIMITS)? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.content.is_whole() {
                return Poll::Ready(Ok(None));
            }
            if ready!(call.connection.poll_read(cx))? == 0 {
                if !matches!(self.content, Content::UntilClose) {
                    return Poll::Ready(Err(Broken::Connection(io::ErrorKind::UnexpectedEof.into())));
                }
                self.content = Content::Whole;
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
        self.content.size_hint()
    }
}

#[cfg(test)]
mod tests;
