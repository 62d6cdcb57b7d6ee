//! An upstream that answers as it is told, and remembers every byte of every request.
//!
//! It runs on a thread of its own, so that a test that blocks does not stop it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::http1::{Body, Framing, Incoming, framing, header, headers};

/// How much of a request's body is kept; the rest is counted.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Request line and headers exactly as received, with the empty line; each byte is one character (Latin-1).
    pub head: String,
    /// The body's content, its framing removed; at most 1 MiB of it.
    pub body: Vec<u8>,
    /// The body's bytes on the wire; at most 1 MiB of them.
    pub raw_body: Vec<u8>,
    /// The content's length, kept or not.
    pub length: u64,
    /// Trailer lines.
    pub trailers: String,
    /// Whether the body arrived to its end.
    pub complete: bool,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Seen {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Path and query as sent.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Every value of a header, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        headers(&self.head, name)
    }

    /// The names of all headers as spelled, in order.
    pub fn header_names(&self) -> Vec<&str> {
        self.head.split("\r\n").skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect()
    }
}

/// One thing after the other that makes up an answer.
enum Step {
    Bytes(Vec<u8>),
    Wait(Duration),
    Until(oneshot::Receiver<()>),
    Fed(mpsc::UnboundedReceiver<Vec<u8>>),
    Zeros(u64),
    Hang,
    Close,
    Reset,
    WebSocket,
}

/// What to answer. Built up in the order in which it is sent.
pub struct Answer {
    head: Option<(u16, Vec<(String, String)>)>,
    steps: Vec<Step>,
}

/// The test's end of an answer that is fed piece by piece. Its drop ends the body.
pub type Feed = mpsc::UnboundedSender<Vec<u8>>;

/// A feed, and what [`Answer::fed`] takes.
pub fn feed() -> (Feed, mpsc::UnboundedReceiver<Vec<u8>>) {
    mpsc::unbounded_channel()
}

impl Answer {
    /// A status, with no body yet.
    pub fn new(status: u16) -> Self {
        Self { head: Some((status, Vec::new())), steps: Vec::new() }
    }

    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: None, steps: vec![Step::Bytes(bytes.into())] }
    }

    /// Never anything; the connection stays open.
    pub fn hang() -> Self {
        Self { head: None, steps: vec![Step::Hang] }
    }

    /// The connection is closed without a word.
    pub fn close() -> Self {
        Self { head: None, steps: vec![Step::Close] }
    }

    /// The WebSocket handshake (RFC 6455), then every message is sent back.
    pub fn websocket() -> Self {
        Self { head: None, steps: vec![Step::WebSocket] }
    }

    /// 200 whose chunked body is what the test feeds, each piece a chunk, sent as soon as it is fed.
    pub fn fed(pieces: mpsc::UnboundedReceiver<Vec<u8>>) -> Self {
        let mut answer = Self::new(200).header("transfer-encoding", "chunked");
        answer.steps.push(Step::Fed(pieces));
        answer
    }

    /// Server-sent events: as [`Answer::fed`], with their content type.
    pub fn events(pieces: mpsc::UnboundedReceiver<Vec<u8>>) -> Self {
        Self::fed(pieces).header("content-type", "text/event-stream")
    }

    /// One more header; a `content-length` given here is not computed.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.head.as_mut().unwrap().1.push((name.to_owned(), value.into()));
        self
    }

    /// The body, or more of it.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Bytes(bytes.into()));
        self
    }

    /// A body of JSON.
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// A chunked body, and its trailer lines (each with CR LF).
    pub fn chunks(mut self, chunks: &[&str], trailers: &str) -> Self {
        self = self.header("transfer-encoding", "chunked");
        for chunk in chunks {
            self.steps.push(Step::Bytes(format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes()));
        }
        self.body(format!("0\r\n{trailers}\r\n"))
    }

    /// So many zero bytes, never all in memory. Must be the whole body.
    pub fn zeros(mut self, length: u64) -> Self {
        self = self.header("content-length", length.to_string());
        self.steps.push(Step::Zeros(length));
        self
    }

    /// Nothing more for this long.
    pub fn wait(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Nothing, not even the head where this comes first, until the test says so (or drops its end).
    pub fn until(mut self, gate: oneshot::Receiver<()>) -> Self {
        self.steps.push(Step::Until(gate));
        self
    }

    /// Then nothing more, with the connection open.
    pub fn then_hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// Then the connection is closed.
    pub fn then_close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Then the connection is reset (RST).
    pub fn then_reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// The steps, with the head in front of the first that sends something.
    fn into_steps(self, to_head: bool) -> Vec<Step> {
        let Some((status, mut headers)) = self.head else { return self.steps };
        let has = |name: &str| headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        let length: usize =
            self.steps.iter().map(|step| if let Step::Bytes(bytes) = step { bytes.len() } else { 0 }).sum();
        let bodiless = status < 200 || status == 204 || status == 304;
        if !bodiless && !has("content-length") && !has("transfer-encoding") {
            headers.push(("content-length".into(), length.to_string()));
        }
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let head = format!("HTTP/1.1 {status} {}\r\n{lines}\r\n", reason.unwrap_or("Unknown")).into_bytes();
        let silent = |step: &Step| matches!(step, Step::Wait(_) | Step::Until(_));
        let at = self.steps.iter().take_while(|step| silent(step)).count();
        let mut steps = self.steps;
        if to_head {
            steps.retain(|step| !matches!(step, Step::Bytes(_) | Step::Zeros(_) | Step::Fed(_)));
        }
        steps.insert(at, Step::Bytes(head));
        steps
    }
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A running upstream; it ends when dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    /// Whether it answers as soon as it has the head, and never reads a body.
    by_head: bool,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
}

