//! The fields of an answer, kept as the lines that the client will read.
//!
//! An answer's fields are looked at here and there and then written, once and in their order. A map would hash every
//! name and share every value to find each once; here a look is a walk over a dozen names.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::text;

/// Room for so many is made at once: most answers have fewer.
const USUAL: usize = 16;

/// Fields in their order. Names are in lower case.
#[derive(Default)]
pub struct Fields {
    /// Lines as they are written. Those that were removed stay until the end.
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line lies: `name: value`.
#[derive(Clone, Copy)]
struct Line {
    at: usize,
    colon: usize,
    end: usize,
}

const COLON: &[u8] = b": ";
const END: &[u8] = b"\r\n";

impl Fields {
    /// None.
    pub fn new() -> Self {
        Self { text: text::take(), lines: Vec::with_capacity(USUAL) }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.lines.len()
    }

    /// One more, of a name and a value that may stand in a line.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = self.text.len();
        self.text.extend_from_slice(name);
        let colon = self.text.len();
        self.text[at..].make_ascii_lowercase();
        self.text.extend_from_slice(COLON);
        self.text.extend_from_slice(value);
        let end = self.text.len();
        self.text.extend_from_slice(END);
        self.lines.push(Line { at, colon, end });
    }

    /// The only one of its name from now on.
    pub fn set(&mut self, name: &'static str, value: &[u8]) {
        self.remove_where(|other| other == name);
        self.push(name.as_bytes(), value);
    }

    /// Removes every field whose name `goes` says has to go.
    pub fn remove_where(&mut self, goes: impl Fn(&str) -> bool) {
        let text = &self.text;
        self.lines.retain(|line| !goes(name(text, *line)));
    }

    /// The values of all of this name.
    pub fn all(&self, wanted: &str) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
    }

    /// The value of the first of this name, where it is ASCII.
    pub fn text(&self, wanted: &str) -> Option<&str> {
        let value = self.all(wanted).next().filter(|value| value.is_ascii())?;
        std::str::from_utf8(value).ok()
    }

    /// Whether there is one of this name.
    pub fn has(&self, wanted: &str) -> bool {
        self.all(wanted).next().is_some()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let value = |line: &Line| &self.text[line.colon + COLON.len()..line.end];
        self.lines.iter().map(move |line| (name(&self.text, *line), value(line)))
    }

    /// Writes those lines whose names pass.
    pub fn put(&self, out: &mut Vec<u8>, mut passes: impl FnMut(&str) -> bool) {
        for line in self.lines.iter().filter(|line| passes(name(&self.text, **line))) {
            out.extend_from_slice(&self.text[line.at..line.end + END.len()]);
        }
    }

    /// As a map, for whoever needs one.
    pub fn to_map(&self) -> HeaderMap {
        let pair = |(name, value): (&str, &[u8])| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
        };
        let mut map = HeaderMap::with_capacity(self.count());
        for (name, value) in self.iter().filter_map(pair) {
            map.append(name, value);
        }
        map
    }
}

/// A name; empty for one that is no token, which nobody writes.
fn name(text: &[u8], line: Line) -> &str {
    std::str::from_utf8(&text[line.at..line.colon]).unwrap_or_default()
}

impl Drop for Fields {
    fn drop(&mut self) {
        text::give(std::mem::take(&mut self.text));
    }
}

/// Values may be an operator's secrets: names only.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let mut fields = Fields::new();
        for (name, value) in [("Set-Cookie", "a"), ("X", "\u{e9}"), ("SET-COOKIE", "b"), ("Y", "")] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn written(fields: &Fields) -> String {
        let mut text = Vec::new();
        fields.put(&mut text, |_| true);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn fields_are_written_in_their_order_and_names_in_lower_case() {
        assert_eq!(written(&fields()), "set-cookie: a\r\nx: \u{e9}\r\nset-cookie: b\r\ny: \r\n");
        let mut some = Vec::new();
        fields().put(&mut some, |name| name == "x");
        assert_eq!(some, "x: \u{e9}\r\n".as_bytes());
    }

    #[test]
    fn what_is_removed_is_found_no_more() {
        let mut fields = fields();
        assert_eq!(fields.all("set-cookie").collect::<Vec<_>>(), [b"a", b"b"]);
        fields.remove_where(|name| name == "set-cookie");
        assert!(!fields.has("set-cookie") && fields.has("y"));
        assert_eq!((fields.count(), written(&fields).as_str()), (2, "x: \u{e9}\r\ny: \r\n"));
        fields.set("x", b"1");
        assert_eq!((fields.text("x"), written(&fields).as_str()), (Some("1"), "y: \r\nx: 1\r\n"));
    }

    #[test]
    fn a_map_has_the_same_and_a_debug_text_no_values() {
        let (fields, mut expected) = (fields(), HeaderMap::new());
        for (name, value) in fields.iter() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            expected.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(fields.to_map(), expected);
        assert_eq!(format!("{fields:?}"), r#"["set-cookie", "x", "set-cookie", "y"]"#);
    }
}
