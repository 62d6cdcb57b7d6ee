//! Connections to targets, kept between requests: one pool per I/O thread.
//!
//! Last in, first out, so that the fewest connections stay warm and the rest can go. A connection is leased
//! to one request and comes back by [`Lease::give_back`] when the answer has been read whole; a lease that is
//! dropped instead takes its connection with it. Hence an upgraded, broken or half-read connection is never
//! given to another request.
//!
//! **Invariants.** A request is sent on at most one connection that may have taken a byte of it. Idle
//! connections are bounded per target (`idle_max`) and in time (`idle_timeout`).
//!
//! Deliberately absent: a bound on connections in use, which the bound on client connections is; the time an
//! answer may take, which is the caller's: it drops the future, and hyper closes the connection.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::config::Upstream;

use super::balance::Target;
use super::connection::{Socket, dial};

/// How often idle connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A connection idle for longer is looked at before it is used. A busier one would have to be closed within
/// the few hundred microseconds in which the runtime hears of it by itself; looking costs a system call.
const LOOK_AFTER: Duration = Duration::from_millis(2);

/// Buffer of a connection, in bytes: the longest head of an answer, and the most read at one time. It begins
/// with 8 KiB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The connections of one thread, for requests with bodies of type `B`. Clones are the same pool.
pub struct Pool<B> {
    shelves: Rc<Shelves<B>>,
    builder: http1::Builder,
}

/// Idle connections by target; the longest idle first.
struct Shelves<B>(RefCell<AHashMap<SocketAddr, Vec<Idle<B>>>>);

struct Idle<B> {
    sender: SendRequest<B>,
    look: Rc<Cell<bool>>,
    since: Instant,
    until: Instant,
}

/// The connection that an answer is being read from.
pub struct Lease<B> {
    shelves: Weak<Shelves<B>>,
    sender: SendRequest<B>,
    address: SocketAddr,
    /// `None`: one that cannot be used again.
    look: Option<Rc<Cell<bool>>>,
    idle_max: usize,
    idle_timeout: Duration,
}

/// Why there is no answer.
#[derive(thiserror::Error)]
pub enum SendError<B> {
    /// No byte of the request was written: it can be sent to another target.
    #[error("the request was not sent: {cause}")]
    Unsent {
        /// The request, as it was given, its body untouched.
        request: Box<Request<B>>,
        /// What went wrong.
        cause: Cause,
    },
    /// Some of it may have been read: it must not be sent again.
    #[error("the connection broke: {cause}")]
    Sent {
        /// What went wrong: [`hyper::Error::is_user`] where it was the request's body that failed.
        cause: hyper::Error,
    },
}

