//! Who is calling: told by the gateway alone, once. Ten thousand forged spellings: `tests/hostile/identity.rs`.

use std::collections::BTreeMap;

use crate::bed::{Bed, Setup};
use crate::support::{Answer, Seen, Upstream, Wire};

/// Every header by which the gateway names a caller.
const NAMES: [&str; 8] = [
    "x-tollgate-organization",
    "x-tollgate-project",
    "x-tollgate-key-id",
    "x-tollgate-plan",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// Names as CGI would have them: all that is not a letter or digit is one, runs of it too.
fn plain(name: &str) -> String {
    let words = name.split(|byte: char| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Holds what the upstream saw against what it must be told: exactly one of each, by any spelling.
fn assert_identity(seen: &Seen, bed: &Bed, id: &str) {
    let told = [
        ("x-tollgate-organization", "acme"),
        ("x-tollgate-project", &bed.project),
        ("x-tollgate-key-id", &bed.key_id),
        ("x-tollgate-plan", "wide"),
        ("x-request-id", id),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "x"),
    ];
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in seen.head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let name = plain(name);
        if NAMES.contains(&&*name) || name.starts_with("x-tollgate") || name.starts_with("x-forwarded") {
            found.entry(name).or_default().push(value);
        }
    }
    let told: BTreeMap<String, Vec<&str>> =
        told.iter().map(|(name, value)| ((*name).to_owned(), vec![*value])).collect();
    assert_eq!(found, told, "{}", seen.head);
}

#[tokio::test]
async fn the_caller_is_named_once_and_by_nobody_else() {
    let upstream = Upstream::start(|_| Answer::new(200).header("x-request-id", "the-upstreams-own"));
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    for more in [
        "".to_owned(),
        "X-Tollgate-Organization: evil\r\nX-Tollgate-Organization: evil\r\n".to_owned(),
        "Connection: x-tollgate-organization, x-request-id, X-Forwarded-For\r\n".to_owned(),
        "Connection: X-Tollgate-Plan\r\nX-Tollgate-Plan: evil\r\n".to_owned(),
        "Forwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\n".to_owned(),
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
            .to_owned(),
        "X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Tollgate-Anything: evil\r\n".to_owned(),
        format!("X-Request-Id: {}\r\n", uuid::Uuid::nil()),
    ] {
        upstream.forget();
        wire.send(bed.head("GET /", &more)).await;
        let (head, _) = wire.answer().await.unwrap();
        let ids: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
        assert_eq!(ids.len(), 1, "one id, and not the upstream's: {head}");
        let seen = &upstream.seen()[0];
        assert_identity(seen, &bed, ids[0]);
        assert!(!seen.head.contains("evil") && !seen.head.contains("10.0.0."), "{}", seen.head);
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_as_far_as_it_goes() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let data = "trusted_proxies = [\"127.0.0.0/8\", \"10.9.0.0/16\"]";
    let bed = Setup { data, ..Setup::default() }.start(&[&upstream]).await;
    for (headers, passed) in [
        ("", ["127.0.0.1", "http", "x"]),
        ("X-Forwarded-For: 192.0.2.7\r\n", ["192.0.2.7, 127.0.0.1", "http", "x"]),
        // What stands before the first stranger is a stranger's word.
        (
            "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.9.0.1\r\n",
            ["192.0.2.7, 10.9.0.1, 127.0.0.1", "http", "x"],
        ),
        ("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7\r\n", ["192.0.2.7, 127.0.0.1", "http", "x"]),
        ("X-Forwarded-For: 2001:db8::1\r\n", ["2001:db8::1, 127.0.0.1", "http", "x"]),
        ("X-Forwarded-For: nonsense\r\n", ["127.0.0.1", "http", "x"]),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n",
            ["127.0.0.1", "https", "shop.example"],
        ),
        ("X-Forwarded-Proto: gopher\r\n", ["127.0.0.1", "http", "x"]),
    ] {
        upstream.forget();
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(bed.head("GET /", headers)).await;
        assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 200 "));
        let seen = &upstream.seen()[0];
        let found =
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| seen.headers(name));
        assert_eq!(found, passed.map(|value| vec![value]), "{headers:?}");
    }
}
