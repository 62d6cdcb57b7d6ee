//! A segment's memory: the one module with `unsafe`.
//!
//! **Why at all:** a row must be in the kernel's hands before the client has its whole answer. `write(2)` costs
//! a system call per row, half a microsecond and more on the I/O thread; a store into a shared mapping of
//! the file costs nothing beyond the copy, and survives the process just as well: the page cache owns the page.
//!
//! **Why it is sound**
//! - No Rust reference into the mapping is ever made; it is written through raw pointers and read by nobody in
//!   this process (readers use `pread`), so no aliasing rule can be broken by what the kernel or another
//!   process does to the file.
//! - Every write checks its bounds and alignment against the mapping's length, which never changes.
//! - A [`Mapping`] is the only way to write, is not `Clone`, and writes through `&mut self`: one thread at a time.
//! - The mapping lives as long as the last of [`Mapping`] and [`Flusher`], which share it.
//!
//! **What could still go wrong:** touching a page whose block cannot be had raises SIGBUS. The caller has every
//! block handed out beforehand (`fallocate`), and holds the directory's lock so that no other gateway truncates
//! the file.
#![allow(unsafe_code, reason = "stores into a mapped file; argued in the module's documentation")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::frame;

/// What the frames of nearly every admission or row stay below.
#[cfg(target_arch = "x86_64")]
const FETCHED_BYTES: usize = 128;
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// The writing end of a mapped segment.
#[derive(Debug)]
pub(super) struct Mapping {
    raw: Arc<MmapRaw>,
}

/// The end that forces written ranges to disk.
#[derive(Debug)]
pub(super) struct Flusher {
    raw: Arc<MmapRaw>,
}

/// Maps the first `bytes` bytes of `file`, shared and writable.
///
/// # Errors
/// Those of `mmap(2)`.
pub(super) fn map(file: &File, bytes: usize) -> io::Result<(Mapping, Flusher)> {
    let raw = Arc::new(MmapOptions::new().len(bytes).map_raw(file)?);
    Ok((Mapping { raw: Arc::clone(&raw) }, Flusher { raw }))
}

impl Mapping {
    /// Begins a segment: its header, with no frame behind it.
    pub(super) fn begin(&mut self, header: [u8; frame::FIRST as usize]) {
        // Takes the page faults here and not on an I/O thread. Kernels before 5.14 do not know it: then they are
        // taken there.
        let _ = self.raw.advise(Advice::PopulateWrite);
        self.store_length(frame::FIRST as usize, 0);
        let [magic, seed] =
            [0, 8].map(|at| header[at..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word)));
        self.store_word(8, seed);
        self.store_word(0, magic);
    }

    /// Makes the file one that nobody takes for a segment.
    pub(super) fn give_up(&mut self) {
        self.store_word(0, 0);
    }

    /// Writes a frame at byte `at`: a zero behind it, payload and checksum first, then the length, so that a reader of the file
    /// (this process, or the next one after a crash at any instruction) sees all of it or nothing, and then no more.
    ///
    /// # Panics
    /// Where the frame would leave the mapping, or `at` is not a multiple of 8: a mistake in the caller's
    /// accounting, and better than a write into foreign memory.
    pub(super) fn publish(&mut self, at: usize, checksum: u32, payload: &[u8]) {
        let end = at + frame::HEAD_BYTES + payload.len();
        assert!(end <= self.raw.len(), "a frame beyond its segment");
        // SAFETY: `at + 8 + payload.len() <= len` was checked, so both copies stay inside the mapping. It is
        // not borrowed anywhere, and `payload` cannot overlap it, as no reference into it exists.
        unsafe {
            let head = self.raw.as_mut_ptr().add(at);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), head.add(frame::HEAD_BYTES), payload.len());
            std::ptr::copy_nonoverlapping(checksum.to_le_bytes().as_ptr(), head.add(4), 4);
        }
        let next = at + frame::frame_bytes(payload.len());
        self.store_length(next, 0);
        self.store_length(at, payload.len() as u32);
        self.fetch(next);
    }

    /// Has the processor fetch what a frame at `at` will most likely be written to. These lines were last touched some megabytes
    /// ago. A store does not wait for its line, but the next locked instruction waits for every store before it: two for each
    /// request, together a tenth of a microsecond.
    fn fetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in (at..at + FETCHED_BYTES).step_by(CACHE_LINE) {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            let line = self.raw.as_mut_ptr().wrapping_add(line);
            // SAFETY: it is a hint that changes nothing and faults nowhere, also behind the end of the mapping.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(line.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Writes the mark of a closed segment at byte `at`.
    ///
    /// # Panics
    /// As [`Mapping::publish`].
    pub(super) fn close(&mut self, at: usize) {
        self.store_length(at, frame::CLOSED);
    }

    fn store_word(&mut self, at: usize, word: u64) {
        assert!(at.is_multiple_of(8) && at + 8 <= self.raw.len(), "a word beyond its segment");
        // SAFETY: inside the mapping and aligned, as just checked; valid for the life of `self`. In this process nothing
        // else touches these bytes.
        let to = unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(at).cast()) };
        to.store(word, Ordering::Release);
    }

    fn store_length(&mut self, at: usize, length: u32) {
        assert!(at.is_multiple_of(8) && at + 4 <= self.raw.len(), "a length beyond its segment");
        // SAFETY: inside the mapping and aligned to 8 (a mapping begins at a page), as just checked; valid for
        // the life of `self`. In this process nothing else touches these four bytes.
        let word = unsafe { AtomicU32::from_ptr(self.raw.as_mut_ptr().add(at).cast()) };
        // Release: no store of the payload may be moved behind it, neither by compiler nor by processor.
        word.store(length.to_le(), Ordering::Release);
    }
}

impl Flusher {
    /// Forces the bytes from `from` up to `to` to the disk (`msync(2)`, which Linux does as a `fdatasync` of
    /// that range). Only the range, as the untouched rest would otherwise be written as zeros and then
    /// fault again under the writer.
    ///
    /// # Errors
    /// Those of `msync(2)`.
    pub(super) fn flush(&self, from: u64, to: u64) -> io::Result<()> {
        let (from, to) = (from as usize, (to as usize).min(self.raw.len()));
        if from < to { self.raw.flush_range(from, to - from) } else { Ok(()) }
    }

    /// Both ends anew, for another segment; `None` as long as there is the writing end.
    pub(super) fn again(self) -> Option<(Mapping, Self)> {
        let raw = Arc::new(Arc::into_inner(self.raw)?);
        Some((Mapping { raw: Arc::clone(&raw) }, Self { raw }))
    }
}
