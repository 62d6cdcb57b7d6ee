use std::time::Duration;

use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};

use super::*;
use crate::domain::secret::Secret;

fn key(seed: u8) -> String {
    let entropy = std::array::from_fn(|at| seed.wrapping_add((at * 11) as u8));
    Secret::from_entropy("sk_live_", &entropy).unwrap().expose().to_owned()
}

/// Sources as in the configuration file.
fn keys(sources: &str) -> Keys {
    let source = |text: &str| match text.split_once(':') {
        Some(("header", name)) => Source::Header(name.parse().unwrap()),
        Some(("query", name)) => Source::Query(name.to_owned()),
        _ if text == "bearer" => Source::Bearer,
        _ if text == "basic" => Source::Basic,
        _ => panic!("{text}"),
    };
    Keys {
        prefix: "sk_live_".to_owned(),
        sources: sources.split_whitespace().map(source).collect(),
        cache_max: 10,
        cache_absent_max: 10,
        cache_absent_for: Duration::from_secs(1),
        follow_every: Duration::from_secs(1),
        index_for: Duration::ZERO,
        remember_for: Duration::ZERO,
        reveal_key: None,
    }
}

const ALL: &str = "header:x-api-key bearer basic query:x_api_key";

/// `$A` and `$B` are keys of ours, `$E` is the first percent-encoded, `{text}` is `text` in base64.
fn fill(text: &str) -> String {
    let encoded: String = key(1).bytes().map(|byte| format!("%{byte:02x}")).collect();
    let text = text.replace("$E", &encoded).replace("$A", &key(1)).replace("$B", &key(2));
    match text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (inside, after))) => format!("{before}{}{after}", BASE64_STANDARD.encode(inside)),
        None => text,
    }
}

/// `name: value | name: value ? query`
fn request(text: &str) -> (HeaderMap, Option<String>) {
    let (head, query) = match text.split_once(" ?") {
        Some((head, query)) => (head, Some(fill(query))),
        None => (text, None),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(" | ").filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.trim().parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(fill(value.trim_start()).as_bytes()).unwrap());
    }
    (headers, query)
}

fn heard(text: &str, sources: &str, any_shape: bool) -> String {
    let (headers, query) = request(text);
    match find(&headers, query.as_deref(), &keys(sources), any_shape) {
        Ok(found) => ["$A", "$B", "old+key", "a:b", "n\u{e4}h", &"x".repeat(512)]
            .into_iter()
            .find(|text| Digest::of(fill(text).as_bytes()) == found.digest)
            .unwrap_or("another text")
            .to_owned(),
        Err(refusal) => refusal.code().to_owned(),
    }
}

const MISSING: &str = "missing_api_key";
const INVALID: &str = "invalid_api_key";
const AMBIGUOUS: &str = "ambiguous_credentials";

/// Heard with every source there is.
fn all_heard(cases: &[(&str, &str)]) {
    for (request, answer) in cases {
        assert_eq!(heard(request, ALL, false), *answer, "{request}");
    }
}

