//! A client as it is under load: keeps its connection, makes a new one where it was closed, and tells an answer
//! that came whole from one that did not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::SOON;
use super::http1::{Framing, Incoming, framing, header};

/// A client on one connection at a time.
#[derive(Default)]
pub struct Kept {
    connection: Option<(SocketAddr, Incoming<TcpStream>)>,
}

/// An answer that arrived to its last byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The code of a refusal in the native dialect; empty for anything else.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Kept {
    pub fn new() -> Self {
        Self::default()
    }

    /// `GET path` with a key.
    pub async fn get(&mut self, address: SocketAddr, path: &str, key: &str) -> io::Result<Reply> {
        self.ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await
    }

    /// Sends a request as it stands and reads the answer, on a new connection where there is none to `address`.
    ///
    /// # Errors
    /// Where the answer did not arrive whole: the connection could not be made, or was closed.
    ///
    /// # Panics
    /// Where nothing happens for [`SOON`].
    pub async fn ask(&mut self, address: SocketAddr, request: impl AsRef<[u8]>) -> io::Result<Reply> {
        let answered = tokio::time::timeout(SOON, self.exchange(address, request.as_ref())).await;
        let answered = answered.unwrap_or_else(|_| panic!("no answer within {SOON:?}"));
        if answered.is_err() {
            self.connection = None;
        }
        answered
    }

    /// As [`Kept::ask`], again and again until an answer has come whole. `address` is asked for each time, as a
    /// restarted gateway has another one.
    pub async fn insist(&mut self, address: impl Fn() -> SocketAddr, request: &str) -> Reply {
        loop {
            if let Ok(reply) = self.ask(address(), request).await {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    async fn exchange(&mut self, address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
        if self.connection.as_ref().is_none_or(|(connected, _)| *connected != address) {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            self.connection = Some((address, Incoming::new(stream)));
        }
        let (_, incoming) = self.connection.as_mut().unwrap();
        incoming.stream.write_all(request).await?;
        let head = incoming.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status: u16 = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default();
        let bodiless = status == 204 || status == 304;
        let framed = if bodiless { Framing::Length(0) } else { framing(&head, Framing::Close) };
        let body = incoming.body(framed, usize::MAX).await?.content;
        if header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.connection = None;
        }
        Ok(Reply { status, head, body })
    }
}
