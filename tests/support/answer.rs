//! What an upstream is told to answer, step by step, and the taking of each step.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::http1::header;

/// One thing after the other that makes up an answer.
pub(super) enum Step {
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
    pub(super) fn into_steps(self, to_head: bool) -> Vec<Step> {
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

/// Takes one step; `false` where it was the connection's last.
pub(super) async fn take(step: Step, stream: &mut TcpStream) -> std::io::Result<bool> {
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

/// Shakes hands for WebSocket, then sends every message back.
pub(super) async fn echo(mut stream: TcpStream, head: &str) -> std::io::Result<()> {
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
