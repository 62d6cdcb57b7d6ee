//! How payloads stand in a segment.
//!
//! ```text
//! segment = magic(8) seed(4) zero(4) frame* ( zero(4) … | CLOSED )
//! frame   = length(4) checksum(4) payload …     little-endian, padded to 8 bytes
//! ```
//! The length is written last, and behind it there is a zero by then. So a length of zero is the end of what a writer got done,
//! however it ended; [`CLOSED`] in the place of a length is the end of what it meant to write here.
//!
//! **Files are used again**, so that behind the end there may be frames of a segment that the file was before. A zero stands
//! before them; and where a machine died that had not brought it to disk, they are not taken for this segment's, as every one begins
//! its checksums with a seed of its own.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::codec::{self, Entry};

/// The first bytes of a segment: the format and its version.
const MAGIC: [u8; 8] = *b"TOLLSPL5";
/// That of the version before, still read and never written: its rows do not say which admission is theirs.
const FOURTH: [u8; 8] = *b"TOLLSPL4";
/// Those of earlier versions: in the first every payload says whose it is, in the first two the seed is zero, and rows of all of
/// them are written out.
const EARLIER: [[u8; 8]; 3] = [*b"TOLLSPL1", *b"TOLLSPL2", *b"TOLLSPL3"];
/// Where the first frame begins.
pub(super) const FIRST: u64 = 16;
/// In the place of a length: nothing follows.
pub(super) const CLOSED: u32 = u32::MAX;
/// Bytes that a segment keeps free for [`CLOSED`].
pub(super) const CLOSED_BYTES: usize = 8;
/// Length and checksum.
pub(super) const HEAD_BYTES: usize = 8;
const ALIGNMENT: usize = 8;
/// The longest frame: a row with every text at its bound. A row behind what gives numbers to its owner and shape takes less.
pub(super) const ROW_FRAME_MAX: usize = frame_bytes(codec::ROW_BYTES_MAX);
const _: () = assert!(
    frame_bytes(codec::OWNER_BYTES_MAX)
        + frame_bytes(codec::SHAPE_PAYLOAD_BYTES_MAX)
        + frame_bytes(codec::NUMBERED_ROW_BYTES_MAX)
        <= ROW_FRAME_MAX
);
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
    /// A whole frame: what its payload is, that, and how many bytes the frame has.
    Entry(Entry, &'a [u8], usize),
    /// Nothing was written here yet, or ever.
    End,
    /// The writer closed the segment here.
    Closed,
    /// The bytes at hand stop inside a frame.
    Partial,
    /// Not a frame, for this reason.
    Damaged(&'static str),
}

/// How a segment's checksums are made, each of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// The lower half of XXH3 of 64 bits with this seed: a few nanoseconds for a payload, where CRC-32 takes tens, and the
    /// processor's cache for its tables.
    Xxh3(u32),
    /// CRC-32 that goes on from this seed, in earlier versions.
    Crc32(u32),
}

impl Checksum {
    /// The checksum of a payload.
    #[inline]
    pub fn of(self, payload: &[u8]) -> u32 {
        match self {
            Self::Xxh3(seed) => xxh3_64_with_seed(payload, seed.into()) as u32,
            Self::Crc32(seed) => {
                let mut crc = crc32fast::Hasher::new_with_initial(seed);
                crc.update(payload);
                crc.finalize()
            }
        }
    }

    /// The first bytes of a segment that this program writes.
    pub fn header(self) -> [u8; FIRST as usize] {
        let (Self::Xxh3(seed) | Self::Crc32(seed)) = self;
        let mut header = [0; FIRST as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&seed.to_le_bytes());
        header
    }
}

/// Reads what `bytes`, of a segment with these checksums, begin with.
#[inline]
pub(super) fn step(checksum: Checksum, bytes: &[u8]) -> Step<'_> {
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
    let Some((sum, rest)) = rest.split_first_chunk() else { return Step::Partial };
    let Some(payload) = rest.get(..length) else { return Step::Partial };
    if checksum.of(payload) != u32::from_le_bytes(*sum) {
        return Step::Damaged("the checksum of a frame does not match it");
    }
    codec::read(payload).map_or(Step::Damaged(UNKNOWN), |entry| Step::Entry(entry, payload, frame))
}

/// How the checksums of a segment are made that begins with these [`FIRST`] bytes; `Ok(None)` where they were never written, or
/// the segment was given up.
pub(super) fn checksum_in(header: &[u8]) -> Result<Option<Checksum>, &'static str> {
    let magic = header.get(..8).unwrap_or(header);
    if magic.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let whole = header.len() == FIRST as usize;
    let seed = header.get(8..12).and_then(<[u8]>::first_chunk).map(|seed| u32::from_le_bytes(*seed));
    let checksum = match seed.filter(|_| whole) {
        Some(seed) if magic == MAGIC || magic == FOURTH => Some(Checksum::Xxh3(seed)),
        Some(seed) if EARLIER.iter().any(|earlier| magic == earlier) => Some(Checksum::Crc32(seed)),
        _ => None,
    };
    checksum.map(Some).ok_or("the file is not a segment of this format")
}