#[test]
fn where_a_key_is_found_in_headers() {
    all_heard(&[
        ("", MISSING),
        ("cookie: $A", MISSING),
        (" ?", MISSING),
        (" ?a=1&b=$A", MISSING),
        // Headers.
        ("x-api-key: $A", "$A"),
        ("X-API-Key: $A", "$A"),
        ("x-api-key:   $A \t", "$A"),
        ("x-api-key: ", INVALID),
        ("x-api-key: \t ", INVALID),
        ("x-api-key: $A$A", INVALID),
        ("x-api-key: $A, $A", INVALID),
        ("x-api-key: \"$A\"", INVALID),
        ("x-api-key: Bearer $A", INVALID),
        ("x-api-key: sk_live_", INVALID),
        ("x-api-key: SK_LIVE_00000000000000000000000000000000", INVALID),
        ("x-api-key: nähe", INVALID),
        ("x-api-key: $Aé", INVALID),
        ("x-api-key: $A | x-api-key: $A", "$A"),
        ("x-api-key: $A | x-api-key: $B", AMBIGUOUS),
        ("x-api-key: $A | x-api-key: ", AMBIGUOUS),
        ("x-api-key: nonsense | x-api-key: $A", AMBIGUOUS),
        ("x-api-key: nonsense | x-api-key: rubbish", INVALID),
        // Bearer, RFC 6750 and RFC 9110.
        ("authorization: Bearer $A", "$A"),
        ("authorization: bearer $A", "$A"),
        ("authorization: BEARER    $A", "$A"),
        ("authorization: Bearer", INVALID),
        ("authorization: Bearer ", INVALID),
        ("authorization: Bearer $A $A", INVALID),
        ("authorization: Bearer $A, Bearer $A", INVALID),
        ("authorization: Bearer Bearer $A", INVALID),
        ("authorization: Bearer$A", MISSING),
        ("authorization: $A", MISSING),
        ("authorization: Digest username=\"$A\"", MISSING),
        ("authorization: Bearer $A | authorization: bearer $A", "$A"),
        ("authorization: Bearer $A | authorization: Bearer $B", AMBIGUOUS),
        ("authorization: Digest x | authorization: Bearer $A", AMBIGUOUS),
        ("authorization: Basic {$A:} | authorization: Bearer $A", AMBIGUOUS),
        // Basic, RFC 7617.
        ("authorization: Basic {$A:}", "$A"),
        ("authorization: basic {$A:x}", "$A"),
        ("authorization: Basic {:$A}", "$A"),
        ("authorization: Basic {api:$A}", "$A"),
        ("authorization: Basic {$A:$A}", "$A"),
        ("authorization: Basic {$A:$B}", AMBIGUOUS),
        ("authorization: Basic {$A}", INVALID),
        ("authorization: Basic {a:b:$A}", INVALID),
        ("authorization: Basic {:}", INVALID),
        ("authorization: Basic {}", INVALID),
        ("authorization: Basic", INVALID),
        ("authorization: Basic %%%", INVALID),
        ("authorization: Basic $A", INVALID),
    ]);
}

#[test]
fn where_a_key_is_found_in_a_query() {
    all_heard(&[
        (" ?x_api_key=$A", "$A"),
        (" ?url=https%3A%2F%2Fa.example&x_api_key=$A&b", "$A"),
        (" ?x_api_key=$E", "$A"),
        (" ?x_api_key=$E&x_api_key=$A", "$A"),
        (" ?x_api_key=%25$E", INVALID),
        (" ?x%5Fapi%5fkey=$A", "$A"),
        (" ?X_API_KEY=$A", MISSING),
        (" ?x_api_key", INVALID),
        (" ?x_api_key=", INVALID),
        (" ?x_api_key==$A", INVALID),
        (" ?x_api_key=$A%00", INVALID),
        (" ?x_api_key=%ff%fe", INVALID),
        (" ?x_api_key=%", INVALID),
        (" ?x_api_key=$A&x_api_key=$A", "$A"),
        (" ?x_api_key=$A&x%5fapi_key=$B", AMBIGUOUS),
        (" ?x_api_key=$A&x_api_key", AMBIGUOUS),
        (" ?x_api_key=x&x_api_key=y", INVALID),
        (" ?a=1;x_api_key=$A", MISSING),
    ]);
}

#[test]
fn what_is_heard_from_several_sources() {
    all_heard(&[
        ("x-api-key: $A | authorization: Bearer $A ?x_api_key=$A", "$A"),
        ("x-api-key: $A | authorization: Bearer $B", AMBIGUOUS),
        ("x-api-key: $A | authorization: Basic {u:$B}", AMBIGUOUS),
        ("x-api-key: $A ?x_api_key=$B", AMBIGUOUS),
        ("x-api-key: $A ?x_api_key=$A&x_api_key=$B", AMBIGUOUS),
        ("x-api-key: $A | authorization: Bearer of-the-upstream", "$A"),
        ("x-api-key: $A | authorization: Basic %%%", "$A"),
        ("x-api-key: $A ?x_api_key=", "$A"),
        ("x-api-key:  | authorization: Bearer $A", INVALID),
        ("x-api-key: nonsense | authorization: Bearer $A", INVALID),
        ("authorization: Digest x ?x_api_key=$A", "$A"),
    ]);
}

