//! Ending a connection so that the client reads our last words.
//!
//! Closing a socket that still has unread bytes makes the kernel send a reset, and the reset may overtake the
//! answer (RFC 9112 section 9.6). So: stop writing, read on for a while, then close.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::super::strict::Violation;

/// How long a client may take to read a refusal, or a goodbye.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long, and how much, is read on after our last words.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A connection that needs care at its end.
#[derive(Debug)]
pub struct Ended<S> {
    /// The socket, still open.
    pub socket: S,
    /// What is still to be answered, with [`refuse`]. `None`: nothing; the socket wants [`linger`].
    pub answer: Option<Violation>,
    /// Whether that answer is to HEAD, and so has no body (RFC 9110 section 9.3.2).
    pub bodiless: bool,
}

/// Writes `response`, a whole HTTP/1.1 response with `Connection: close`, and closes. Bounded in time; a client
/// that is gone is no error.
pub async fn refuse<S>(mut socket: S, response: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let written = timeout(WRITE_TIMEOUT, async {
        socket.write_all(response).await?;
        socket.flush().await
    });
    if matches!(written.await, Ok(Ok(()))) {
        linger(socket).await;
    }
}

/// Tells the other side that nothing more comes, and closes. Bounded in time.
pub async fn part(mut socket: impl AsyncWrite + Unpin) {
    // Whether it hears does not matter.
    let _ = timeout(WRITE_TIMEOUT, socket.shutdown()).await;
}

/// Stops writing, reads on until the client closes too or has had enough time, and closes.
pub async fn linger<S>(mut socket: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Bounded by the timeout; how it ends does not matter.
    let _ = timeout(LINGER_TIMEOUT, drain(&mut socket)).await;
}

async fn drain<S>(socket: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.shutdown().await?;
    let mut scratch = vec![0; 4096];
    let mut drained = 0;
    while drained < LINGER_BYTES_MAX {
        match socket.read(&mut scratch).await? {
            0 => break,
            some => drained += some,
        }
    }
    Ok(())
}
