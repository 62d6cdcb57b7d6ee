//! Header lines: their form, and what those say that decide how the message is framed.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, HeaderValue};

use super::Violation;

/// One step over a section of lines.
pub enum Line<'b> {
    /// A header line.
    Field(Field<'b>),
    /// The empty line that ends the section.
    End,
    /// More bytes are needed to tell.
    Partial,
}

/// A header line of good form.
pub struct Field<'b> {
    name: &'b [u8],
    weight: u32,
    value: &'b [u8],
}

/// What a name says about framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Expect`.
    Expect,
}

/// Weights of names are compared in these bits; above them only the number of bytes is counted.
const WEIGHT_BITS: u32 = 0x00ff_ffff;
const HOST: u32 = weigh(b"host");
const CONTENT_LENGTH: u32 = weigh(b"contentlength");
const TRANSFER_ENCODING: u32 = weigh(b"transferencoding");
const EXPECT: u32 = weigh(b"expect");

/// For each byte 0 where it may not stand in a token (RFC 9110 section 5.6.2), else its weight. Only letters
/// and digits weigh, so all spellings of a name that differ in case and odd bytes weigh the same: one addition
/// a byte tells the few names worth a closer look from all others.
static TOKEN: [u32; 256] = token_weights();

const fn token_weights() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() {
            let lower = byte.to_ascii_lowercase() as u32;
            table[at] = (1 << 24) | (lower * lower * 31 + lower * 7) & 0xfff;
        } else if matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        ) {
            table[at] = 1 << 24;
        }
        at += 1;
    }
    table
}

const fn weigh(name: &[u8]) -> u32 {
    let table = token_weights();
    let (mut at, mut weight) = (0, 0_u32);
    while at < name.len() {
        weight = weight.wrapping_add(table[name[at] as usize]);
        at += 1;
    }
    weight & WEIGHT_BITS
}

/// Whether `byte` may stand in a token.
#[inline]
pub fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize] != 0
}

/// Reads the line at the front of `rest`, and moves `rest` behind it.
///
/// # Errors
/// [`Violation::BadRequest`] for any line that RFC 9112 section 5 does not allow, folded lines among them.
#[inline]
pub fn next_line<'b>(rest: &mut &'b [u8]) -> Result<Line<'b>, Violation> {
    let bytes = *rest;
    let mut weight = 0_u32;
    let mut length = 0;
    for byte in bytes {
        let one = TOKEN[*byte as usize];
        if one == 0 {
            break;
        }
        weight = weight.wrapping_add(one);
        length += 1;
    }
    let (name, after) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let after = match after {
        [b':', after @ ..] if length > 0 => after,
        [] => return Ok(Line::Partial),
        _ if length == 0 => return end_of_section(rest),
        [b' ' | b'\t', ..] => return Err(Violation::BadRequest("whitespace before the colon of a header")),
        _ => return Err(Violation::BadRequest("ill-formed header name")),
    };
    let (value, after) = after.split_at_checked(text_run(after)).unwrap_or((after, &[]));
    match after {
        [b'\r', b'\n', after @ ..] => *rest = after,
        [] | [b'\r'] => return Ok(Line::Partial),
        [b'\r', ..] => return Err(Violation::BadRequest("carriage return without line feed")),
        [b'\n', ..] => return Err(Violation::BadRequest("line feed without carriage return")),
        _ => return Err(Violation::BadRequest("control character in a header value")),
    }
    Ok(Line::Field(Field { name, weight: weight & WEIGHT_BITS, value }))
}

/// A line that does not begin with a name.
#[cold]
fn end_of_section<'b>(rest: &mut &'b [u8]) -> Result<Line<'b>, Violation> {
    match *rest {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Line::End)
        }
        [b'\r'] => Ok(Line::Partial),
        [b'\r', ..] => Err(Violation::BadRequest("carriage return without line feed")),
        [b'\n', ..] => Err(Violation::BadRequest("line feed without carriage return")),
        [b' ' | b'\t', ..] => Err(Violation::BadRequest("folded header line")),
        [b':', ..] => Err(Violation::BadRequest("empty header name")),
        _ => Err(Violation::BadRequest("ill-formed header name")),
    }
}

