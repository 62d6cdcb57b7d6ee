//! One client connection: TLS where configured, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::clock;
use crate::domain::address::client_ip;
use crate::pipeline::permit::Known;

use super::body::RequestBody;
use super::core::Core;
use super::exchange::Exchange;
use super::http1::{self, Ended, Inbound, Socket};
use super::refuse;
use super::server::{self, Drain};
use super::service::{self, Peer};
use super::strict::{HeadLimits, Limits, Violation};
use super::tls::{self, Acceptor};

/// Streams that one HTTP/2 connection may have open (RFC 9113 section 5.1.2).
const H2_STREAMS_MAX: u32 = 100;
/// Resets that a client may have pending before its connection is closed (CVE-2023-44487).
const H2_RESETS_MAX: usize = 20;
/// A header list on HTTP/2, in bytes; CONTINUATION frames are bounded by it.
const H2_HEADERS_BYTES_MAX: u32 = 64 * 1024;
/// How often a silent HTTP/2 peer is asked whether it is still there.
const H2_PING_EVERY: Duration = Duration::from_secs(20);

/// Serves one connection to its end.
pub async fn serve(
    core: Rc<Core>,
    peer: Peer,
    socket: TcpStream,
    tls: Option<Arc<Acceptor>>,
    drain: watch::Receiver<Drain>,
) {
    match tls {
        None => http1(core, peer, Socket::Plain(socket), drain).await,
        // Boxed, as is the stream: a plain connection does not keep room for what only an encrypted one needs.
        Some(acceptor) => Box::pin(https(core, peer, socket, acceptor, drain)).await,
    }
}

async fn https(
    core: Rc<Core>,
    peer: Peer,
    socket: TcpStream,
    acceptor: Arc<Acceptor>,
    drain: watch::Receiver<Drain>,
) {
    let within = core.shared.live.load().config.data.head_timeout;
    match acceptor.accept(socket, within).await {
        Ok(stream) if tls::speaks_h2(&stream) => http2(core, peer, Box::new(stream), drain).await,
        Ok(stream) => http1(core, peer, Socket::Other(Box::new(stream)), drain).await,
        Err(error) => tracing::debug!(%error, "TLS handshake failed"),
    }
}

async fn http1(core: Rc<Core>, peer: Peer, socket: Socket, drain: watch::Receiver<Drain>) {
    let service = |request: Request<Inbound>, started| {
        service::serve(&core, &peer, request.map(RequestBody::Http1), started)
    };
    match http1::serve(socket, limits(&core), drain, service).await {
        Some(Ended { socket, answer: Some(violation), bodiless }) => {
            let response = refusal_of(&core, &peer, violation, bodiless);
            http1::refuse(socket, &response).await;
        }
        Some(Ended { socket, answer: None, .. }) => http1::linger(socket).await,
        None => {}
    }
}

/// A head that never became a request is refused, logged and counted as one.
fn refusal_of(core: &Rc<Core>, peer: &Peer, violation: Violation, bodiless: bool) -> bytes::Bytes {
    let client = client_ip(peer.address.ip(), std::iter::empty(), &[]);
    let live = core.shared.live.load_full();
    let known =
        Known { client, route: None, dialect: live.config.common_dialect(), caller: None, standing: None };
    let exchange = Exchange::headless(core, live, clock::now(), known);
    let refusal = violation.refusal();
    tracing::debug!(code = refusal.code(), request = %exchange.id, rule = %violation, "refused");
    refuse::raw(exchange, refusal, bodiless)
}

fn limits(core: &Core) -> Limits {
    let live = core.shared.live.load();
    let data = &live.config.data;
    Limits {
        head: HeadLimits {
            head_bytes_max: data.head_bytes_max,
            headers_max: data.headers_max,
            target_bytes_max: data.target_bytes_max,
        },
        head_timeout: data.head_timeout,
        idle_timeout: data.idle_timeout,
        stall_timeout: data.stall_timeout,
    }
}

async fn http2<S>(core: Rc<Core>, peer: Peer, socket: S, mut drain: watch::Receiver<Drain>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (core, peer) = (Rc::clone(&core), peer.clone());
        Box::pin(async move {
            let started = clock::now();
            let request = request.map(RequestBody::Http2);
            let is_head = *request.method() == Method::HEAD;
            let (mut head, mut body) = service::serve(&core, &peer, request, started).await.into_parts();
            body.set_fields(&mut head.headers);
            if is_head {
                body = body.to_head(&mut head.headers);
            }
            Ok::<_, Infallible>(Response::from_parts(head, body))
        }) as Pin<Box<dyn Future<Output = _>>>
    });
    let mut connection = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .max_header_list_size(H2_HEADERS_BYTES_MAX)
        .keep_alive_interval(H2_PING_EVERY)
        .serve_connection(TokioIo::new(socket), service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = server::told(&mut drain, Drain::Gracefully) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "HTTP/2 connection ended");
    }
}

/// Runs hyper's tasks where the connection lives.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
