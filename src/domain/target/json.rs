//! Finds the top-level `url` of a JSON body as it streams by, piece by piece.
//!
//! Nothing is kept of the body but the beginning of that one text, and at most a given number of bytes is looked at.
//! Of several `url`s the last one counts, as for nearly every parser. What is no JSON is not complained about: that
//! is between client and upstream.

use super::{LOOKED_AT_BYTES_MAX, NAME, host};

/// Reads along in a JSON body.
#[derive(Debug)]
pub struct JsonScanner {
    /// Bytes that are still looked at.
    left: usize,
    at: At,
    text: Text,
    found: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    /// Before the `{`.
    Start,
    /// Before a key, or the end of the object.
    BeforeKey,
    Key,
    /// Before the `:` behind a key.
    Colon {
        url: bool,
    },
    BeforeValue {
        url: bool,
    },
    /// In the text that is wanted.
    Url,
    /// In another text of the object.
    Other,
    /// In a number or word, or behind any value.
    Rest,
    /// In an array or object this many levels below.
    Nested(usize),
    NestedText(usize),
    /// Nothing more is wanted.
    Done,
}

impl JsonScanner {
    /// A scanner that looks at the first `bytes_max` bytes of a body.
    pub const fn new(bytes_max: usize) -> Self {
        Self { left: bytes_max, at: At::Start, text: Text::new(), found: None }
    }

    /// Looks at the next piece of the body.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.at == At::Done {
            return;
        }
        let mut rest = &piece[..piece.len().min(self.left)];
        self.left -= rest.len();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            self.at = match self.at {
                At::Done => return,
                At::Url | At::Other | At::Key | At::NestedText(_) => {
                    let keep = match self.at {
                        At::Url => LOOKED_AT_BYTES_MAX,
                        At::Key => NAME.len() + 1,
                        _ => 0,
                    };
                    if self.text.take(byte, keep) {
                        self.behind_text()
                    } else {
                        self.text.take_plain(&mut rest, keep);
                        self.at
                    }
                }
                other => self.step(other, byte),
            };
        }
        if self.left == 0 {
            self.at = At::Done;
        }
    }

    /// The host of the `url` seen so far.
    pub fn domain(&self) -> Option<&str> {
        self.found.as_deref()
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.text.kept.capacity()
    }

    /// Outside of texts.
    fn step(&mut self, at: At, byte: u8) -> At {
        match (at, byte) {
            (at, b' ' | b'\t' | b'\n' | b'\r') => at,
            (At::Start, b'{') => At::BeforeKey,
            (At::BeforeKey, b'"') => self.text_begins(At::Key),
            (At::BeforeKey, b',') => At::BeforeKey,
            (At::Colon { url }, b':') => At::BeforeValue { url },
            (At::BeforeValue { url }, byte) => {
                if url {
                    self.found = None;
                }
                match byte {
                    b'"' => self.text_begins(if url { At::Url } else { At::Other }),
                    b'{' | b'[' => At::Nested(1),
                    _ => At::Rest,
                }
            }
            (At::Rest, b',') => At::BeforeKey,
            (At::Rest, b'}') => At::Done,
            (At::Rest, _) => At::Rest,
            (At::Nested(depth), b'{' | b'[') => At::Nested(depth + 1),
            (At::Nested(1), b'}' | b']') => At::Rest,
            (At::Nested(depth), b'}' | b']') => At::Nested(depth - 1),
            (At::Nested(depth), b'"') => self.text_begins(At::NestedText(depth)),
            (At::Nested(depth), _) => At::Nested(depth),
            // The end of the object, or no object at all.
            _ => At::Done,
        }
    }

    fn text_begins(&mut self, at: At) -> At {
        self.text = Text { kept: std::mem::take(&mut self.text.kept), ..Text::new() };
        self.text.kept.clear();
        at
    }

    fn behind_text(&mut self) -> At {
        match self.at {
            At::Key => At::Colon { url: self.text.is(NAME) },
            At::Url => {
                self.found = self.text.is_text().then(|| host(&self.text.kept)).flatten();
                At::Rest
            }
            At::NestedText(depth) => At::Nested(depth),
            _ => At::Rest,
        }
    }
}

/// A JSON text as it comes (RFC 8259 section 7), of which the beginning is kept, unescaped.
#[derive(Debug)]
struct Text {
    kept: Vec<u8>,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    /// Holds an escape that stands for no character.
    broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Escape {
    No,
    Begun,
    Unicode { digits: u8, value: u16 },
}

impl Text {
    const fn new() -> Self {
        Self { kept: Vec::new(), escape: Escape::No, high: None, broken: false }
    }

    fn is(&self, name: &str) -> bool {
        self.is_text() && self.kept == name.as_bytes()
    }

    const fn is_text(&self) -> bool {
        !self.broken && self.high.is_none()
    }

    /// Takes a byte and keeps what it says while that is less than `keep` bytes; whether the text has ended.
    fn take(&mut self, byte: u8, keep: usize) -> bool {
        match (self.escape, byte) {
            (Escape::No, b'"') => return true,
            (Escape::No, b'\\') => self.escape = Escape::Begun,
            (Escape::No, byte) => self.say(&[byte], keep),
            (Escape::Begun, b'u') => self.escape = Escape::Unicode { digits: 0, value: 0 },
            (Escape::Begun, byte) => {
                self.escape = Escape::No;
                let said = match byte {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'"' | b'\\' | b'/' => byte,
                    _ => return self.breaks(),
                };
                self.say(&[said], keep);
            }
            (Escape::Unicode { digits, value }, byte) => {
                let Some(digit) = (byte as char).to_digit(16) else { return self.breaks() };
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    self.escape = Escape::Unicode { digits: digits + 1, value };
                } else {
                    self.escape = Escape::No;
                    self.say_unit(value, keep);
                }
            }
        }
        false
    }

    /// Skips over bytes that stand for themselves.
    fn take_plain(&mut self, rest: &mut &[u8], keep: usize) {
        if self.escape != Escape::No {
            return;
        }
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if plain > 0 {
            self.say(&rest[..plain], keep);
        }
        *rest = &rest[plain..];
    }

    fn breaks(&mut self) -> bool {
        self.broken = true;
        self.escape = Escape::No;
        false
    }

    fn say(&mut self, bytes: &[u8], keep: usize) {
        // A half of a pair must be followed by the other.
        self.broken |= self.high.take().is_some();
        let room = keep.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn say_unit(&mut self, unit: u16, keep: usize) {
        let character = match (self.high.take(), unit) {
            (None, 0xd800..=0xdbff) => {
                self.high = Some(unit);
                return;
            }
            (None, unit) => char::from_u32(unit.into()),
            (Some(high), unit) => char::decode_utf16([high, unit]).next().and_then(Result::ok),
        };
        match character {
            Some(character) => self.say(character.encode_utf8(&mut [0; 4]).as_bytes(), keep),
            None => self.broken = true,
        }
    }
}
