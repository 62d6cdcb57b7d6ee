//! The chunked transfer coding, read strictly (RFC 9112 section 7.1). Pure.
//!
//! Of a client's request hyper decodes the same bytes again; whatever it forgives (whitespace around sizes,
//! anything at all in extensions) is refused here, so that both always agree where a body ends. Of an answer
//! this is the only reader.

use super::Violation;
use super::fields::is_token;

/// Extensions of all chunks of a body together, in bytes. Nobody uses them; hyper would take 16 KiB.
const EXTENSION_BYTES_MAX: u16 = 1024;
/// Digits of a chunk size: what 64 bits hold.
const SIZE_DIGITS_MAX: u8 = 16;

/// How far a chunked body has been read.
#[derive(Debug, Clone, Copy)]
pub struct Chunked {
    at: At,
    /// The size being read, or what is left of the chunk.
    left: u64,
    digits: u8,
    extension_bytes: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    /// In a name or value of an extension, which must not be empty.
    Extension {
        value: bool,
        empty: bool,
    },
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl Chunked {
    /// At the beginning of a body.
    pub const fn new() -> Self {
        Self { at: At::Size, left: 0, digits: 0, extension_bytes: 0 }
    }

    /// Whether the last chunk has been read: a trailer section follows, often an empty one.
    pub fn is_at_trailers(&self) -> bool {
        self.at == At::Trailers
    }

    /// Reads on, up to the trailer section: how many of `bytes` belong to the chunks.
    ///
    /// # Errors
    /// [`Violation::BadRequest`] at the first byte that does not fit.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_at_trailers() {
            let lines = self.lines(rest)?;
            rest = rest.get(lines..).unwrap_or_default();
            let data = self.data(rest);
            rest = rest.get(data..).unwrap_or_default();
        }
        Ok(bytes.len() - rest.len())
    }

    /// Reads on, up to the next byte of data or the trailer section: how many of `bytes` only frame.
    ///
    /// # Errors
    /// [`Violation::BadRequest`] at the first byte that does not fit.
    pub fn lines(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut taken = 0;
        for byte in bytes {
            if matches!(self.at, At::Data | At::Trailers) {
                break;
            }
            self.at = self.step(*byte)?;
            taken += 1;
        }
        Ok(taken)
    }

    /// How many of `bytes`, which come behind [`Self::lines`], are data of the present chunk.
    pub fn data(&mut self, bytes: &[u8]) -> usize {
        if self.at != At::Data {
            return 0;
        }
        let some = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= some as u64;
        if self.left == 0 {
            self.at = At::DataCr;
        }
        some
    }

    fn step(&mut self, byte: u8) -> Result<At, Violation> {
        match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => Ok(At::SizeLf),
            (At::Size, b';') if self.digits > 0 => self.extension(false, true),
            (At::Size, digit) => self.size(digit),
            (At::Extension { empty: false, .. }, b'\r') => Ok(At::SizeLf),
            (At::Extension { empty: false, .. }, b';') => self.extension(false, true),
            (At::Extension { empty: false, value: false }, b'=') => self.extension(true, true),
            (At::Extension { value, .. }, byte) if is_token(byte) => self.extension(value, false),
            (At::Extension { .. }, _) => Err(Violation::BadRequest("ill-formed chunk extension")),
            (At::SizeLf, b'\n') if self.left == 0 => Ok(At::Trailers),
            (At::SizeLf, b'\n') => Ok(At::Data),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => {
                self.digits = 0;
                Ok(At::Size)
            }
            _ => Err(Violation::BadRequest("chunk line without CRLF")),
        }
    }

    fn size(&mut self, digit: u8) -> Result<At, Violation> {
        let value = (digit as char).to_digit(16);
        let Some(value) = value.filter(|_| self.digits < SIZE_DIGITS_MAX) else {
            return Err(Violation::BadRequest("ill-formed chunk size"));
        };
        self.digits += 1;
        self.left = self.left << 4 | u64::from(value);
        Ok(At::Size)
    }

    const fn extension(&mut self, value: bool, empty: bool) -> Result<At, Violation> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Violation::BadRequest("chunk extensions too long"));
        }
        Ok(At::Extension { value, empty })
    }
}
