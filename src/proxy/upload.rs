//! A request body on its way upstream: counted, bounded in bytes and in standing still.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::domain::refusal::Refusal;
use crate::domain::target::JsonScanner;

use super::body::RequestBody;
use super::deadline::Watch;
use super::headers;
use super::strict::Violation;

/// What of a request body has gone upstream, and what stopped it.
#[derive(Debug, Default)]
pub struct Uploaded {
    bytes: Cell<u64>,
    trouble: Cell<Option<Refusal>>,
    /// Looks for the target's domain in a JSON body that goes by.
    scanner: RefCell<Option<Box<JsonScanner>>>,
}

impl Uploaded {
    /// Bytes of the body that went upstream.
    pub const fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Counts bytes that went upstream by another way: a tunnel.
    pub fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    /// Looks for a target in the first `bytes_max` bytes of the body, which is JSON.
    pub fn look_for_target(&self, bytes_max: usize) {
        self.scanner.replace(Some(Box::new(JsonScanner::new(bytes_max))));
    }

    fn look_at(&self, piece: &[u8]) {
        if let Some(scanner) = &mut *self.scanner.borrow_mut() {
            scanner.feed(piece);
        }
    }

    /// The domain that the body names as its target, as far as it has gone by.
    pub fn domain(&self) -> Option<String> {
        self.scanner.borrow().as_ref().and_then(|scanner| scanner.domain().map(str::to_owned))
    }

    /// Why the body stopped short, where the client is to blame.
    pub const fn trouble(&self) -> Option<Refusal> {
        self.trouble.get()
    }
}

/// The body as the upstream's connection reads it.
#[derive(Debug)]
pub struct Upload {
    body: RequestBody,
    progress: Rc<Uploaded>,
    bytes_max: u64,
    /// How long the client may leave us waiting for the next piece; on HTTP/1 its connection sees to that too.
    stall: Watch,
    stall_timeout: Duration,
    /// The deadline of the answer, which begins anew with each piece sent.
    answer: Watch,
    answer_timeout: Duration,
}

/// Why a body stopped short; the reason for the client is in [`Uploaded`].
#[derive(Debug, thiserror::Error)]
#[error("the request body stopped short")]
pub struct StoppedShort;

impl Upload {
    /// The body, to be counted in `progress`. `stall` and `answer` are watches of this thread.
    pub fn new(
        body: RequestBody,
        progress: Rc<Uploaded>,
        bytes_max: u64,
        (stall, stall_timeout): (Watch, Duration),
        (answer, answer_timeout): (Watch, Duration),
    ) -> Self {
        Self { body, progress, bytes_max, stall, stall_timeout, answer, answer_timeout }
    }

    fn stop(&self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, StoppedShort>>> {
        self.progress.trouble.set(Some(refusal));
        Poll::Ready(Some(Err(StoppedShort)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = StoppedShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoppedShort>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(broken))) => {
                return self.stop(broken.0.map_or(Refusal::BadRequest, Violation::refusal));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if self.stall.poll_expired(cx) => return self.stop(Refusal::BodyTimeout),
            Poll::Pending => return Poll::Pending,
        };
        self.stall.extend(self.stall_timeout);
        self.answer.extend(self.answer_timeout);
        let frame = match frame.into_data() {
            Ok(data) => {
                let bytes = self.progress.bytes.get() + data.len() as u64;
                if bytes > self.bytes_max {
                    return self.stop(Refusal::BodyTooLarge);
                }
                self.progress.bytes.set(bytes);
                self.progress.look_at(&data);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(headers::clean_trailers(trailers)),
                Err(other) => other,
            },
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
