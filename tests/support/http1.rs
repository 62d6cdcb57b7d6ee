//! Just enough HTTP/1.1 to read messages off a socket byte for byte.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A reader that keeps what was read beyond the message.
pub struct Incoming<S> {
    pub stream: S,
    pub pending: Vec<u8>,
}

/// A body as it came, and what it says.
#[derive(Debug, Default)]
pub struct Body {
    /// The bytes on the wire, framing included; at most `keep` of them.
    pub raw: Vec<u8>,
    /// The content; at most `keep` bytes of it.
    pub content: Vec<u8>,
    /// The content's length, kept or not.
    pub length: u64,
    /// Trailer lines behind a chunked body, without the last empty line.
    pub trailers: String,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// The value of the header `name` in a raw head, the first where there are several.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    headers(head, name).into_iter().next()
}

/// Every value of the header `name` in a raw head.
pub fn headers<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// How the body behind `head` is framed; `otherwise` where it does not say.
pub fn framing(head: &str, otherwise: Framing) -> Framing {
    if header(head, "transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
    {
        return Framing::Chunked;
    }
    header(head, "content-length").and_then(|value| value.parse().ok()).map_or(otherwise, Framing::Length)
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Up to and with the first empty line; `None` where the peer closed before the first byte.
    pub async fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..end + 4).collect();
                // Latin-1, so that every byte is one character and none is lost.
                return Ok(Some(head.into_iter().map(char::from).collect()));
            }
            if !self.more().await? {
                return if self.pending.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The body, of which at most `keep` bytes are kept.
    pub async fn body(&mut self, framing: Framing, keep: usize) -> io::Result<Body> {
        let mut body = Body::default();
        match framing {
            Framing::Length(length) => self.content(length, keep, &mut body).await?,
            Framing::Chunked => self.chunks(keep, &mut body).await?,
            Framing::Close => loop {
                let part = std::mem::take(&mut self.pending);
                body.take(&part, true, keep);
                if !self.more().await? {
                    break;
                }
            },
        }
        Ok(body)
    }

    async fn content(&mut self, mut left: u64, keep: usize, body: &mut Body) -> io::Result<()> {
        while left > 0 {
            if self.pending.is_empty() && !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ready = self.pending.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            // Taken whole where it can be: byte by byte is slow for gigabytes.
            let rest = self.pending.split_off(ready);
            let part = std::mem::replace(&mut self.pending, rest);
            left -= part.len() as u64;
            body.take(&part, true, keep);
        }
        Ok(())
    }

    async fn chunks(&mut self, keep: usize, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.line(keep, body).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
            if size == 0 {
                break;
            }
            self.content(size, keep, body).await?;
            self.line(keep, body).await?;
        }
        loop {
            let line = self.line(keep, body).await?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push_str(&line);
            body.trailers.push_str("\r\n");
        }
    }

    async fn line(&mut self, keep: usize, body: &mut Body) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..end + 2).collect();
                body.take(&line, false, keep);
                return Ok(line[..end].iter().copied().map(char::from).collect());
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what there is; `false` at the end of the stream.
    pub async fn more(&mut self) -> io::Result<bool> {
        self.pending.reserve(256 * 1024);
        Ok(self.stream.read_buf(&mut self.pending).await? > 0)
    }
}

impl Body {
    fn take(&mut self, bytes: &[u8], content: bool, keep: usize) {
        let room = |kept: &Vec<u8>| bytes.len().min(keep.saturating_sub(kept.len()));
        let raw = room(&self.raw);
        self.raw.extend_from_slice(&bytes[..raw]);
        if content {
            let fits = room(&self.content);
            self.content.extend_from_slice(&bytes[..fits]);
            self.length += bytes.len() as u64;
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
