//! An upgraded connection (WebSocket): bytes both ways until either side ends.
//!
//! The exchange, and with it the concurrency slot, lasts as long as the tunnel; its row is written at its end.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::pipeline::verdict::Ending;

use super::deadline::Watch;
use super::exchange::Exchange;
use super::http1::OnUpgrade;

/// One direction's buffer, in bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// Joins the two connections, and what the upstream has said already, in a task of its own. A tunnel in which neither side has sent anything
/// for `stall` is closed.
pub fn open(exchange: Box<Exchange>, client: OnUpgrade, upstream: (TcpStream, BytesMut), stall: Duration) {
    tokio::task::spawn_local(run(exchange, client, upstream, stall));
}

async fn run(
    mut exchange: Box<Exchange>,
    client: OnUpgrade,
    (upstream, said): (TcpStream, BytesMut),
    stall: Duration,
) {
    let Ok((client, asked)) = client.await else { return exchange.finish(Ending::ClientAborted) };
    // What either side said right behind its head comes first.
    let (client_read, client_write) = tokio::io::split(client);
    let client_read = io::Cursor::new(asked).chain(client_read);
    let (upstream_read, upstream_write) = upstream.into_split();
    let upstream_read = io::Cursor::new(said).chain(upstream_read);
    let quiet = exchange.core().deadlines.watch(stall);
    let mut down_bytes = 0;
    let ending = tokio::select! {
        ending = async {
            let up = pump(client_read, upstream_write, (&quiet, stall), |piece| exchange.uploaded.add(piece.len()));
            let down = pump(upstream_read, client_write, (&quiet, stall), |piece| down_bytes += piece.len());
            match tokio::join!(up, down) {
                (Ok(()), Ok(())) => Ending::Whole,
                (Err(_), _) => Ending::ClientAborted,
                (_, Err(_)) => Ending::UpstreamError,
            }
        } => ending,
        () = quiet.expired() => Ending::Whole,
    };
    exchange.passed_bytes(down_bytes as u64);
    exchange.finish(ending);
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (quiet, stall): (&Watch, Duration),
    mut passed: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            // A half-closed side may still be read from (RFC 6455 section 7.1.1).
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        quiet.extend(stall);
        passed(&buffer[..read]);
    }
}
