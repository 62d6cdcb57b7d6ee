//! An upstream that answers as it is told, and remembers every byte of every request.
//!
//! It runs on a thread of its own, so that a test that blocks does not stop it.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::answer::{Answer, Step, echo, take};
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
