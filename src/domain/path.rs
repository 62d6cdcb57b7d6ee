//! Request paths: which are refused because two programs could read them differently, and which route
//! pattern they match.
//!
//! **Invariant.** A path matches a pattern by what its reader makes of it, not by how it is written: `/%61pi//keys`
//! is `/api/keys` to most upstreams, so it is here. Otherwise a client would choose whether a pattern that locks,
//! prices or keeps something back is asked at all.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Whether `path` (no query) means the same to every program that may read it.
///
/// Refused are dot segments, plain or percent-encoded (RFC 3986 section 6.2.2.3), also with parameters behind them
/// (`..;a=b`, which Tomcat and its kin take off first), NUL and other controls, backslashes, broken
/// percent-encodings, and slashes that are encoded, unless `encoded_slashes` allows those.
pub fn is_unambiguous(path: &str, encoded_slashes: bool) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return path == "*";
    }
    // The common path holds none of these, and one pass tells.
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b'.' | 0..=b' ' | 0x7f..)) {
        return true;
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let byte = match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return false };
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return false };
                rest = after;
                match high << 4 | low {
                    // Whoever decodes it has a segment on either side.
                    b'/' if encoded_slashes => b'/',
                    b'/' | b'\\' => return false,
                    other => other,
                }
            }
            b'\\' | b' ' | 0x7f.. => return false,
            plain => plain,
        };
        if byte < b' ' || byte == 0x7f {
            return false;
        }
        decoded.push(byte);
    }
    decoded.split(|byte| *byte == b'/').all(|segment| {
        let bare = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        !matches!(bare, b"." | b"..")
    })
}

/// Whether `path` can only be written in this one way: with no percent-encodings, and no slash behind a slash.
pub fn is_plain(path: &str) -> bool {
    !path.contains('%') && !path.contains("//")
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A route's path pattern: literal segments, `{name}` for one segment, and a last `*` for any rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    open: bool,
    loose: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(String),
    Parameter(String),
}

impl Pattern {
    /// Reads a pattern such as `/*`, `/api/v1/scrape` or `/projects/{project}/jobs/*`.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("`{text}` must begin with `/`"));
        };
        let (rest, open) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(before) if before.ends_with('/') => (before.trim_end_matches('/'), true),
            Some(_) => {
                return Err(format!("`{text}`: `*` stands for whole segments, so write it after a `/`"));
            }
            None => (rest, false),
        };
        let mut segments = Vec::new();
        for segment in rest.split('/').filter(|_| !(rest.is_empty() && open)) {
            let name = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            segments.push(match name {
                Some("") => return Err(format!("`{text}` has a parameter without a name")),
                Some(name) => Segment::Parameter(name.to_owned()),
                None if segment.contains(['{', '}', '*', '?', '#']) => {
                    return Err(format!("`{text}`: `{segment}` is neither literal nor `{{name}}`"));
                }
                None => Segment::Literal(read(segment).into_owned()),
            });
        }
        Ok(Self { text: text.to_owned(), segments, open, loose: false })
    }

    /// The same, to which the case of letters and a `/` at the end make no difference, as to many a web framework:
    /// for what must not reach an upstream however it is written.
    #[must_use]
    pub fn loose(self) -> Self {
        Self { loose: true, ..self }
    }

    /// The pattern as it was written: a label of bounded variety.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` matches; `/a/*` matches `/a` and everything below it.
    pub fn matches(&self, path: &str) -> bool {
        if self.open && self.segments.is_empty() {
            return true;
        }
        self.walk(path, |_, _| ())
    }

    /// The part of `path` that stands where the pattern has `{name}`, as its reader has it: decoded. What is no
    /// UTF-8 there becomes U+FFFD, which stands in no id.
    pub fn parameter<'p>(&self, path: &'p str, name: &str) -> Option<Cow<'p, str>> {
        let mut found = None;
        let matched = self.walk(path, |parameter, value| {
            if parameter == name {
                found = Some(value);
            }
        });
        found.filter(|_| matched).map(read)
    }

    fn walk<'p>(&self, path: &'p str, mut parameter: impl FnMut(&str, &'p str)) -> bool {
        let Some(mut rest) = path.strip_prefix('/').map(Some) else { return false };
        for segment in &self.segments {
            match (segment, next_segment(&mut rest)) {
                (Segment::Literal(literal), Some(value)) if self.is(literal, value) => {}
                (Segment::Parameter(name), Some(value)) if !value.is_empty() => parameter(name, value),
                _ => return false,
            }
        }
        self.open
            || match next_segment(&mut rest) {
                None => true,
                Some(more) => self.loose && more.is_empty(),
            }
    }

    fn is(&self, literal: &str, value: &str) -> bool {
        literal == value
            || (value.contains('%') && read(value) == literal)
            || (self.loose && read(value).eq_ignore_ascii_case(literal))
    }
}

