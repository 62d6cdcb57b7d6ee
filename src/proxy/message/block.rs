//! The memory that a thread reads into.
//!
//! What has been read is a part of it until it is let go, and as long as nobody is behind the same block is used
//! again and again: no connection has a buffer of its own, and nothing is copied to take it out.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of a block, and so the most that one read brings.
const BLOCK_BYTES: usize = 64 * 1024;
/// Room for less than this is not read into, so that an answer of 32 KiB with its head needs one read.
const ROOM_BYTES_MIN: usize = 36 * 1024;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(BLOCK_BYTES));
}

/// Reads what has come, at most `bytes_max`; nothing at the end of the stream.
pub fn poll_read<S: AsyncRead + Unpin>(
    socket: &mut S,
    bytes_max: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<BytesMut>> {
    BLOCK.with_borrow_mut(|block| {
        if block.capacity() < ROOM_BYTES_MIN {
            // From its beginning again, where all that was read into it has been let go; else another.
            block.reserve(BLOCK_BYTES);
        }
        ready!(pin!(socket.read_buf(&mut block.limit(bytes_max))).poll(cx))?;
        Poll::Ready(Ok(block.split()))
    })
}

/// Puts `new` behind `read`.
pub fn join(read: &mut BytesMut, new: BytesMut) {
    if read.is_empty() { *read = new } else { hold(read, &new) }
}

/// Puts a copy of `new` behind `read`, in memory of its own: what has to wait does not keep a whole block.
pub fn hold(read: &mut BytesMut, new: &[u8]) {
    // What is a part of a block has no room behind it.
    if read.capacity() - read.len() < new.len().max(1) {
        let mut own = BytesMut::with_capacity(2 * (read.len() + new.len()));
        own.extend_from_slice(read);
        *read = own;
    }
    read.extend_from_slice(new);
}

/// Takes so many bytes from the front of `read`, and lets go of the block with the last.
pub fn take(read: &mut BytesMut, bytes: usize) -> Bytes {
    if bytes == read.len() { std::mem::take(read).freeze() } else { read.split_to(bytes).freeze() }
}

/// As [`take`], of what nobody wants.
pub fn pass(read: &mut BytesMut, bytes: usize) {
    if bytes == read.len() { *read = BytesMut::new() } else { read.advance(bytes) }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn one_block_serves_as_long_as_nobody_keeps_it() {
        let mut from: &[u8] = &[7; 100 * BLOCK_BYTES];
        let mut read = async |bytes| poll_fn(|cx| poll_read(&mut from, bytes, cx)).await.unwrap();
        let block = read(1).await.as_ptr() as usize;
        for _ in 0..50 {
            let piece = read(usize::MAX).await;
            assert!(piece.len() >= ROOM_BYTES_MIN);
            assert!((block..block + BLOCK_BYTES).contains(&(piece.as_ptr() as usize)));
        }
        // Somebody keeps a byte of each: what comes next is put elsewhere.
        let mut kept = Vec::new();
        for _ in 0..20 {
            let mut piece = read(usize::MAX).await;
            assert!(piece.len() >= ROOM_BYTES_MIN);
            piece[0] = kept.len() as u8;
            kept.push(take(&mut piece, 1));
        }
        assert!(kept.iter().enumerate().all(|(at, byte)| byte[0] == at as u8));
    }

    #[test]
    fn what_waits_has_memory_of_its_own_size() {
        let mut block = BytesMut::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(b"GET / HT");
        let mut read = block.split();
        for byte in b"TP/1.1\r\n" {
            hold(&mut read, &[*byte]);
            assert!(read.capacity() <= 64, "{}", read.capacity());
        }
        assert_eq!(read, "GET / HTTP/1.1\r\n");
        assert!(block.try_reclaim(BLOCK_BYTES), "nothing keeps the block");
    }
}
