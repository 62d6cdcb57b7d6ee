use proptest::prelude::*;

use super::*;

#[test]
fn of_a_url_nothing_but_the_host_is_left() {
    for (url, expected) in [
        ("https://example.com", Some("example.com")),
        ("https://Example.COM/a/b?c=d#e", Some("example.com")),
        ("http://user:secret@example.com:8080/", Some("example.com")),
        ("http://user@evil.com@example.com/", Some("example.com")),
        ("https://example.com.", Some("example.com")),
        ("https://example.com:/", Some("example.com")),
        ("https://example.com?q", Some("example.com")),
        ("https://example.com#f", Some("example.com")),
        ("https://example.com\\@evil.com", Some("example.com")),
        ("  https://example.com \n", Some("example.com")),
        ("ftp+x://example.com/", Some("example.com")),
        ("//example.com/a", Some("example.com")),
        ("example.com/page", Some("example.com")),
        ("example.com:443", Some("example.com")),
        ("https://m\u{fc}nchen.example/", Some("m\u{fc}nchen.example")),
        ("https://xn--mnchen-3ya.example/", Some("xn--mnchen-3ya.example")),
        ("https://ex%61mple.com/", Some("example.com")),
        ("http://localhost:3000/", Some("localhost")),
        ("http://127.0.0.1/", Some("127.0.0.1")),
        ("http://[2001:DB8::1]:80/", Some("[2001:db8::1]")),
        ("", None),
        ("https://", None),
        ("https:///path", None),
        ("https://.", None),
        ("page", None),
        ("/path/only", None),
        ("mailto:someone@example.com", None),
        ("javascript:alert(1)", None),
        ("https://exa mple.com/", None),
        ("https://exa\r\nmple.com/", None),
        ("https://exa%0d%0ample.com/", None),
        ("https://\u{1b}[31mred.com/", None),
        ("https://example.com:port/", None),
        ("https://[::1/", None),
        ("https://[no address]/", None),
        ("https://a<b>.com/", None),
    ] {
        assert_eq!(host(url.as_bytes()).as_deref(), expected, "{url:?}");
    }
    assert_eq!(host(b"https://\xff\xfe.com/"), None);
    let longest = "a".repeat(DOMAIN_BYTES_MAX);
    assert_eq!(host(format!("https://{longest}/").as_bytes()), Some(longest.clone()));
    assert_eq!(host(format!("https://{longest}a/").as_bytes()), None);
    // A name that goes on behind what is looked at is not cut into another one.
    let endless = format!("https://{}@example.com", "u".repeat(LOOKED_AT_BYTES_MAX));
    assert_eq!(host(&endless.as_bytes()[..LOOKED_AT_BYTES_MAX]), None);
}

#[test]
fn the_first_url_of_a_query_is_the_one() {
    for (query, expected) in [
        ("url=https://example.com/", Some("example.com")),
        ("a=b&url=https%3A%2F%2Fexample.com%2Fa%3Fb&c=d", Some("example.com")),
        ("%75rl=https://example.com", Some("example.com")),
        ("url=https://one.com&url=https://two.com", Some("one.com")),
        ("url=https://example.com/a?b=c", Some("example.com")),
        ("curl=https://example.com", None),
        ("URL=https://example.com", None),
        ("url", None),
        ("url=", None),
        ("", None),
        ("x=url=https://example.com", None),
    ] {
        assert_eq!(in_query(query).as_deref(), expected, "{query}");
    }
}

fn scan(pieces: &[&[u8]], bytes_max: usize) -> Option<String> {
    let mut scanner = JsonScanner::new(bytes_max);
    for piece in pieces {
        scanner.feed(piece);
    }
    scanner.domain().map(str::to_owned)
}

#[test]
fn the_top_level_url_of_a_json_body_is_found() {
    for (body, expected) in [
        (r#"{"url": "https://example.com/a"}"#, Some("example.com")),
        (r#" { "a" : [1, {"url": "https://no.com"}], "url":"https:\/\/example.com" }"#, Some("example.com")),
        (r#"{"\u0075rl": "https:\u002f/ex\u0061mple.com"}"#, Some("example.com")),
        (r#"{"url": "https://\ud83d\ude00.example"}"#, Some("\u{1f600}.example")),
        (r#"{"a": "}\",\"url\":\"", "url": "https://example.com"}"#, Some("example.com")),
        (r#"{"url": "https://one.com", "url": "https://two.com"}"#, Some("two.com")),
        (r#"{"url": "https://one.com", "url": 7}"#, None),
        (r#"{"a": true, "b": -1e9, "c": null, "url": "https://example.com"}"#, Some("example.com")),
        (r#"{"url": "https://example.com"} {"url": "https://two.com"}"#, Some("example.com")),
        // Still open: what was seen is what there is.
        (r#"{"url": "https://example.com", "rest": "#, Some("example.com")),
        (r#"{"url": "https://example.com"#, None),
        (r#"{"url": ["https://example.com"]}"#, None),
        (r#"{"urls": "https://example.com", "ur": "https://example.com"}"#, None),
        (r#"[{"url": "https://example.com"}]"#, None),
        (r#"{"a": {"url": "https://example.com"}}"#, None),
        (r#"{"url": "https://\ud83d.example"}"#, None),
        (r#"{"url": "https://\q.example"}"#, None),
        (r#""url""#, None),
        ("", None),
        ("}}}]]]", None),
        ("{]", None),
    ] {
        assert_eq!(scan(&[body.as_bytes()], 1 << 20).as_deref(), expected, "{body}");
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(scan(&bytes, 1 << 20).as_deref(), expected, "{body}, byte by byte");
    }
}

#[test]
fn no_more_is_looked_at_or_kept_than_is_said() {
    let body = format!(r#"{{"pad": "{}", "url": "https://example.com"}}"#, "x".repeat(1000));
    assert_eq!(scan(&[body.as_bytes()], body.len()).as_deref(), Some("example.com"));
    assert_eq!(scan(&[body.as_bytes()], body.len() - 3), None);
    let mut scanner = JsonScanner::new(usize::MAX);
    scanner.feed(br#"{"url": "https://example.com/"#);
    for _ in 0..10_000 {
        scanner.feed(&[b'p'; 1000]);
    }
    scanner.feed(br#"", "k"#);
    scanner.feed(&[b'k'; 100_000]);
    assert_eq!(scanner.domain(), Some("example.com"));
    assert!(scanner.kept() <= LOOKED_AT_BYTES_MAX * 2, "{}", scanner.kept());
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
        let whole: Vec<u8> = pieces.concat();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(scan(&pieces, usize::MAX), scan(&[&whole], usize::MAX));
        let found = host(&whole);
        prop_assert!(found.is_none_or(|found| found.len() <= DOMAIN_BYTES_MAX));
    }
}
