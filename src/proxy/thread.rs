//! An I/O thread: a runtime of its own, and on it one listener, one pool and one log writer.

use std::net::TcpListener;
use std::sync::{Arc, mpsc};

use tokio::runtime::{self, LocalOptions};
use tokio::sync::watch;

use super::core::{Core, Shared};
use super::deadline::Deadlines;
use super::server::{self, Drain};
use super::tls::Acceptor;
use super::upstream::pool::Pool;

/// Serves `listener` on the calling thread until it is told to drain and what was under way has finished. `ready` is
/// told when everything is set up.
///
/// # Errors
/// Where the runtime, the socket or the log cannot be set up.
pub fn run(
    shared: Arc<Shared>,
    number: usize,
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
    drain: watch::Receiver<Drain>,
    ready: mpsc::Sender<()>,
) -> std::io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let core = Core::new(shared, number, Pool::new(), Deadlines::new())?;
        // An error means that nobody waits any more.
        let _ = ready.send(());
        server::run(core, listener, tls, drain).await;
        Ok(())
    })
}
