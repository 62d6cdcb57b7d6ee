//! The body of a request, whichever way it came.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::{BodyBroken, Inbound, OnUpgrade};

/// See the module.
#[derive(Debug)]
pub enum RequestBody {
    /// HTTP/1.1.
    Http1(Inbound),
    /// HTTP/2.
    Http2(Incoming),
}

impl RequestBody {
    /// Asks for the connection, for when it has become another protocol's; `None` where it cannot.
    pub fn on_upgrade(&self) -> Option<OnUpgrade> {
        match self {
            Self::Http1(inbound) => Some(inbound.on_upgrade()),
            Self::Http2(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|_| BodyBroken(None)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