#[test]
fn only_configured_sources_in_their_order() {
    for (request, sources, answer) in [
        ("x-api-key: $A", "bearer", MISSING),
        ("authorization: Basic {$A:}", "bearer", MISSING),
        ("authorization: Bearer $A", "basic", MISSING),
        (" ?x_api_key=$A", "bearer", MISSING),
        (" ?token=$A", "query:token", "$A"),
        ("authorization: $A", "header:authorization", "$A"),
        ("x-api-key:  | authorization: Bearer $A", "bearer header:x-api-key", "$A"),
        ("x-api-key: $A | x-old-key: ", "header:x-old-key header:x-api-key", INVALID),
        (" ?a=$A&b=$B", "query:a query:b", AMBIGUOUS),
        (" ?a=$A&b=$B", "query:b", "$B"),
        ("x-api-key: $A", "", MISSING),
    ] {
        assert_eq!(heard(request, sources, false), answer, "{request} by {sources}");
    }
}

#[test]
fn imported_keys_may_have_any_shape() {
    let longest = format!("x-api-key: {}", "x".repeat(512));
    let too_long = format!("x-api-key: {}", "x".repeat(513));
    let long_query = format!(" ?x_api_key={}", "%78".repeat(512));
    let too_long_query = format!(" ?x_api_key={}", "%78".repeat(513));
    let long_basic = format!("authorization: Basic {{{}:}}", "x".repeat(512));
    let too_long_basic = format!("authorization: Basic {{{}:}}", "x".repeat(100_000));
    let x = "x".repeat(512);
    for (request, answer) in [
        ("x-api-key: old+key", "old+key"),
        ("x-api-key: $A", "$A"),
        ("x-api-key: ", INVALID),
        ("authorization: Bearer", INVALID),
        ("authorization: Bearer old+key", "old+key"),
        ("authorization: Basic {old+key:}", "old+key"),
        ("authorization: Basic {user:old+key}", "old+key"),
        ("authorization: Basic {$A:old+key}", "$A"),
        ("authorization: Basic {user:a:b}", "a:b"),
        ("authorization: Basic {:}", INVALID),
        (" ?x_api_key=old+key", "old+key"),
        (" ?x_api_key=old%2Bkey", "old+key"),
        (" ?x_api_key=n%C3%A4h", "n\u{e4}h"),
        (" ?x_api_key=", INVALID),
        (&longest, &x),
        (&too_long, INVALID),
        (&long_query, &x),
        (&too_long_query, INVALID),
        (&long_basic, &x),
        (&too_long_basic, INVALID),
        ("x-api-key: old+key | x-api-key: other", AMBIGUOUS),
        ("x-api-key: old+key | authorization: Bearer other", "old+key"),
        ("x-api-key: old+key | authorization: Bearer $A", AMBIGUOUS),
    ] {
        assert_eq!(heard(request, ALL, true), answer, "{request}");
    }
}

#[test]
fn where_it_was_found_is_told() {
    let (headers, query) = request("authorization: Bearer $A ?x_api_key=$A");
    let found = find(&headers, query.as_deref(), &keys(ALL), true).unwrap();
    assert_eq!((found.source, found.well_formed), (1, true));
    let (headers, _) = request("x-api-key: whatever");
    let found = find(&headers, None, &keys(ALL), true).unwrap();
    assert_eq!((found.source, found.well_formed), (0, false));
    assert!(!format!("{found:?}").contains("whatever"));
}

/// What is left of a request, written as it was given.
fn left_of(text: &str, any_shape: bool) -> String {
    let (mut headers, query) = request(text);
    let keys = keys(ALL);
    let found = find(&headers, query.as_deref(), &keys, any_shape).ok();
    let rest = match strip(&mut headers, query.as_deref(), &keys, found.as_ref()) {
        Query::Unchanged => query,
        Query::Gone => None,
        Query::Rest(rest) => Some(rest),
    };
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    let query = rest.map_or(String::new(), |rest| format!(" ?{rest}"));
    format!("{}{query}", lines.join(" | "))
}