/// How many bytes from the front may stand in a header value: anything but controls, and tabs (RFC 9110
/// section 5.5). Bytes above ASCII pass as the opaque data they are.
#[inline]
pub fn text_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        let hit = words.iter().enumerate().find_map(|(at, word)| {
            let word = u64::from_le_bytes(*word);
            // Eight bytes at once: the lowest high bit left standing marks the first byte below a space, or
            // DEL. Bits above it may be wrong by a borrow, so only the lowest counts.
            let low = word.wrapping_sub(ONES * 0x20) & !word;
            let del = (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f));
            let hits = (low | del) & HIGHS;
            (hits != 0).then(|| at * 8 + hits.trailing_zeros() as usize / 8)
        });
        let hit = hit.or_else(|| {
            let control = tail.iter().position(|byte| *byte < b' ' || *byte == 0x7f);
            control.map(|at| words.len() * 8 + at)
        });
        match hit {
            None => return bytes.len(),
            Some(at) if rest.get(at) == Some(&b'\t') => from += at + 1,
            Some(at) => return from + at,
        }
    }
}

impl<'b> Field<'b> {
    /// What this line says about framing, if anything.
    ///
    /// # Errors
    /// [`Violation::BadRequest`] where the name is not one of ours but some program may take it for one, by
    /// dropping or replacing odd bytes: `Content_Length`, `Transfer.Encoding`.
    #[inline]
    pub fn special(&self) -> Result<Option<Special>, Violation> {
        match self.weight {
            HOST | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT => self.closer_look(),
            _ => Ok(None),
        }
    }

    #[cold]
    fn closer_look(&self) -> Result<Option<Special>, Violation> {
        let is = |name: &[u8]| self.name.eq_ignore_ascii_case(name);
        let like = |skeleton: &[u8]| {
            let plain = self.name.iter().filter(|byte| byte.is_ascii_alphanumeric());
            plain.map(u8::to_ascii_lowercase).eq(skeleton.iter().copied())
        };
        if is(b"host") {
            Ok(Some(Special::Host))
        } else if is(b"content-length") {
            Ok(Some(Special::ContentLength))
        } else if is(b"transfer-encoding") {
            Ok(Some(Special::TransferEncoding))
        } else if is(b"expect") {
            Ok(Some(Special::Expect))
        } else if like(b"host") || like(b"contentlength") || like(b"transferencoding") {
            Err(Violation::BadRequest("header name that looks like a framing header"))
        } else {
            Ok(None)
        }
    }

    /// Adds the field to `headers`. Its value is not copied: it stays a part of `section`, which it was read from.
    ///
    /// # Errors
    /// Never for a field of good form and a section of bounded length.
    pub fn append_to(&self, headers: &mut HeaderMap, section: &Bytes) -> Result<(), Violation> {
        const ILL_FORMED: Violation = Violation::BadRequest("ill-formed header");
        let name = HeaderName::from_bytes(self.name).map_err(|_| ILL_FORMED)?;
        let value =
            HeaderValue::from_maybe_shared(section.slice_ref(self.value())).map_err(|_| ILL_FORMED)?;
        headers.try_append(name, value).map_err(|_| Violation::HeadTooLarge)?;
        Ok(())
    }

    /// The name as it was written.
    #[inline]
    pub const fn name(&self) -> &'b [u8] {
        self.name
    }

    /// The value without whitespace around it.
    #[inline]
    pub const fn value(&self) -> &'b [u8] {
        let mut value = self.value;
        while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = value {
            value = inner;
        }
        value
    }
}

/// The fields of a section of lines that has been checked.
///
/// # Errors
/// As [`next_line`], which has let it through before.
pub fn read_section(section: &Bytes) -> Result<HeaderMap, Violation> {
    let mut rest = &section[..];
    let mut headers = HeaderMap::new();
    while let Line::Field(field) = next_line(&mut rest)? {
        field.append_to(&mut headers, section)?;
    }
    Ok(headers)
}

/// Whether `Connection` has this option (RFC 9110 section 7.6.1).
pub fn has_option(headers: &HeaderMap, wanted: &[u8]) -> bool {
    is_among(headers.get_all(CONNECTION).into_iter().map(HeaderValue::as_bytes), wanted)
}

/// Whether one of these values of a list field has this member.
pub fn is_among<'v>(values: impl Iterator<Item = &'v [u8]>, wanted: &[u8]) -> bool {
    let has = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    values.into_iter().any(has)
}