/// Why a request was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No connection in time, or none at all.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The target closed the connection at once.
    #[error("closed at once: {0}")]
    Closed(#[source] hyper::Error),
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// An empty pool, and the task that looks it over for as long as it is held.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`].
    pub fn new() -> Self {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        let shelves = Rc::new(Shelves(RefCell::default()));
        tokio::task::spawn_local(attend(Rc::downgrade(&shelves)));
        Self { shelves, builder }
    }

    /// Sends `request` to `target`, a target of `upstream`, in HTTP/1.1: on a kept connection, or on a new one
    /// where there is none or it has been closed. `upgrade`: the connection may become another protocol's
    /// ([`hyper::upgrade::on`] the answer); it is a new one then, and never kept.
    ///
    /// # Errors
    /// [`SendError`], which has the request where it may be sent elsewhere.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`].
    pub async fn send(
        &self,
        target: &Target,
        upstream: &Upstream,
        mut request: Request<B>,
        upgrade: bool,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError<B>> {
        *request.version_mut() = Version::HTTP_11;
        if !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(target.text())
        {
            request.headers_mut().insert(HOST, host);
        }
        if !upgrade && let Some(lease) = self.kept(target.address(), upstream) {
            match lease.send(request).await {
                // It was closed while it lay there.
                Err(SendError::Unsent { request: unsent, .. }) => request = *unsent,
                sent => return sent,
            }
        }
        // Boxed: connecting is rare, and every request would carry the room for it.
        match Box::pin(self.connect(target.address(), upstream, upgrade)).await {
            Ok(lease) => lease.send(request).await,
            Err(cause) => Err(SendError::Unsent { request: Box::new(request), cause }),
        }
    }

    fn kept(&self, address: SocketAddr, upstream: &Upstream) -> Option<Lease<B>> {
        let Idle { sender, look, .. } = self.shelves.take(address, Instant::now())?;
        Some(self.lease(sender, address, Some(look), upstream))
    }

    async fn connect(
        &self,
        address: SocketAddr,
        upstream: &Upstream,
        upgrade: bool,
    ) -> Result<Lease<B>, Cause> {
        let stream = dial(address, upstream.connect_timeout).await.map_err(Cause::Connect)?;
        if upgrade {
            let (sender, driver) =
                self.builder.handshake(TokioIo::new(stream)).await.map_err(Cause::Closed)?;
            tokio::task::spawn_local(drive(driver.with_upgrades()));
            return Ok(self.lease(sender, address, None, upstream));
        }
        let (socket, look) = Socket::new(stream);
        let (sender, driver) = self.builder.handshake(TokioIo::new(socket)).await.map_err(Cause::Closed)?;
        tokio::task::spawn_local(drive(driver));
        Ok(self.lease(sender, address, Some(look), upstream))
    }

    fn lease(
        &self,
        sender: SendRequest<B>,
        address: SocketAddr,
        look: Option<Rc<Cell<bool>>>,
        upstream: &Upstream,
    ) -> Lease<B> {
        Lease {
            shelves: Rc::downgrade(&self.shelves),
            sender,
            address,
            look,
            idle_max: upstream.idle_max,
            idle_timeout: upstream.idle_timeout,
        }
    }
}

impl<B> Pool<B> {
    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.shelves.0.borrow().values().map(Vec::len).sum()
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.shelves.0.borrow_mut().clear();
    }
}

/// Runs a connection to its end. How it ended is told to whoever waits for an answer on it.
async fn drive(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to an upstream ended");
    }
}

async fn attend<B>(shelves: Weak<Shelves<B>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(shelves) = shelves.upgrade() else { return };
        shelves.sweep(Instant::now());
    }
}

impl<B> Shelves<B> {
    /// The connection to `address` that was used last and is still open.
    fn take(&self, address: SocketAddr, now: Instant) -> Option<Idle<B>> {
        let mut shelves = self.0.borrow_mut();
        let shelf = shelves.get_mut(&address)?;
        while let Some(idle) = shelf.pop() {
            if idle.is_good(now) {
                idle.look.set(now.duration_since(idle.since) >= LOOK_AFTER);
                return Some(idle);
            }
        }
        None
    }

    fn put(&self, address: SocketAddr, idle: Idle<B>, idle_max: usize) {
        let mut shelves = self.0.borrow_mut();
        let shelf = shelves.entry(address).or_default();
        if shelf.len() < idle_max {
            shelf.push(idle);
        }
    }

    /// Lets go of what is closed or was idle for too long, and of targets without connections.
    fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, shelf| {
            shelf.retain(|idle| idle.is_good(now));
            !shelf.is_empty()
        });
    }
}

impl<B> Idle<B> {
    fn is_good(&self, now: Instant) -> bool {
        now < self.until && self.sender.is_ready()
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + 'static,
{
    async fn send(mut self, request: Request<B>) -> Result<(Response<Incoming>, Self), SendError<B>> {
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => {
                    SendError::Unsent { request: Box::new(request), cause: Cause::Closed(error.into_error()) }
                }
                None => SendError::Sent { cause: error.into_error() },
            }),
        }
    }
}

impl<B> Lease<B> {
    /// The answer has been read whole: the connection may serve another request, if the target keeps it open.
    ///
    /// hyper is done with an exchange by the time its reader sees the end of the answer, unless the target
    /// answered before it had the whole request: such a connection is let go.
    pub fn give_back(self) {
        let (Some(shelves), Some(look)) = (self.shelves.upgrade(), self.look) else { return };
        if self.sender.is_ready() {
            let since = Instant::now();
            let Some(until) = since.checked_add(self.idle_timeout) else { return };
            shelves.put(self.address, Idle { sender: self.sender, look, since, until }, self.idle_max);
        }
    }
}

impl<B> Default for Pool<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self { shelves: Rc::clone(&self.shelves), builder: self.builder.clone() }
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish()
    }
}

impl<B> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the request: it has credentials.
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
