//! Connections to targets, kept between requests: one pool per I/O thread.
//!
//! Last in, first out, so that the fewest connections stay warm and the rest can go. A connection belongs to one
//! request and comes back when the answer has been read whole; an answer that is dropped before takes its
//! connection with it. Hence an upgraded, broken or half-read connection is never given to another request.
//!
//! **Invariants.** A request is sent on at most one connection that may have taken a byte of it. Idle
//! connections are bounded per target (`idle_max`) and in time (`idle_timeout`).
//!
//! Deliberately absent: a task per connection (a request reads and writes its own; one that is closed while idle
//! is found out when it is taken, or by the sweep), a bound on connections in use, which the bound on client
//! connections is, and the time an answer may take, which is the caller's: it drops the future.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use crate::config::Upstream;

use super::answer::{self, Broken, Reply};
use super::balance::Target;
use super::connection::Connection;
use super::outbound::Outbound;

/// How often idle connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A connection idle for longer is looked at before it is used, which costs a system call. Whatever closed before
/// the thread last asked for events is known without; a target that closes after so short a rest and within the
/// moment since then has no habit of keeping connections.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// The connections of one thread. Clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    shelves: Rc<Shelves>,
}

/// Idle connections by target; the longest idle first.
#[derive(Debug, Default)]
struct Shelves(RefCell<AHashMap<SocketAddr, Vec<Idle>>>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    until: Instant,
}

/// Where a connection is kept between requests.
#[derive(Debug)]
pub struct Place {
    shelves: Weak<Shelves>,
    address: SocketAddr,
    idle_max: usize,
    idle_timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No byte of the request was written: it can be sent to another target.
    #[error("the request was not sent: {0}")]
    Unsent(#[source] io::Error),
    /// Some of it may have been read: it must not be sent again.
    #[error(transparent)]
    Sent(#[from] Broken),
}

impl Pool {
    /// An empty pool, and the task that looks it over for as long as it is held.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`].
    pub fn new() -> Self {
        let shelves = Rc::default();
        tokio::task::spawn_local(attend(Rc::downgrade(&shelves)));
        Self { shelves }
    }

    /// Sends `request` to `target`, a target of `upstream`, in HTTP/1.1: on a kept connection, or on a new one
    /// where there is none or it has been closed. `upgrade`: the connection may become another protocol's
    /// ([`AnswerBody::into_tunnel`](answer::AnswerBody::into_tunnel)); it is a new one then, and never kept.
    ///
    /// # Errors
    /// [`SendError`]; where it is `Unsent`, `request` is as it was and may be sent elsewhere.
    pub async fn send<B>(
        &self,
        target: &Target,
        upstream: &Upstream,
        request: &mut Outbound<B>,
        upgrade: bool,
    ) -> Result<Reply<B>, SendError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if !upgrade && let Some(connection) = self.shelves.take(target.address(), Instant::now()) {
            let place = self.place(target, upstream);
            match answer::ask(connection, Some(place), target.text(), request).await {
                // It was closed while it lay there.
                Err(SendError::Unsent(_)) => {}
                asked => return asked,
            }
        }
        // Boxed: connecting is rare, and every request would carry the room for it.
        let dialled = Box::pin(Connection::dial(target.address(), upstream.connect_timeout)).await;
        let connection = dialled.map_err(SendError::Unsent)?;
        let place = (!upgrade).then(|| self.place(target, upstream));
        answer::ask(connection, place, target.text(), request).await
    }

    fn place(&self, target: &Target, upstream: &Upstream) -> Place {
        Place {
            shelves: Rc::downgrade(&self.shelves),
            address: target.address(),
            idle_max: upstream.idle_max,
            idle_timeout: upstream.idle_timeout,
        }
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.shelves.0.borrow().values().map(Vec::len).sum()
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.shelves.0.borrow_mut().clear();
    }
}

async fn attend(shelves: Weak<Shelves>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(shelves) = shelves.upgrade() else { return };
        shelves.sweep(Instant::now());
    }
}

impl Shelves {
    /// The connection to `address` that was used last and is still open.
    fn take(&self, address: SocketAddr, now: Instant) -> Option<Connection> {
        let mut shelves = self.0.borrow_mut();
        let shelf = shelves.get_mut(&address)?;
        while let Some(idle) = shelf.pop() {
            let look = now.duration_since(idle.since) >= LOOK_AFTER;
            if idle.is_good(now, look) {
                return Some(idle.connection);
            }
        }
        None
    }

    fn put(&self, address: SocketAddr, idle: Idle, idle_max: usize) {
        let mut shelves = self.0.borrow_mut();
        let shelf = shelves.entry(address).or_default();
        if shelf.len() < idle_max {
            shelf.push(idle);
        }
    }

    /// Lets go of what is closed or was idle for too long, and of targets without connections.
    fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, shelf| {
            shelf.retain(|idle| idle.is_good(now, false));
            !shelf.is_empty()
        });
    }
}

impl Idle {
    fn is_good(&self, now: Instant, look: bool) -> bool {
        now < self.until && self.connection.is_quiet(look)
    }
}

impl Place {
    /// Keeps `connection`, which is between two requests.
    pub fn keep(&self, connection: Connection) {
        let Some(shelves) = self.shelves.upgrade() else { return };
        let since = Instant::now();
        let Some(until) = since.checked_add(self.idle_timeout) else { return };
        shelves.put(self.address, Idle { connection, since, until }, self.idle_max);
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish()
    }
}

#[cfg(test)]
mod tests;
