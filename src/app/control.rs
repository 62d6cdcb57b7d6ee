//! Serving the control listener: every connection, head and request on it is bounded.
//!
//! | what is too much | what happens |
//! |---|---|
//! | `control.connections_max` are open | the next wait to be accepted |
//! | a head takes longer than `control.timeout`, or nothing comes for so long | the connection is closed |
//! | a head is larger than [`HEAD_BYTES_MAX`], or has more than [`HEADERS_MAX`] fields | 431 |
//! | requests, bodies, time to answer | see [`api::control`](crate::api::control) |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service as _;

use crate::config;

/// A request line and its headers together.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// How long to wait after the kernel has refused to accept, as when there are too many open files.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `stop`; then no more is accepted, and connections end with the request they are at.
///
/// # Errors
/// Where the listener is not one.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    limits: &config::Control,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let (ending, ends) = watch::channel(false);
    let mut engine = http1::Builder::new();
    engine
        .timer(TokioTimer::new())
        .header_read_timeout(limits.timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let accepting = async {
        loop {
            // Never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a control connection was not accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            };
            let (engine, router, ends) = (engine.clone(), router.clone(), ends.clone());
            tokio::spawn(async move {
                let _slot = slot;
                connection(&engine, stream, peer, router, ends).await;
            });
        }
    };
    tokio::select! {
        () = stop => {}
        () = accepting => {}
    }
    ending.send_replace(true);
    Ok(())
}

async fn connection(
    engine: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut ends: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut router = router.clone();
        async move {
            let answered: Result<Response<Body>, Infallible> = router.call(request.map(Body::new)).await;
            answered
        }
    });
    let connection = engine.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let told = async move {
        // An error means that the sender is gone, which means the same.
        let _ = ends.wait_for(|ends| *ends).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients go away, and head timeouts are errors, too.
        tracing::debug!(%error, "a control connection ended");
    }
}
