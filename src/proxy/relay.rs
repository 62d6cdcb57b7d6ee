//! An answer on its way to the client: counted, and written to the log before its last byte is handed on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use crate::pipeline::verdict::Ending;

use super::deadline::Watch;
use super::exchange::Exchange;
use super::headers;
use super::http1::InHead;
use super::message::fields::Fields;
use super::message::outgoing::put_line;
use super::own;
use super::upload::Upload;
use super::upstream::answer::AnswerBody;

/// What the client's connection reads.
#[derive(Debug)]
pub struct Answer(Content);

#[derive(Debug)]
enum Content {
    /// Text of our own, or nothing.
    Own(Option<Bytes>),
    /// The upstream's body.
    Relay(Box<Relay>),
}

impl Answer {
    /// Text of our own.
    pub const fn text(text: Bytes) -> Self {
        Self(Content::Own(Some(text)))
    }

    /// No body.
    pub const fn empty() -> Self {
        Self(Content::Own(None))
    }

    /// The upstream's body.
    pub fn relay(relay: Relay) -> Self {
        Self(Content::Relay(Box::new(relay)))
    }
}

/// The upstream's body, and the exchange that ends with it.
#[derive(Debug)]
pub struct Relay {
    fields: Fields,
    body: AnswerBody<Upload>,
    exchange: Box<Exchange>,
    stall: Watch,
    stall_timeout: Duration,
    broken: bool,
}

/// An answer broke off; the client's connection is closed so that it can tell.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokeOff;

impl Relay {
    /// The body of an answer, and the fields that the client will see of it.
    pub fn new(
        fields: Fields,
        body: AnswerBody<Upload>,
        exchange: Box<Exchange>,
        (stall, stall_timeout): (Watch, Duration),
    ) -> Self {
        Self { fields, body, exchange, stall, stall_timeout, broken: false }
    }

    /// The answer breaks off. What has come of it is written first: on HTTP/2 hyper, told of the failure in the
    /// same turn, would throw it away.
    fn break_off(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        self.exchange.finish(Ending::UpstreamError);
        self.broken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        if self.broken {
            return Poll::Ready(Some(Err(BrokeOff)));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(None) => {
                self.exchange.finish(Ending::Whole);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, request = %self.exchange.id, "the answer broke off");
                return self.break_off(cx);
            }
            Poll::Pending if self.stall.poll_expired(cx) => return self.break_off(cx),
            Poll::Pending => return Poll::Pending,
        };
        self.stall.extend(self.stall_timeout);
        let frame = match frame.into_data() {
            Ok(data) => {
                self.exchange.passed(&data);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(headers::clean_trailers(trailers)),
                Err(other) => other,
            },
        };
        if self.body.is_end_stream() {
            self.exchange.finish(Ending::Whole);
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Answer {
    /// Sets the upstream's fields and what the gateway itself tells, where heads are not text.
    pub fn set_fields(&self, headers: &mut HeaderMap) {
        if let Content::Relay(relay) = &self.0 {
            headers.extend(relay.fields.to_map());
            own::set_for_client(headers, &relay.exchange, relay.exchange.started);
        }
    }

    /// As it answers HEAD, where heads are not text: a text of our own has its length told, and is not sent.
    pub fn to_head(self, headers: &mut HeaderMap) -> Self {
        let Content::Own(Some(text)) = &self.0 else { return self };
        if !text.is_empty() {
            headers.entry(CONTENT_LENGTH).or_insert_with(|| text.len().into());
        }
        Self::empty()
    }
}

impl InHead for Answer {
    fn fields(&self) -> Option<&Fields> {
        match &self.0 {
            Content::Own(_) => None,
            Content::Relay(relay) => Some(&relay.fields),
        }
    }

    fn put_own_fields(&self, text: &mut Vec<u8>) {
        if let Content::Relay(relay) = &self.0 {
            let exchange = &relay.exchange;
            own::tell_client(exchange, exchange.started, |name, value| {
                put_line(text, name, value.as_bytes());
            });
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match &mut self.get_mut().0 {
            Content::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Relay(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Own(text) => text.is_none(),
            Content::Relay(relay) => relay.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Content::Relay(relay) => relay.body.size_hint(),
        }
    }
}
