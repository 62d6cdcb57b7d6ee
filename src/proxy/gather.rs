//! Writing a message's pieces with the cheapest system call.
//!
//! hyper hands over head and body as two pieces. For the kernel a `writev` is dearer than a `send` by more than
//! copying a small body costs, and a single piece needs no list at all. Large bodies are not copied.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Pieces of at most this many bytes together are copied into one.
const COPIED_BYTES_MAX: usize = 4096;

thread_local! {
    /// Where small pieces are put together; never larger than [`COPIED_BYTES_MAX`].
    static TOGETHER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(COPIED_BYTES_MAX));
}

/// As [`AsyncWrite::poll_write_vectored`] of `socket`.
pub fn poll_write<S: AsyncWrite>(
    socket: Pin<&mut S>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return socket.poll_write(cx, piece);
    }
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    if bytes > COPIED_BYTES_MAX {
        return socket.poll_write_vectored(cx, pieces);
    }
    TOGETHER.with_borrow_mut(|together| {
        together.clear();
        for piece in pieces {
            together.extend_from_slice(piece);
        }
        socket.poll_write(cx, together)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn what_is_written_is_the_pieces_in_their_order() {
        for sizes in [vec![5], vec![3, 4], vec![100, 0, 3996], vec![100, 3997], vec![10, 60_000]] {
            let pieces: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(at, size)| vec![at as u8; *size]).collect();
            let whole = pieces.concat();
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            let mut sent = 0;
            while sent < whole.len() {
                // What a short write left over is written on its own.
                let slices: Vec<IoSlice<'_>> = if sent == 0 {
                    pieces.iter().map(|piece| IoSlice::new(piece)).collect()
                } else {
                    vec![IoSlice::new(&whole[sent..])]
                };
                sent += poll_fn(|cx| poll_write(Pin::new(&mut near), cx, &slices)).await.unwrap();
            }
            drop(near);
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            assert!(received == whole, "{sizes:?}");
        }
    }
}
