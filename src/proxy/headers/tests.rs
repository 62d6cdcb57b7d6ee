//! What reaches the upstream, whatever the client wrote.

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::message::fields::Fields;
use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn list(headers: &HeaderMap) -> Vec<String> {
    let mut list: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    list.sort();
    list
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

fn listed(fields: &Fields) -> Vec<String> {
    list(&fields.to_map())
}

fn request(fields: &[(&str, &str)]) -> Vec<String> {
    let mut headers = map(fields);
    clean_request(&mut headers, false);
    list(&headers)
}

#[test]
fn a_request_leaves_this_hop_behind() {
    for (fields, left) in [
        (&[("host", "a"), ("accept", "*/*")][..], &["accept: */*", "host: a"][..]),
        (&[("connection", "keep-alive"), ("keep-alive", "5"), ("proxy-connection", "x")], &[]),
        (&[("connection", "close, X-Hop"), ("x-hop", "1"), ("x-end", "2")], &["x-end: 2"]),
        (&[("connection", "a"), ("connection", "b;q=1 ,, c"), ("a", "1"), ("b", "2"), ("c", "3")], &[]),
        (
            &[("connection", "host, content-length, content-type"), ("host", "a"), ("content-length", "3")],
            &["content-length: 3", "host: a"],
        ),
        (&[("connection", "b@d, , x y"), ("x", "1")], &["x: 1"]),
        (&[("te", "gzip, trailers;q=0.5")], &["connection: te", "te: trailers"]),
        (&[("te", "gzip")], &[]),
        (&[("transfer-encoding", "chunked"), ("trailer", "x-sum")], &["trailer: x-sum"]),
        (&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "AAA")], &[]),
        (&[("proxy-authorization", "Basic eA=="), ("expect", "100-continue")], &[]),
        (&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x_real_ip", "6.6.6.6")], &[]),
    ] {
        assert_eq!(request(fields), left, "{fields:?}");
    }
}

#[test]
fn only_a_websocket_is_an_upgrade() {
    for (upgrade, connection, asks) in [
        ("websocket", "Upgrade", true),
        ("WebSocket", "keep-alive, upgrade", true),
        ("websocket", "keep-alive", false),
        ("h2c", "Upgrade", false),
        ("websocket, h2c", "Upgrade", false),
    ] {
        let mut headers = map(&[("upgrade", upgrade), ("connection", connection)]);
        assert_eq!(asks_for_upgrade(&headers), asks, "{upgrade} {connection}");
        clean_request(&mut headers, asks);
        assert_eq!(headers.contains_key(UPGRADE), asks);
        assert_eq!(headers.contains_key(CONNECTION), asks);
    }
    assert!(!asks_for_upgrade(&map(&[
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("connection", "upgrade")
    ])));
}

