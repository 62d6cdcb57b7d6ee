//! JSONB as SQLite reads it, as far as the log needs it: arrays, whole numbers, texts, and nothing.
//!
//! Source of the format: <https://sqlite.org/jsonb.html>. An element is a header and a payload. The lower half of the
//! header's first byte is the type; the upper half is the payload's length, or says in how many bytes that follows.

const NULL: u8 = 0;
const INT: u8 = 3;
/// A text without characters that JSON would escape: what SQLite writes, and this does not.
const TEXT: u8 = 7;
/// A text with characters that JSON would escape, and without the escapes.
const TEXT_RAW: u8 = 10;
const ARRAY: u8 = 11;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Array(Elements<'a>),
}

/// Elements of an array, from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elements<'a>(&'a [u8]);

/// Appends no value.
pub(super) fn put_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends a number.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    // Most are small; those of one digit need no formatting at all.
    if let 0..=9 = value {
        out.extend_from_slice(&[1 << 4 | INT, b'0' + value as u8]);
        return;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    put_header(out, INT, digits.len());
    out.extend_from_slice(digits);
}

/// Appends a text.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_header(out, TEXT_RAW, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends an array of elements that stand one behind the other in `elements`.
pub(super) fn put_array(out: &mut Vec<u8>, elements: &[u8]) {
    put_header(out, ARRAY, elements.len());
    out.extend_from_slice(elements);
}

fn put_header(out: &mut Vec<u8>, kind: u8, bytes: usize) {
    match bytes {
        0..=11 => out.push((bytes as u8) << 4 | kind),
        12..=0xff => out.extend_from_slice(&[12 << 4 | kind, bytes as u8]),
        0x100..=0xffff => {
            out.push(13 << 4 | kind);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(14 << 4 | kind);
            out.extend_from_slice(&(bytes as u32).to_be_bytes());
        }
    }
}

/// Reads an array; `None` where the bytes are none, or more than one.
pub(super) fn array(bytes: &[u8]) -> Option<Elements<'_>> {
    let mut elements = Elements(bytes);
    let array = elements.array()?;
    elements.0.is_empty().then_some(array)
}

impl<'a> Elements<'a> {
    /// What stands at the front of `bytes`, and behind it.
    pub const fn at(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of what is left.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The next element; `None` behind the last, or where there is something else than [`Value`] knows.
    pub fn value(&mut self) -> Option<Value<'a>> {
        let (kind, payload) = self.element()?;
        Some(match kind {
            NULL if payload.is_empty() => Value::Null,
            INT => Value::Int(number(payload)?),
            TEXT | TEXT_RAW => Value::Text(std::str::from_utf8(payload).ok()?),
            ARRAY => Value::Array(Elements(payload)),
            _ => return None,
        })
    }

    /// The next element, which must be a number.
    pub fn int(&mut self) -> Option<i64> {
        match self.element()? {
            (INT, payload) => number(payload),
            _ => None,
        }
    }

    /// The next element, which must be an array.
    pub fn array(&mut self) -> Option<Self> {
        match self.element()? {
            (ARRAY, payload) => Some(Self(payload)),
            _ => None,
        }
    }

    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (head, rest) = self.0.split_first()?;
        let (bytes, rest) = match head >> 4 {
            short @ 0..=11 => (usize::from(short), rest),
            12 => rest.split_first().map(|(byte, rest)| (usize::from(*byte), rest))?,
            13 => rest
                .split_first_chunk()
                .map(|(bytes, rest)| (usize::from(u16::from_be_bytes(*bytes)), rest))?,
            14 => {
                rest.split_first_chunk().map(|(bytes, rest)| (u32::from_be_bytes(*bytes) as usize, rest))?
            }
            _ => return None,
        };
        let (payload, rest) = rest.split_at_checked(bytes)?;
        self.0 = rest;
        Some((head & 0xf, payload))
    }
}

/// Digits, with a sign or without.
fn number(digits: &[u8]) -> Option<i64> {
    // What fits by its length alone: anything but 18 digits and more.
    let (negative, plain) = match digits {
        [b'-', plain @ ..] => (true, plain),
        plain => (false, plain),
    };
    if plain.is_empty() || plain.len() > 18 {
        return std::str::from_utf8(digits).ok()?.parse().ok();
    }
    let mut value = 0_i64;
    for digit in plain {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    #[derive(Clone, Debug)]
    enum Put {
        Null,
        Int(i64),
        Text(String),
    }

    fn put() -> impl Strategy<Value = Put> {
        prop_oneof![
            Just(Put::Null),
            any::<i64>().prop_map(Put::Int),
            (-20..300_i64).prop_map(Put::Int),
            any::<String>().prop_map(Put::Text),
            "[a-z\u{1}-\u{1f}\"\\\\]{0,300}".prop_map(Put::Text),
        ]
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_here_and_by_sqlite(rows in prop::collection::vec(prop::collection::vec(put(), 0..12), 0..6)) {
            let db = Connection::open_in_memory().unwrap();
            let (mut inner, mut out) = (Vec::new(), Vec::new());
            for row in &rows {
                let mut elements = Vec::new();
                for value in row {
                    match value {
                        Put::Null => put_null(&mut elements),
                        Put::Int(value) => put_int(&mut elements, *value),
                        Put::Text(text) => put_text(&mut elements, text),
                    }
                }
                put_array(&mut inner, &elements);
            }
            put_array(&mut out, &inner);
            let valid: bool = db.query_row("SELECT json_valid(?, 8)", [&out], |row| row.get(0)).unwrap();
            prop_assert!(valid);
            let mut read = array(&out).unwrap();
            for (at, row) in rows.iter().enumerate() {
                let mut values = read.array().unwrap();
                for (column, value) in row.iter().enumerate() {
                    let expected = match value {
                        Put::Null => Value::Null,
                        Put::Int(value) => Value::Int(*value),
                        Put::Text(text) => Value::Text(text),
                    };
                    prop_assert_eq!(values.value(), Some(expected));
                    // As the view `requests` reads it.
                    let sql = "SELECT value ->> ?3 FROM json_each(?1) WHERE key = ?2";
                    let params = (&out, at as i64, column as i64);
                    let same = db.query_row(sql, params, |row| Ok(match (row.get_ref(0)?, expected) {
                        (rusqlite::types::ValueRef::Null, Value::Null) => true,
                        (rusqlite::types::ValueRef::Integer(one), Value::Int(other)) => one == other,
                        (rusqlite::types::ValueRef::Text(one), Value::Text(other)) => one == other.as_bytes(),
                        _ => false,
                    })).unwrap();
                    prop_assert!(same, "{value:?}");
                }
                prop_assert!(values.is_empty() && values.value().is_none());
            }
            prop_assert!(read.is_empty());
        }

        #[test]
        fn whatever_the_bytes_reading_ends(bytes: Vec<u8>) {
            let mut elements = Elements(&bytes);
            while elements.value().is_some() {}
        }
    }
}
