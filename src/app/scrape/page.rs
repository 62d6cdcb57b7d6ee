//! Reading a fetched page: is it text, in which encoding, what is its title.
//!
//! Encodings go by the WHATWG Encoding Standard, in the order a browser takes: byte order mark, `charset` of the
//! Content-Type, `<meta>` in the first 1024 bytes, UTF-8. Bytes that are no text in that encoding become U+FFFD.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use scraper::{Html, Selector};

/// How far into a page a `<meta charset>` counts (HTML Living Standard, 13.2.3.2), in bytes.
const META_BYTES_MAX: usize = 1024;

/// The body as text; `None` where the content type says that it is none.
pub(super) fn text(content_type: &str, body: &[u8]) -> Option<String> {
    is_text(content_type).then(|| {
        let encoding = charset(content_type)
            .or_else(|| meta_charset(body))
            .and_then(|label| Encoding::for_label(label.as_bytes()))
            .unwrap_or(UTF_8);
        encoding.decode(body).0.into_owned()
    })
}

/// Whether the page is HTML, also where nothing is said about it.
pub(super) fn is_html(content_type: &str) -> bool {
    matches!(essence(content_type).as_str(), "" | "text/html" | "application/xhtml+xml")
}

/// The text of the first `<title>`, white space made single; `None` where there is none, or nothing in it.
pub(super) fn title(html: &str) -> Option<String> {
    let selector = Selector::parse("title").ok()?;
    let document = Html::parse_document(html);
    let text: String = document.select(&selector).next()?.text().collect();
    let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// Type and subtype, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || matches!(
            essence.as_str(),
            "application/json" | "application/xml" | "application/javascript" | "application/x-ndjson"
        )
}

/// The `charset` parameter of a Content-Type.
fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The encoding a page names in a `<meta>`, in either of its two spellings.
fn meta_charset(body: &[u8]) -> Option<String> {
    let head = &body[..body.len().min(META_BYTES_MAX)];
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let label = head.split("<meta").skip(1).find_map(|tag| {
        let tag = tag.split('>').next()?;
        let value = tag.split_once("charset")?.1.trim_start().strip_prefix('=')?;
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let end = value.find(|c: char| c.is_whitespace() || "\"';/".contains(c)).unwrap_or(value.len());
        Some(value[..end].to_owned()).filter(|label| !label.is_empty())
    })?;
    // Whoever could read this far without knowing the encoding was not reading UTF-16.
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Some("utf-8".to_owned()),
        _ => Some(label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_by_what_names_its_encoding_first() {
        let cases: [(&str, &[u8], Option<&str>); 14] = [
            ("text/html", "Zürich".as_bytes(), Some("Zürich")),
            ("", b"plain", Some("plain")),
            ("text/html; charset=ISO-8859-1", b"Z\xfcrich", Some("Zürich")),
            ("TEXT/HTML; q=1; CharSet=\"windows-1252\"", b"\x80 5", Some("€ 5")),
            ("text/html", b"<meta charset=iso-8859-1>\xe9", Some("<meta charset=iso-8859-1>é")),
            ("text/html", b"<META CHARSET='koi8-r'/>\xc1", Some("<META CHARSET='koi8-r'/>а")),
            (
                "text/html",
                b"<meta content=\"text/html; charset=latin1\">\xe9",
                Some("<meta content=\"text/html; charset=latin1\">é"),
            ),
            // The header outranks the page, the byte order mark outranks both.
            ("text/html; charset=utf-8", b"<meta charset=latin1>\xc3\xa9", Some("<meta charset=latin1>é")),
            ("text/html; charset=latin1", b"\xef\xbb\xbf\xc3\xa9", Some("é")),
            ("text/html", b"<meta charset=utf-16>ok", Some("<meta charset=utf-16>ok")),
            ("text/html; charset=nonsense", b"\xc3\xa9", Some("é")),
            ("text/html", b"\xff", Some("\u{fffd}")),
            ("image/png", b"\x89PNG", None),
            ("application/ld+json", b"{}", Some("{}")),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(text(content_type, body).as_deref(), expected, "{content_type} {body:?}");
        }
    }

    #[test]
    fn a_meta_beyond_the_first_kilobyte_does_not_count() {
        let page = [&[b' '; META_BYTES_MAX][..], b"<meta charset=latin1>\xc3\xa9"].concat();
        assert!(text("text/html", &page).unwrap().ends_with('é'));
    }

    #[test]
    fn the_title_is_the_first_one_with_single_spaces() {
        let cases = [
            ("<title>One</title>", Some("One")),
            ("<html><head><title>\n  A &amp;\tB \n</title></head>", Some("A & B")),
            ("<title>First</title><title>Second</title>", Some("First")),
            ("<body><title>Late</title>", Some("Late")),
            ("<title>  </title>", None),
            ("<title>Never closed", Some("Never closed")),
            ("<p>No title", None),
            ("", None),
        ];
        for (html, expected) in cases {
            assert_eq!(title(html).as_deref(), expected, "{html}");
        }
    }

    #[test]
    fn only_html_has_a_title() {
        for (content_type, expected) in [
            ("text/html; charset=utf-8", true),
            ("", true),
            ("Application/XHTML+XML", true),
            ("text/plain", false),
        ] {
            assert_eq!(is_html(content_type), expected, "{content_type}");
        }
    }
}