impl Upstream {
    /// Answers each request, once it is whole, with what `script` makes of it.
    pub fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::spawn(0, Box::new(script), false)
    }

    /// Answers as soon as it has a head, and closes after the answer without reading a body.
    pub fn by_head(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::spawn(0, Box::new(script), true)
    }

    /// As [`Upstream::start`], on a port that was free a moment ago: an upstream that comes back.
    pub fn at(address: SocketAddr, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::spawn(address.port(), Box::new(script), false)
    }

    fn spawn(port: u16, script: Box<Script>, by_head: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { script, by_head, seen: Mutex::default(), connections: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! { () = accept(listener, accepting) => {}, _ = stopped => {} }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Every request so far, in the order of their heads. One still under way is not `complete`.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.seen.lock().clear();
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = {
            let mut connections = shared.connections.lock();
            *connections += 1;
            *connections - 1
        };
        drop(stream.set_nodelay(true));
        // Ends in an error where the peer hangs up, which some tests are about.
        tokio::spawn(serve(stream, connection, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut incoming = Incoming::new(stream);
    while let Some(head) = incoming.head().await? {
        let number = {
            let mut seen = shared.seen.lock();
            seen.push(Seen { head: head.clone(), connection, ..Seen::default() });
            seen.len() - 1
        };
        if !shared.by_head {
            if header(&head, "expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
                incoming.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let body = incoming.body(framing(&head, Framing::Length(0)), KEPT_BYTES_MAX).await?;
            if let Some(seen) = shared.seen.lock().get_mut(number).filter(|seen| seen.head == head) {
                complete(seen, body);
            }
        }
        let seen = shared.seen.lock().get(number).cloned().unwrap_or_default();
        let steps = (shared.script)(&seen).into_steps(seen.method() == "HEAD");
        for step in steps {
            match step {
                Step::WebSocket => return echo(incoming.stream, &head).await,
                step => {
                    if !take(step, &mut incoming.stream).await? {
                        return Ok(());
                    }
                }
            }
        }
        if shared.by_head
            || header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            break;
        }
    }
    Ok(())
}

fn complete(seen: &mut Seen, body: Body) {
    let Body { raw, content, length, trailers } = body;
    *seen = Seen { body: content, raw_body: raw, length, trailers, complete: true, ..std::mem::take(seen) };
}

/// Takes one step; `false` where it was the connection's last.
async fn take(step: Step, stream: &mut TcpStream) -> std::io::Result<bool> {
    match step {
        Step::Bytes(bytes) => stream.write_all(&bytes).await?,
        Step::Wait(time) => tokio::time::sleep(time).await,
        Step::Until(gate) => drop(gate.await),
        Step::Fed(mut pieces) => {
            while let Some(piece) = pieces.recv().await {
                let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
                stream.write_all(&chunk).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Step::Zeros(mut left) => {
            let block = vec![0; 64 * 1024];
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
                stream.write_all(&block[..part]).await?;
                left -= part as u64;
            }
        }
        Step::Hang => std::future::pending().await,
        Step::Close | Step::WebSocket => return Ok(false),
        Step::Reset => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn echo(mut stream: TcpStream, head: &str) -> std::io::Result<()> {
    let accept = derive_accept_key(header(head, "sec-websocket-key").unwrap_or_default().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
