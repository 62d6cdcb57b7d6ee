//! One connection to a target, and how a kept one proves that it is still open.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::message::{block, outgoing};

/// A connection to a target.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    /// What has come and has not been taken.
    pub(super) read: BytesMut,
}

impl Connection {
    /// A new one.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where the target has not accepted it `within`, or why it cannot be made.
    pub async fn dial(address: SocketAddr, within: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(within, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::new() })
    }

    /// Whether it is open and with nothing to read: whatever an idle connection says is a goodbye.
    ///
    /// The runtime learns of a close by its event queue, which it reads every few dozen tasks. To know better
    /// costs a system call: that is what `look` asks for.
    pub fn is_quiet(&self, look: bool) -> bool {
        let peek = || SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        let peeked = if look { peek() } else { self.stream.try_io(Interest::READABLE, peek) };
        self.read.is_empty() && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads more behind what has come: how many bytes, 0 at the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let new = ready!(block::poll_read(&mut self.stream, usize::MAX, cx))?;
        let bytes = new.len();
        block::join(&mut self.read, new);
        Poll::Ready(Ok(bytes))
    }

    /// As [`outgoing::poll_write`].
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        outgoing::poll_write(&mut self.stream, cx, pieces)
    }

    /// Passes over so many bytes of what has come.
    pub fn pass(&mut self, bytes: usize) {
        block::pass(&mut self.read, bytes);
    }
}
