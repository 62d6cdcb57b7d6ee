//! How payloads stand in a segment.
//!
//! ```text
//! segment = magic(8) zero(8) frame* ( zero … | CLOSED )
//! frame   = length(4) crc32(4) payload zero…        little-endian, padded to 8 bytes
//! ```
//! The length is written last. So a length of zero is the end of what a writer got done, however it ended;
//! [`CLOSED`] in the place of a length is the end of what it meant to write here.

use std::fmt;

use super::codec::{self, Entry};

/// The first bytes of a segment: the format and its version.
pub(super) const MAGIC: [u8; 8] = *b"TOLLSPL2";
/// Those of the first version, in which every payload says whose it is: still read, never written.
const FIRST_MAGIC: [u8; 8] = *b"TOLLSPL1";
/// Where the first frame begins.
pub(super) const FIRST: u64 = 16;
/// In the place of a length: nothing follows.
pub(super) const CLOSED: u32 = u32::MAX;
/// Bytes that a segment keeps free for [`CLOSED`].
pub(super) const CLOSED_BYTES: usize = 8;
/// Length and checksum.
pub(super) const HEAD_BYTES: usize = 8;
const ALIGNMENT: usize = 8;
/// The longest frame: a row with every text at its bound.
pub(super) const ROW_FRAME_MAX: usize = frame_bytes(codec::ROW_BYTES_MAX);
/// The longest frame of an admission, and one before it that gives its owner a number.
pub(super) const ADMISSION_FRAMES_MAX: usize =
    frame_bytes(codec::OWNER_BYTES_MAX) + frame_bytes(codec::ADMISSION_BYTES_MAX);

/// The bytes that a frame with `payload` bytes of payload takes.
pub(super) const fn frame_bytes(payload: usize) -> usize {
    (HEAD_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// A place in a segment behind which nothing can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file name.
    pub segment: String,
    /// The offset of the first byte that cannot be trusted.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.segment, self.offset, self.reason)
    }
}

/// What is said of a payload that cannot be read though its checksum is right.
pub(super) const UNKNOWN: &str = "a frame is whole, but of a kind or version that this program does not know";

/// What stands at one place of a segment.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'a> {
    /// A whole frame of this many bytes.
    Entry(Entry<'a>, usize),
    /// Nothing was written here yet, or ever.
    End,
    /// The writer closed the segment here.
    Closed,
    /// The bytes at hand stop inside a frame.
    Partial,
    /// Not a frame, for this reason.
    Damaged(&'static str),
}

/// Reads what `bytes` begin with.
#[inline]
pub(super) fn step(bytes: &[u8]) -> Step<'_> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Step::Partial };
    let length = match u32::from_le_bytes(*length) {
        0 => return Step::End,
        CLOSED => return Step::Closed,
        length => length as usize,
    };
    if length > codec::PAYLOAD_BYTES_MAX {
        return Step::Damaged("the length of a frame is longer than any frame");
    }
    let frame = frame_bytes(length);
    if bytes.len() < frame {
        return Step::Partial;
    }
    let Some((crc, rest)) = rest.split_first_chunk() else { return Step::Partial };
    let Some(payload) = rest.get(..length) else { return Step::Partial };
    if crc32fast::hash(payload) != u32::from_le_bytes(*crc) {
        return Step::Damaged("the checksum of a frame does not match it");
    }
    codec::read(payload).map_or(Step::Damaged(UNKNOWN), |entry| Step::Entry(entry, frame))
}

/// Reads a segment's first [`FIRST`] bytes; `Ok(false)` where they were never written.
pub(super) fn check_header(header: &[u8]) -> Result<bool, &'static str> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(false);
    }
    if header.len() == FIRST as usize && (header.starts_with(&MAGIC) || header.starts_with(&FIRST_MAGIC)) {
        return Ok(true);
    }
    Err("the file is not a segment of this format")
}
