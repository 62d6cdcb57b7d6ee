//! Clients: one that sees bytes, one that sees answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SOON;
use super::http1::{Framing, Incoming, framing, header};

/// An answer, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// The header `name` as text; `None` where there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// The status, and the body as JSON (`null` where there is none).
    pub fn into_parts(self) -> (u16, Value) {
        let body = if self.body.is_empty() { Value::Null } else { self.json() };
        (self.status, body)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {:?}", self.body))
    }
}

/// `GET path` on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    send(address, "GET", path, headers, "").await
}

/// `POST path` on a connection of its own.
pub async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    send(address, "POST", path, headers, body).await
}

/// Any request on a connection of its own. `Host` is set unless given.
///
/// # Panics
/// Where there is no whole answer within [`SOON`].
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response {
    let exchange = exchange(address, method, path, headers, body.into());
    match tokio::time::timeout(SOON, exchange).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => panic!("{method} {path} at {address}: {why:?}"),
        Err(_) => panic!("{method} {path} at {address}: no answer within {SOON:?}"),
    }
}

async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, body) = sender.send_request(request.body(Full::new(body))?).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Writes `bytes` and reads until the other side closes: everything it had to say.
///
/// # Panics
/// Where it has not closed within [`SOON`], so send `Connection: close` with what is not to be refused.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut wire = Wire::connect(address).await;
    wire.send(bytes).await;
    wire.rest(SOON).await
}

/// A connection of which every byte is seen.
pub struct Wire {
    incoming: Incoming<TcpStream>,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { incoming: Incoming::new(stream) }
    }

    /// Writes `bytes`. That the other side has hung up is seen when reading, as it may have answered before.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.try_send(bytes).await);
    }

    /// Writes `bytes`, or says why not.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.incoming.stream.write_all(bytes.as_ref()).await?;
        self.incoming.stream.flush().await
    }

    /// One answer to a request that was no HEAD: its head as sent (bytes as Latin-1), and its content.
    /// `None` where the other side closed instead.
    pub async fn answer(&mut self) -> Option<(String, Vec<u8>)> {
        let read = async {
            let head = self.incoming.head().await.ok()??;
            let status = head.split(' ').nth(1).unwrap_or_default();
            let bodiless = status.starts_with('1') || status == "204" || status == "304";
            let framing = if bodiless { Framing::Length(0) } else { framing(&head, Framing::Close) };
            let body = self.incoming.body(framing, usize::MAX).await.ok()?;
            Some((head, body.content))
        };
        tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("no answer within {SOON:?}"))
    }

    /// The next head alone (bytes as Latin-1), for what comes piece by piece.
    pub async fn head(&mut self) -> Option<String> {
        let read = self.incoming.head();
        tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("no head within {SOON:?}")).ok()?
    }

    /// Reads until what was read and not yet taken holds `text`, and takes it up to there.
    pub async fn until(&mut self, text: &str) -> Vec<u8> {
        let read = async {
            loop {
                if let Some(start) = memchr::memmem::find(&self.incoming.pending, text.as_bytes()) {
                    return self.incoming.pending.drain(..start + text.len()).collect();
                }
                let more = self.incoming.more().await.unwrap_or(false);
                assert!(more, "closed before {text:?}: {}", String::from_utf8_lossy(&self.incoming.pending));
            }
        };
        tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("no {text:?} within {SOON:?}"))
    }

    /// Everything until the other side closes or resets.
    ///
    /// # Panics
    /// Where it has not within `within`.
    pub async fn rest(mut self, within: Duration) -> Vec<u8> {
        let read = async { while self.incoming.more().await.unwrap_or(false) {} };
        let closed = tokio::time::timeout(within, read).await.is_ok();
        let read = self.incoming.pending;
        assert!(closed, "still open after {within:?}: {}", String::from_utf8_lossy(&read));
        read
    }

    /// Ends the sending half.
    pub async fn finish(&mut self) {
        drop(self.incoming.stream.shutdown().await);
    }

    /// The socket itself, for what is not HTTP any more. Bytes read and not taken are lost.
    pub fn into_stream(self) -> TcpStream {
        self.incoming.stream
    }
}
