//! One connection to a target, and how a kept one proves that it is still open.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::gather;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A new connection.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where the target has not accepted it `within`, or why it cannot be made.
pub async fn dial(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(within, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A socket that can be told to look anew whether the other side has closed it.
///
/// The runtime learns of a close by its event queue, which it reads every few dozen tasks. A request written
/// in between would be lost with the connection, and could not be sent again as nobody knows how much of it
/// was read. Asked to look, the socket is peeked at before hyper writes, and hyper then gives the request
/// back unsent.
pub struct Socket {
    stream: TcpStream,
    look: Rc<Cell<bool>>,
}

impl Socket {
    /// The socket, and the switch by which its next read looks.
    pub fn new(stream: TcpStream) -> (Self, Rc<Cell<bool>>) {
        let look = Rc::new(Cell::new(false));
        (Self { stream, look: Rc::clone(&look) }, look)
    }

    /// Open, and with nothing to read: whatever an idle connection says is a goodbye.
    fn is_quiet(&self) -> bool {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.look.replace(false) && !self.is_quiet() {
            // Nothing filled: the end of the stream.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gather::poll_write(Pin::new(&mut self.stream), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
