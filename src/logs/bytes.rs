//! The parts of payloads: numbers in as few bytes as they need, texts behind their lengths.

use uuid::Uuid;

use crate::stores::record::packed;
pub(super) use crate::stores::record::packed::put as put_varint;

/// Bytes of the longest number.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Writes at most `most` bytes of `text`, whole characters, behind their number.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, most: usize) {
    let text = &text[..text.floor_char_boundary(most)];
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// What is left to read of a payload.
pub(super) struct Bytes<'a> {
    pub left: &'a [u8],
}

impl<'a> Bytes<'a> {
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.left.split_first_chunk()?;
        self.left = rest;
        Some(*array)
    }

    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let mut numbers = packed::Bytes(self.left);
        let number = numbers.number()?;
        self.left = numbers.0;
        Some(number)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.varint()?;
        self.text_of(length.try_into().ok()?)
    }

    /// The next `length` bytes as text.
    pub fn text_of(&mut self, length: usize) -> Option<&'a str> {
        let (text, rest) = self.left.split_at_checked(length)?;
        self.left = rest;
        std::str::from_utf8(text).ok()
    }

    pub fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    /// `Some(None)` where the value is absent, `None` where it should be there and cannot be read.
    pub fn optional<T>(
        &mut self,
        present: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if present { read(self).map(Some) } else { Some(None) }
    }
}
