//! The life of a client's connection.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::sync::watch;

use crate::clock;
use crate::domain::time::Timestamp;

use super::super::message::outgoing::{Framing, Outgoing, Stopped};
use super::super::server::{Drain, told};
use super::super::strict::fields::has_option;
use super::super::strict::{Limits, Violation};
use super::ending::{Ended, part};
use super::head::{self, InHead, Terms};
use super::socket::Socket;
use super::wire::{Heard, Inbound, Wire};

/// Serves the requests that come on `socket` by `service`, which is given the time at which the head was complete,
/// one after the other. `None` where the socket can simply be closed.
pub async fn serve<F, B>(
    socket: Socket,
    limits: Limits,
    mut drain: watch::Receiver<Drain>,
    service: impl Fn(Request<Inbound>, Timestamp) -> F,
) -> Option<Ended<Socket>>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + InHead + Unpin,
{
    let draining = drain.clone();
    let is_draining = || *draining.borrow() >= Drain::Gracefully;
    let mut drained = pin!(told(&mut drain, Drain::Gracefully));
    let wire = Rc::new(RefCell::new(Wire::new(socket, limits)));
    loop {
        let mut closing = |cx: &mut Context<'_>| is_draining() || drained.as_mut().poll(cx).is_ready();
        let heard = poll_fn(|cx| wire.borrow_mut().poll_head(cx, &mut closing)).await;
        let (request, mut terms) = match heard {
            Heard::Request(request, terms) => (request, terms),
            Heard::Refused { violation, bodiless } => return ended(wire, Some(violation), bodiless).await,
            Heard::End => return ended(wire, None, false).await,
        };
        let request = request.map(|()| Inbound(Rc::clone(&wire)));
        let answer = served(&wire, service(request, clock::now())).await?;
        terms.persistent &= !is_draining();
        let status = answered(&wire, answer, &mut terms).await.ok()?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return hand_over(wire);
        }
        if !wire.borrow_mut().settle() || !terms.persistent {
            return ended(wire, None, false).await;
        }
    }
}

/// The answer; `None` where the client does not wait for it.
async fn served<B>(wire: &RefCell<Wire>, service: impl Future<Output = Response<B>>) -> Option<Response<B>> {
    let mut service = pin!(service);
    poll_fn(|cx| match service.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if wire.borrow_mut().is_gone(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Writes the answer. Its body is polled without holding the wire, as it may read the request's from there.
async fn answered<B>(
    wire: &RefCell<Wire>,
    answer: Response<B>,
    terms: &mut Terms,
) -> Result<StatusCode, Stopped>
where
    B: Body<Data = Bytes> + InHead + Unpin,
{
    let (parts, body) = answer.into_parts();
    terms.persistent &= !has_option(&parts.headers, b"close");
    let (text, framing) = head::text(&parts, &body.size_hint(), terms, &body, clock::now);
    let body = framing.filter(|framing| *framing != Framing::Length(0)).map(|_| body);
    let mut outgoing = Outgoing::new(text, body, framing.unwrap_or(Framing::Close));
    poll_fn(|cx| {
        let written = outgoing.poll(cx, |cx, pieces| wire.borrow_mut().poll_write(cx, pieces))?;
        let flushed = wire.borrow_mut().poll_flush(cx)?;
        if written.is_ready() {
            return flushed.map(Ok);
        }
        if wire.borrow_mut().is_gone(cx) {
            return Poll::Ready(Err(Stopped::Connection(io::ErrorKind::BrokenPipe.into())));
        }
        Poll::Pending
    })
    .await?;
    Ok(parts.status)
}

/// The connection belongs to whoever asked for it.
fn hand_over(wire: Rc<RefCell<Wire>>) -> Option<Ended<Socket>> {
    let mut wire = Rc::into_inner(wire)?.into_inner();
    let upgrade = wire.take_upgrade()?;
    // Nobody there to take it: it is closed.
    let _ = upgrade.send((wire.socket, wire.read));
    None
}

/// The end of a connection: where nothing is to be said on it any more and nothing is unread, it is closed.
async fn ended(wire: Rc<RefCell<Wire>>, answer: Option<Violation>, bodiless: bool) -> Option<Ended<Socket>> {
    // Whoever held the body has let go of it: it ended with its answer.
    let wire = Rc::into_inner(wire)?.into_inner();
    if answer.is_some() || wire.has_unread() {
        return Some(Ended { socket: wire.socket, answer, bodiless });
    }
    part(wire.socket).await;
    None
}