#[test]
fn what_is_forwarded() {
    for (request, left) in [
        ("accept: a | x-api-key: $A", "accept: a"),
        ("x-api-key: $A | x-api-key: $A", ""),
        ("x-api-key: $A | authorization: Bearer $A ?x_api_key=$A", ""),
        ("authorization: Basic {u:$A}", ""),
        ("x-api-key: $A | authorization: Bearer of-the-upstream", "authorization: Bearer of-the-upstream"),
        ("authorization: Bearer $A ?x_api_key=of-the-upstream", " ?x_api_key=of-the-upstream"),
        ("x-api-key: $A ?a=%20&&b=%7e&c", " ?a=%20&&b=%7e&c"),
        (" ?x_api_key=$A", ""),
        (" ?x_api_key=$A&", " ?"),
        (" ?x_api_key=$A&a=%2f+%2F&b", " ?a=%2f+%2F&b"),
        (" ?a=1&x_api_key=$A&b=2&x%5Fapi_key=$A", " ?a=1&b=2"),
        (" ?a=1&&x_api_key=$E&", " ?a=1&&"),
        // Routes without a key, and requests that are refused: nothing of ours leaves all the same.
        ("x-api-key: nonsense | authorization: Bearer $A ?x_api_key=$B&a", "x-api-key: nonsense ?a"),
        (" ?x_api_key=x&x_api_key=$A", ""),
        ("x-api-key: ", "x-api-key: "),
    ] {
        assert_eq!(left_of(request, false), left, "{request}");
    }
    for (request, left) in [
        ("x-api-key: old+key", ""),
        ("x-api-key: old+key | authorization: Basic {u:old+key} ?x_api_key=old%2bkey&a", " ?a"),
        ("x-api-key: old+key ?x_api_key=other", " ?x_api_key=other"),
    ] {
        assert_eq!(left_of(request, true), left, "{request}");
    }
}

#[test]
fn several_query_sources_are_all_cut() {
    let keys = keys("query:a query:b query:c");
    for (query, left) in [
        ("a=$A&b=$A", Query::Gone),
        ("a=$A&x&b=$A", Query::Rest("x".to_owned())),
        ("a=$A&b=other&c=$A", Query::Rest("b=other".to_owned())),
        ("x=$A", Query::Unchanged),
    ] {
        let query = fill(query);
        let found = find(&HeaderMap::new(), Some(&query), &keys, false).ok();
        assert_eq!(strip(&mut HeaderMap::new(), Some(&query), &keys, found.as_ref()), left, "{query}");
    }
}

proptest::proptest! {
    /// Whatever stands in a request, no spelling of a key that is found is forwarded.
    #[test]
    fn nothing_found_is_forwarded(
        api_key in proptest::option::of("\\PC{0,8}"),
        scheme in "(?i)(bearer|basic) {0,3}",
        query in "(([ab]|x_api_key|x%5fapi_key)=?[a%&=]{0,3}(KEY)?&?){0,4}",
        with_key in proptest::bool::ANY,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(value) = api_key.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()) {
            headers.append("x-api-key", value);
        }
        if with_key {
            headers.append(AUTHORIZATION, HeaderValue::from_str(&format!("{scheme}{}", key(1))).unwrap());
        }
        let query = query.replace("KEY", &key(1));
        let keys = keys(ALL);
        if let Ok(found) = find(&headers, Some(&query), &keys, true) {
            let left = strip(&mut headers, Some(&query), &keys, Some(&found));
            let left = match &left {
                Query::Unchanged => Some(query.as_str()),
                Query::Gone => None,
                Query::Rest(rest) => Some(rest.as_str()),
            };
            if let Ok(again) = find(&headers, left, &keys, true) {
                proptest::prop_assert_ne!(again.digest, found.digest);
            }
        }
    }
}
