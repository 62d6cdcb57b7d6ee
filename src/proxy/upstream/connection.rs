//! One connection to a target: reading without copies, and how a kept one proves that it is still open.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;

use super::super::gather;

/// What one read may bring, in bytes, and the memory that a thread reads into: what has been taken out of it is
/// part of it until it has been written, and as long as nobody is behind the same block is used again and again.
const BLOCK_BYTES: usize = 64 * 1024;
/// Room for less than this is not read into, so that an answer of 32 KiB with its head needs one read.
const ROOM_BYTES_MIN: usize = 36 * 1024;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(BLOCK_BYTES));
}

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
        BLOCK.with_borrow_mut(|block| {
            // Takes the block anew from its beginning where all that was read into it has been let go.
            block.reserve(if block.capacity() < ROOM_BYTES_MIN { BLOCK_BYTES } else { 0 });
            let bytes = ready!(pin!(self.stream.read_buf(block)).poll(cx))?;
            if self.read.is_empty() {
                self.read = block.split();
            } else {
                self.read.extend_from_slice(block);
                block.clear();
            }
            Poll::Ready(Ok(bytes))
        })
    }

    /// As [`tokio::io::AsyncWrite::poll_write_vectored`].
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gather::poll_write(Pin::new(&mut self.stream), cx, pieces)
    }

    /// Takes so many bytes of what has come.
    pub fn take(&mut self, bytes: usize) -> Bytes {
        self.read.split_to(bytes).freeze()
    }
}