/// A segment as its reader has it.
fn read(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

/// Takes the next segment off `rest`, which is `None` behind the last. Empty ones are passed over, as by whoever
/// merges slashes, but for the last: `/a` and `/a/` are two paths.
fn next_segment<'p>(rest: &mut Option<&'p str>) -> Option<&'p str> {
    loop {
        let text = (*rest)?;
        let Some((segment, after)) = text.split_once('/') else { return rest.take() };
        *rest = Some(after);
        if !segment.is_empty() {
            return Some(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_be_read_two_ways_is_refused() {
        for (path, fine) in [
            ("/", true),
            ("/a.b/c", true),
            ("/a/.hidden/...", true),
            ("/caf%C3%A9", true),
            ("*", true),
            ("", false),
            ("a", false),
            ("/a/../b", false),
            ("/a/./b", false),
            ("/..", false),
            ("/a/%2e%2E/b", false),
            ("/a/.%2e", false),
            ("/a%2fb", false),
            ("/a%5cb", false),
            ("/a\\b", false),
            ("/a%00", false),
            ("/a%0d%0a", false),
            ("/a%", false),
            ("/a%4", false),
            ("/a%zz", false),
            ("/a\u{e9}", false),
            ("/a/..;/b", false),
            ("/a/.;x=1/b", false),
            ("/a/%2e.%3bx/b", false),
            ("/a/...;/b;c=..", true),
        ] {
            assert_eq!(is_unambiguous(path, false), fine, "{path:?}");
        }
        assert!(is_unambiguous("/a%2Fb", true));
        for hidden in ["/a%2F../b", "/a/..%2fb", "/a%2F..%2Fb", "/%2e%2e%2fb", "/a%2f.;x%2Fb"] {
            assert!(!is_unambiguous(hidden, true), "{hidden}");
        }
        assert!(!is_unambiguous("/a%5Cb", true));
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, path, matches) in [
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/a/*", "/a", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/ab", false),
            ("/p/{id}/jobs", "/p/7/jobs", true),
            ("/p/{id}/jobs", "/p//jobs", false),
            ("/p/{id}/jobs", "/p/7", false),
            ("/", "/", true),
            ("/", "/a", false),
            ("/A", "/a", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), matches, "{pattern} on {path}");
        }
        let pattern = Pattern::parse("/p/{project}/*").unwrap();
        assert_eq!(pattern.parameter("/p/7/jobs", "project").as_deref(), Some("7"));
        assert_eq!(pattern.parameter("/p/7/jobs", "other"), None);
        assert_eq!(pattern.parameter("/p/a%3Ab%20c", "project").as_deref(), Some("a:b c"));
        for wrong in ["", "a", "/a*", "/{}", "/a{b}", "/a?b"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn however_a_path_is_written_it_matches_the_same() {
        for (pattern, path, matches) in [
            ("/api/keys", "/%61pi/ke%79s", true),
            ("/api/keys", "/api%2Fkeys", false),
            ("/api/keys", "/%2561pi/keys", false),
            ("/api/keys", "//api///keys", true),
            ("/api/keys", "/api/keys//", false),
            ("/api/*", "//api", true),
            ("/", "//", true),
            ("/caf%c3%a9", "/caf%C3%A9", true),
            ("/a:b", "/a%3Ab", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), matches, "{pattern} on {path}");
        }
        let pattern = Pattern::parse("/p/{project}/jobs").unwrap();
        for path in ["/p/7/jobs", "/%70/7/jobs", "//p//7/jobs", "/p/%37/j%6Fbs"] {
            assert_eq!(pattern.parameter(path, "project").as_deref(), Some("7"), "{path}");
        }
        for (path, plain) in [("/a/b/", true), ("/a//b", false), ("//", false), ("/a%20", false)] {
            assert_eq!(is_plain(path), plain, "{path}");
        }
    }

    #[test]
    fn a_loose_pattern_is_met_whatever_the_case_and_the_slash_at_the_end() {
        let pattern = Pattern::parse("/private/{id}/api-keys").unwrap().loose();
        for (path, matches) in [
            ("/private/7/api-keys", true),
            ("/Private/7/API-Keys/", true),
            ("/PRIVATE//7/%41pi-keys//", true),
            ("/private/7/api-keys/9", false),
            ("/private/api-keys", false),
        ] {
            assert_eq!(pattern.matches(path), matches, "{path}");
        }
    }
}
