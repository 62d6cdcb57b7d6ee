//! A connection as the engine runs it: the filter, hyper, a service, and the careful end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::{JoinHandle, LocalSet};

use super::LIMITS;
use crate::proxy::strict::{Handle, InService, StrictIo, Violation, linger, refuse};

/// A request as the service got it; no body where that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub body: Option<Vec<u8>>,
}

/// An answer's body that tells when hyper is done with it.
struct Answer(Full<Bytes>, #[expect(dead_code, reason = "kept for its drop")] InService);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The client's end of a connection under test.
pub struct Client {
    pub write: WriteHalf<DuplexStream>,
    pub read: ReadHalf<DuplexStream>,
    pub handle: Handle,
    pub seen: Rc<RefCell<Vec<Seen>>>,
    pub server: JoinHandle<Option<Violation>>,
}

/// Runs `story` with a connection, on a paused clock: whenever nobody has anything to do, time passes. The pipe
/// holds `pipe_bytes` each way.
pub fn story<F: Future>(pipe_bytes: usize, story: impl FnOnce(Client) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let (near, far) = tokio::io::duplex(pipe_bytes);
        let handle = Handle::new();
        let seen = Rc::default();
        let server = tokio::task::spawn_local(connection(far, handle.clone(), Rc::clone(&seen)));
        let (read, write) = tokio::io::split(near);
        let story = story(Client { write, read, handle, seen, server });
        // Far beyond every deadline: what is left over then would wait for ever.
        tokio::time::timeout(Duration::from_secs(86_400), story).await.expect("somebody waits for ever")
    })
}

impl Client {
    /// Sends `bytes`, and reads until the connection ends.
    pub async fn exchange(mut self, bytes: &[u8]) -> (String, Vec<Seen>, Option<Violation>) {
        // The server may have hung up before all was sent.
        let (_, text) = tokio::join!(self.write.write_all(bytes), read_all(&mut self.read));
        (text, self.seen.take(), self.server.await.unwrap())
    }

    /// Reads until all that has been answered so far contains `text`.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            let byte = self.read.read_u8().await;
            let read_so_far = String::from_utf8_lossy(&read);
            read.push(byte.unwrap_or_else(|_| panic!("the end came before {text:?}: {read_so_far}")));
        }
        String::from_utf8(read).unwrap()
    }
}

pub async fn read_all(read: &mut ReadHalf<DuplexStream>) -> String {
    let mut all = Vec::new();
    let _ = read.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// The connection's whole life; what the client was refused with at its end.
async fn connection(socket: DuplexStream, handle: Handle, seen: Rc<RefCell<Vec<Seen>>>) -> Option<Violation> {
    let io = TokioIo::new(StrictIo::new(socket, LIMITS, handle.clone()));
    let service = service_fn(|request| {
        let in_service = handle.serve();
        answer(request, in_service, handle.clone(), Rc::clone(&seen))
    });
    let mut connection = http1::Builder::new().serve_connection(io, service).with_upgrades();
    let _ = (&mut connection).await;
    let ended = connection.into_parts()?.io.into_inner().into_ended()?;
    let Some(violation) = ended.answer else {
        linger(ended.socket).await;
        return None;
    };
    let code = violation.refusal().code();
    let response = format!("HTTP/1.1 {} refused\r\n\r\n{code}", violation.refusal().status());
    refuse(ended.socket, response.as_bytes()).await;
    Some(violation)
}

async fn answer(
    request: Request<Incoming>,
    in_service: InService,
    handle: Handle,
    seen: Rc<RefCell<Vec<Seen>>>,
) -> Result<Response<Answer>, Infallible> {
    let (head, mut body) = request.into_parts();
    let (method, target) = (head.method.to_string(), head.uri.to_string());
    if target == "/tunnel" {
        handle.tunnel();
        let upgraded = hyper::upgrade::on(Request::from_parts(head, body));
        tokio::task::spawn_local(echo(upgraded));
        let mut response = Response::new(Answer(Full::default(), in_service));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
        return Ok(response);
    }
    if target == "/early" {
        return Ok(Response::new(Answer(Full::from("early"), in_service)));
    }
    if target == "/slow" {
        tokio::time::sleep(Duration::from_secs(200)).await;
    }
    if target == "/big" {
        return Ok(Response::new(Answer(Full::from(vec![b'x'; 100_000]), in_service)));
    }
    let mut whole = Some(Vec::new());
    while let Some(frame) = body.frame().await {
        match (frame, &mut whole) {
            (Ok(frame), Some(whole)) => whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            _ => {
                whole = None;
                break;
            }
        }
    }
    let text = format!("<{method} {target}>");
    let failed = whole.is_none();
    seen.borrow_mut().push(Seen { method, target, body: whole });
    let mut response = Response::new(Answer(Full::from(text), in_service));
    if failed {
        let status = handle.violation().map_or(500, |violation| violation.refusal().status());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
    }
    Ok(response)
}

async fn echo(upgraded: hyper::upgrade::OnUpgrade) {
    let mut io = TokioIo::new(upgraded.await.unwrap());
    let mut buffer = [0; 64];
    while let Ok(some @ 1..) = io.read(&mut buffer).await {
        io.write_all(&buffer[..some]).await.unwrap();
    }
}
