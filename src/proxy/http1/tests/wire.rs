//! A connection as the engine runs it: the loop, a service, and the careful end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::LIMITS;
use crate::proxy::http1::{Inbound, OnUpgrade, Socket, linger, refuse, serve};
use crate::proxy::server::Drain;
use crate::proxy::strict::Violation;

/// A request as the service got it; no body where that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub body: Option<Vec<u8>>,
}

/// The client's end of a connection under test.
pub struct Client {
    pub write: WriteHalf<DuplexStream>,
    pub read: ReadHalf<DuplexStream>,
    pub drain: watch::Sender<Drain>,
    pub seen: Rc<RefCell<Vec<Seen>>>,
    pub server: JoinHandle<Option<Violation>>,
}

/// Runs `story` with a connection, on a paused clock: whenever nobody has anything to do, time passes. The pipe
/// holds `pipe_bytes` each way.
pub fn story<F: Future>(pipe_bytes: usize, story: impl FnOnce(Client) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let (near, far) = tokio::io::duplex(pipe_bytes);
        let (drain, draining) = watch::channel(Drain::No);
        let seen = Rc::default();
        let server = tokio::task::spawn_local(connection(far, draining, Rc::clone(&seen)));
        let (read, write) = tokio::io::split(near);
        // Held to the end: without a sender a connection takes itself for drained.
        let _held = drain.clone();
        let story = story(Client { write, read, drain, seen, server });
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
async fn connection(
    socket: DuplexStream,
    drain: watch::Receiver<Drain>,
    seen: Rc<RefCell<Vec<Seen>>>,
) -> Option<Violation> {
    let service = |request, _| answer(request, &seen);
    let ended = serve(Socket::Other(Box::new(socket)), LIMITS, drain, service).await?;
    let Some(violation) = ended.answer else {
        linger(ended.socket).await;
        return None;
    };
    let code = violation.refusal().code();
    let response = format!("HTTP/1.1 {} refused\r\n\r\n{code}", violation.refusal().status());
    refuse(ended.socket, response.as_bytes()).await;
    Some(violation)
}

async fn answer(request: Request<Inbound>, seen: &RefCell<Vec<Seen>>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let (method, target) = (head.method.to_string(), head.uri.to_string());
    match &*target {
        "/tunnel" => {
            tokio::task::spawn_local(echo(body.on_upgrade()));
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
            return response;
        }
        "/early" => return Response::new(Full::from("early")),
        "/slow" => tokio::time::sleep(Duration::from_secs(200)).await,
        "/big" => return Response::new(Full::from(vec![b'x'; 100_000])),
        _ => {}
    }
    let mut whole = Ok(Vec::new());
    while let Some(frame) = body.frame().await {
        match (frame, &mut whole) {
            (Ok(frame), Ok(whole)) => whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            (Err(broken), _) => {
                whole = Err(broken.0);
                break;
            }
            (Ok(_), Err(_)) => unreachable!("left at the first failure"),
        }
    }
    let mut response = Response::new(Full::from(format!("<{method} {target}>")));
    if let Err(violation) = whole {
        let status = violation.map_or(500, |violation| violation.refusal().status());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
    }
    seen.borrow_mut().push(Seen { method, target, body: whole.ok() });
    response
}

async fn echo(upgrade: OnUpgrade) {
    let (mut socket, ahead) = upgrade.await.unwrap();
    socket.write_all(&ahead).await.unwrap();
    let mut buffer = [0; 64];
    while let Ok(some @ 1..) = socket.read(&mut buffer).await {
        socket.write_all(&buffer[..some]).await.unwrap();
    }
}