#[test]
fn an_answer_says_nothing_of_the_operators_account() {
    let mut headers = fields(&[
        ("content-type", "text/html"),
        ("server", "scraper"),
        ("connection", "close, x-internal"),
        ("x-internal", "1"),
        ("x-request-id", "theirs"),
        ("ratelimit", "theirs"),
        ("x-ratelimit-remaining", "9"),
        ("x-credits-remaining", "100000"),
        ("x-credits-used", "5"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("retry-after", "7"),
    ]);
    clean_response(&mut headers, false);
    assert_eq!(
        listed(&headers),
        [
            "content-type: text/html",
            "retry-after: 7",
            "server: scraper",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "x-credits-used: 5",
        ]
    );
}

#[test]
fn an_answer_never_parks_a_client_for_long() {
    for (said, heard) in
        [("5", "5"), ("60", "60"), ("2592000", "60"), ("Fri, 31 Dec 1999 23:59:59 GMT", "60"), ("-1", "60")]
    {
        let mut headers = fields(&[("retry-after", said)]);
        clean_response(&mut headers, false);
        assert_eq!(listed(&headers), [format!("retry-after: {heard}")], "{said}");
    }
}

#[test]
fn a_switch_of_protocols_keeps_its_name() {
    let mut headers =
        fields(&[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", "x")]);
    clean_response(&mut headers, true);
    assert_eq!(listed(&headers), ["connection: upgrade", "sec-websocket-accept: x", "upgrade: websocket"]);
    clean_response(&mut headers, false);
    assert_eq!(listed(&headers), ["sec-websocket-accept: x"]);
}

#[test]
fn chunks_overrule_a_length() {
    let mut both = fields(&[("content-length", "9"), ("transfer-encoding", "chunked")]);
    clean_response(&mut both, false);
    assert_eq!(both.count(), 0);
    let mut plain = fields(&[("content-length", "9")]);
    clean_response(&mut plain, false);
    assert_eq!(listed(&plain), ["content-length: 9"]);
}

#[test]
fn crumbs_become_one_cookie() {
    let mut crumbs = map(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]);
    join_cookies(&mut crumbs);
    assert_eq!(list(&crumbs), ["cookie: a=1; b=2; c=3", "x: y"]);
}

#[test]
fn trailers_change_nothing() {
    let trailers = map(&[
        ("x-checksum", "abc"),
        ("grpc-status", "0"),
        ("x-tollgate-plan", "enterprise"),
        ("x_tollgate_plan", "enterprise"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("authorization", "Bearer x"),
        ("x-api-key", "x"),
        ("host", "x"),
        ("set-cookie", "x"),
    ]);
    assert_eq!(list(&clean_trailers(trailers)), ["grpc-status: 0", "x-checksum: abc"]);
}

#[test]
fn more_than_one_batch_is_removed() {
    let mut headers: HeaderMap = (0..100)
        .map(|n| {
            (HeaderName::from_bytes(format!("x_tollgate_{n}").as_bytes()).unwrap(), HeaderValue::from(n))
        })
        .collect();
    headers.insert(HOST, HeaderValue::from_static("a"));
    clean_request(&mut headers, false);
    assert_eq!(list(&headers), ["host: a"]);
}

#[test]
fn where_a_request_came_from() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    for (peer, fields, authority, told) in [
        ("203.0.113.9", &[("host", "a")][..], None, ["203.0.113.9", "http", "a"]),
        (
            "203.0.113.9",
            &[("host", "a"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")],
            None,
            ["203.0.113.9", "http", "a"],
        ),
        (
            "10.0.0.1",
            &[("host", "a"), ("x-forwarded-for", "6.6.6.6, 198.51.100.1"), ("x-forwarded-for", "10.0.0.2")],
            None,
            ["198.51.100.1, 10.0.0.2, 10.0.0.1", "http", "a"],
        ),
        (
            "10.0.0.1",
            &[("host", "a"), ("x-forwarded-proto", "http, https"), ("x-forwarded-host", "x, b")],
            None,
            ["10.0.0.1", "https", "b"],
        ),
        ("10.0.0.1", &[("host", "a"), ("x-forwarded-proto", "gopher")], None, ["10.0.0.1", "http", "a"]),
        (
            "::ffff:10.0.0.1",
            &[("x-forwarded-for", "[2001:db8::1]:443")],
            Some("c"),
            ["2001:db8::1, 10.0.0.1", "http", "c"],
        ),
    ] {
        let mut headers = map(fields);
        let mut forwarded = Forwarded::of(
            &headers,
            (peer.parse().unwrap(), &address_value(peer.parse().unwrap())),
            false,
            authority,
            &trusted,
        );
        clean_request(&mut headers, false);
        forwarded.set_host(&mut headers);
        tell(&forwarded, &mut headers);
        for (name, value) in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].iter().zip(told) {
            let values: Vec<_> = headers.get_all(*name).into_iter().collect();
            assert_eq!(values, [value], "{peer} {fields:?}");
        }
        assert_eq!(headers[HOST], authority.unwrap_or("a"));
    }
}

/// As lines are put behind what is there.
fn tell(forwarded: &Forwarded, headers: &mut HeaderMap) {
    forwarded.tell(|name, value| {
        headers.append(name, value.clone());
    });
}

#[test]
fn the_first_address_is_the_clients() {
    use crate::domain::address::client_ip;
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    for value in ["6.6.6.6, 198.51.100.1", "10.0.0.3, 10.0.0.2", "x", "198.51.100.1, x", ""] {
        let headers = map(&[("x-forwarded-for", value)]);
        let peer = "10.0.0.1".parse().unwrap();
        let mut told = HeaderMap::new();
        tell(&Forwarded::of(&headers, (peer, &address_value(peer)), true, None, &trusted), &mut told);
        let first = told["x-forwarded-for"].to_str().unwrap().split(',').next().unwrap().to_owned();
        assert_eq!(first, client_ip(peer, [value].into_iter(), &trusted).to_string(), "{value}");
    }
}

/// The names that CGI and its descendants see: what is not a letter or digit is one `_`.
fn as_variable(name: &str) -> String {
    name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

const IDENTITY: [&str; 8] = [
    "x-tollgate-organization",
    "x-tollgate-project",
    "x-tollgate-key-id",
    "x-tollgate-plan",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// One of the identity headers, in any spelling that a field name may have (RFC 9110 section 5.6.2).
fn spelling() -> impl Strategy<Value = String> {
    let separators = prop::sample::select(vec!["-", "_", ".", "~", "!", "--", "_-", "|", "+", "'", "*"]);
    (prop::sample::select(IDENTITY.to_vec()), prop::collection::vec((any::<bool>(), separators), 32))
        .prop_map(|(name, changes)| {
            let mut changes = changes.into_iter().cycle();
            name.chars()
                .map(|c| {
                    let (upper, separator) = changes.next().unwrap();
                    match c {
                        '-' => separator.to_owned(),
                        c if upper => c.to_ascii_uppercase().to_string(),
                        c => c.to_string(),
                    }
                })
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Forged in any spelling, repeated, or named by `Connection`: the upstream sees each identity once, ours.
    #[test]
    fn forged_identity_never_arrives(
        forged in prop::collection::vec((spelling(), "[a-z0-9]{1,8}"), 1..12),
        named in prop::collection::vec(spelling(), 0..6),
    ) {
        let mut headers = map(&[("host", "a"), ("accept", "*/*")]);
        for (name, value) in &forged {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), format!("forged {value}").parse().unwrap());
        }
        if !named.is_empty() {
            headers.append(CONNECTION, named.join(", ").parse().unwrap());
        }
        let trailers = clean_trailers(headers.clone());
        for name in trailers.keys() {
            prop_assert!(name == "accept", "{} in trailers", name);
        }

        let forwarded = Forwarded::of(&headers, ("203.0.113.9".parse().unwrap(), &address_value("203.0.113.9".parse().unwrap())), true, None, &[]);
        clean_request(&mut headers, false);
        tell(&forwarded, &mut headers);
        for name in [ORGANIZATION, PROJECT, KEY_ID, PLAN, REQUEST_ID] {
            headers.append(name, HeaderValue::from_static("ours"));
        }
        for name in IDENTITY {
            let seen: Vec<_> = headers
                .iter()
                .filter(|(seen, _)| as_variable(seen.as_str()) == as_variable(name))
                .map(|(_, value)| value.to_str().unwrap())
                .collect();
            let ours = match name {
                "x-forwarded-for" => "203.0.113.9",
                "x-forwarded-proto" => "https",
                "x-forwarded-host" => "a",
                _ => "ours",
            };
            prop_assert_eq!(&seen, &[ours], "{}", name);
        }
        prop_assert_eq!(headers.len(), IDENTITY.len() + 2, "nothing else arrives: {:?}", headers);
    }
}

#[test]
fn how_the_client_framed_its_body_is_its_own_business() {
    let mut headers = map(&[("te", "trailers"), ("transfer-encoding", "gzip, chunked")]);
    clean_request(&mut headers, false);
    assert!(!headers.contains_key(TRANSFER_ENCODING));
    assert_eq!(headers[TE], "trailers");
}
