//! The memory that heads are written into.
//!
//! A head is written and gone within microseconds, so a few buffers serve a whole thread. The one used last is used
//! next: it is still in the processor's cache, which an allocator that goes round its pages does not see to.

use std::cell::RefCell;

/// Room for most heads with the content of a small answer, in bytes.
const BYTES: usize = 2048;
/// Larger ones are not kept, in bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// So many are kept; more are needed only while targets or clients do not take what is written.
const KEPT_MAX: usize = 8;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty one.
pub fn take() -> Vec<u8> {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BYTES))
}

/// Gives one back that [`take`] gave, perhaps grown. One without memory is passed over.
pub fn give(mut text: Vec<u8>) {
    if !(BYTES..=KEPT_BYTES_MAX).contains(&text.capacity()) {
        return;
    }
    text.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_next_and_empty() {
        let mut text = take();
        text.extend_from_slice(b"secret");
        let at = text.as_ptr();
        give(text);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        for bytes in [0, BYTES - 1, KEPT_BYTES_MAX + 1] {
            give(Vec::with_capacity(bytes));
        }
        (0..2 * KEPT_MAX).for_each(|_| give(Vec::with_capacity(BYTES)));
        assert_eq!(KEPT.with_borrow(Vec::len), KEPT_MAX);
    }
}
