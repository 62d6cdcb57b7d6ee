//! Accepting connections on one I/O thread, and ending them when told to.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection;
use super::core::Core;
use super::headers;
use super::service::Peer;
use super::tls::Acceptor;

/// How long accepting rests after the operating system refused a socket (out of descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often a draining thread looks whether its last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// What a thread is told about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Go on.
    No,
    /// Take no more; let what is under way finish, within the configured time.
    Gracefully,
    /// Do not wait for what is under way.
    Now,
}

/// Waits until `drain` says `what`, or more. Unlike the channel's own, this leaves no borrow behind, which would
/// keep the channel from being told anything further for as long as a `select!` is in its arm.
pub async fn told(drain: &mut watch::Receiver<Drain>, what: Drain) {
    // An error means that the sender is gone: nobody is left to wait for.
    let _ = drain.wait_for(|drain| *drain >= what).await;
}

/// Serves `listener` until it is told to drain.
pub async fn run(
    core: Rc<Core>,
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
    drain: watch::Receiver<Drain>,
) {
    let open = Rc::new(Cell::new(0_usize));
    let mut draining = drain.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = told(&mut draining, Drain::Gracefully) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, address)) => spawn(&core, socket, address, tls.as_ref(), &drain, &open),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                core.shared.metrics.overflows.with_label_values(&["descriptors"]).inc();
                tracing::warn!(%error, "cannot accept connections; raise the limit of open files (ulimit -n)");
                sleep(ACCEPT_REST).await;
            }
        }
    }
    // Clients whose connections the kernel has already taken would be reset by closing the listener.
    while let Some(Ok((socket, address))) = listener.accept().now_or_never() {
        spawn(&core, socket, address, tls.as_ref(), &drain, &open);
    }
    drop(listener);
    let deadline = Instant::now() + core.shared.live.load().config.data.drain_timeout;
    let finished = timeout_at(deadline, async {
        while open.get() > 0 {
            sleep(DRAIN_LOOK).await;
        }
    });
    let in_time = tokio::select! {
        finished = finished => finished.is_ok(),
        () = told(&mut draining, Drain::Now) => true,
    };
    if !in_time {
        tracing::warn!(connections = open.get(), "drain_timeout has passed; closing what is still open");
    }
}

/// Whether accepting failed because the one connection had ended before it was taken.
fn is_of_the_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn spawn(
    core: &Rc<Core>,
    socket: TcpStream,
    address: std::net::SocketAddr,
    tls: Option<&Arc<Acceptor>>,
    drain: &watch::Receiver<Drain>,
    open: &Rc<Cell<usize>>,
) {
    let counted = Counted::new(core, open);
    if core.shared.connections.load(Ordering::Relaxed) > core.shared.live.load().config.data.connections_max {
        core.shared.metrics.overflows.with_label_values(&["connections"]).inc();
        return;
    }
    // Without it small answers wait for the client's acknowledgement.
    let _ = socket.set_nodelay(true);
    let peer =
        Peer { address, text: headers::address_value(address.ip().to_canonical()), tls: tls.is_some() };
    let (core, tls, drain) = (Rc::clone(core), tls.cloned(), drain.clone());
    tokio::task::spawn_local(async move {
        let metrics = Arc::clone(&core.shared.metrics);
        let served = AssertUnwindSafe(connection::serve(core, peer, socket, tls, drain)).catch_unwind();
        if served.await.is_err() {
            metrics.panics.inc();
        }
        drop(counted);
    });
}

/// An open connection, counted for this thread and for all.
struct Counted {
    core: Rc<Core>,
    open: Rc<Cell<usize>>,
}

impl Counted {
    fn new(core: &Rc<Core>, open: &Rc<Cell<usize>>) -> Self {
        core.shared.connections.fetch_add(1, Ordering::Relaxed);
        core.shared.metrics.connections.inc();
        open.set(open.get() + 1);
        Self { core: Rc::clone(core), open: Rc::clone(open) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.core.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.core.shared.metrics.connections.dec();
        self.open.set(self.open.get() - 1);
    }
}
