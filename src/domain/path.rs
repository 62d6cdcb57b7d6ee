//! Request paths: which are refused because two programs could read them differently, and which route
//! pattern they match.

/// Whether `path` (no query) means the same to every program that may read it.
///
/// Refused are dot segments, plain or percent-encoded (RFC 3986 section 6.2.2.3), NUL and other controls,
/// backslashes, broken percent-encodings, and slashes that are encoded, unless `encoded_slashes` allows those.
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
                    b'/' if encoded_slashes => b'_',
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
    decoded.split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b"..")
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
                None => Segment::Literal(segment.to_owned()),
            });
        }
        Ok(Self { text: text.to_owned(), segments, open })
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

    /// The part of `path` that stands where the pattern has `{name}`.
    pub fn parameter<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut found = None;
        let matched = self.walk(path, |parameter, value| {
            if parameter == name {
                found = Some(value);
            }
        });
        found.filter(|_| matched)
    }

    fn walk<'p>(&self, path: &'p str, mut parameter: impl FnMut(&str, &'p str)) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut given = rest.split('/');
        for segment in &self.segments {
            match (segment, given.next()) {
                (Segment::Literal(literal), Some(value)) if literal == value => {}
                (Segment::Parameter(name), Some(value)) if !value.is_empty() => parameter(name, value),
                _ => return false,
            }
        }
        self.open || given.next().is_none()
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
        ] {
            assert_eq!(is_unambiguous(path, false), fine, "{path:?}");
        }
        assert!(is_unambiguous("/a%2Fb", true));
        assert!(!is_unambiguous("/a%2F..%2Fb/..", true));
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
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), matches, "{pattern} on {path}");
        }
        let pattern = Pattern::parse("/p/{project}/*").unwrap();
        assert_eq!(pattern.parameter("/p/7/jobs", "project"), Some("7"));
        assert_eq!(pattern.parameter("/p/7/jobs", "other"), None);
        for wrong in ["", "a", "/a*", "/{}", "/a{b}", "/a?b"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
