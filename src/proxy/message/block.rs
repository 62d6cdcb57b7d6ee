//! The memory that a thread reads into.
//!
//! What has been read is a part of it until it is let go, and as long as nobody is behind the same block is used
//! again and again: no connection has a buffer of its own, and nothing is copied to take it out.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
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

/// Puts `new` behind `read`. What has to wait is rarely long, so it is copied.
pub fn join(read: &mut BytesMut, new: BytesMut) {
    if read.is_empty() {
        *read = new;
    } else {
        read.extend_from_slice(&new);
    }
}

/// Takes so many bytes from the front of `read`, and lets go of the block with the last.
pub fn take(read: &mut BytesMut, bytes: usize) -> Bytes {
    if bytes == read.len() { std::mem::take(read).freeze() } else { read.split_to(bytes).freeze() }
}
