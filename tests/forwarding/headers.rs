//! What ends at the gateway, both ways, and what it says itself.

use crate::bed::Setup;
use crate::support::{Answer, Response, SOON, Upstream, feed, get, wait_until};

#[tokio::test]
async fn what_is_about_one_connection_ends_there() {
    let upstream = Upstream::start(|_| {
        Answer::new(200)
            .header("connection", "keep-alive, X-Hop")
            .header("keep-alive", "timeout=5")
            .header("x-hop", "theirs")
            .header("proxy-authenticate", "Basic")
            .header("upgrade", "h2c")
            .header("x-end", "theirs")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("x-empty", "")
            .body("ok")
    });
    let bed = Setup::default().start(&[&upstream]).await;
    let answer = bed
        .send(
            "POST",
            "/a/b;c=d?e",
            &[
                ("connection", "X-Hop, content-type, HTTP2-Settings"),
                ("x-hop", "ours"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic x"),
                ("te", "gzip"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
                ("content-type", "text/plain"),
                ("x-end", "ours"),
                ("cookie", "a=1; b=2"),
                ("x-twice", "1"),
                ("x-twice", "2"),
                ("user-agent", "t"),
            ],
            "body",
        )
        .await;
    let seen = &upstream.seen()[0];
    let mut names: Vec<String> = seen.header_names().iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    // `content-type` cannot be had removed by naming it: it describes the content.
    let expected = [
        "content-length",
        "content-type",
        "cookie",
        "host",
        "user-agent",
        "x-end",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
        "x-tollgate-key-id",
        "x-tollgate-organization",
        "x-tollgate-plan",
        "x-tollgate-project",
        "x-twice",
        "x-twice",
    ];
    assert_eq!(names, expected);
    assert_eq!((seen.method(), seen.target(), &*seen.body), ("POST", "/a/b;c=d?e", &b"body"[..]));
    assert_eq!(seen.headers("x-twice"), ["1", "2"]);

    for gone in ["connection", "keep-alive", "x-hop", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.header(gone), None, "{answer:?}");
    }
    assert_eq!(answer.header("x-end"), Some("theirs"));
    assert_eq!(answer.header("x-empty"), Some(""));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(answer.text(), "ok");
}

const ACCOUNT: &[&str] = &[
    "RateLimit",
    "RateLimit-Policy",
    "RateLimit-Limit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Rate-Limit-Reset",
    "X-Concurrency-Limit",
    "X-Concurrency-Current",
    "X-Balance",
    "X-Credits-Remaining",
    "X-Account-Balance",
    "X-Quota-Left",
    "X-Tollgate-Organization",
    "X-Request-Id",
];

#[tokio::test]
async fn limits_are_told_as_ours_and_never_the_operators() {
    let (held, fed) = feed();
    let fed = parking_lot::Mutex::new(Some(fed));
    let upstream = Upstream::start(move |seen| {
        if seen.target() == "/hold" {
            return Answer::fed(fed.lock().take().unwrap());
        }
        let answer = Answer::new(200).header("x-credits-used", "3");
        ACCOUNT.iter().fold(answer, |answer, name| answer.header(name, "theirs"))
    });
    let setup = Setup {
        plan: Some("per_second = 50\nper_minute = 100\nconcurrency = 5"),
        key: &["--total", "7", "--daily", "9", "--monthly", "20"],
        ..Setup::default()
    };
    let bed = setup.start(&[&upstream]).await;
    let before = unix_now();
    let first = bed.get("/").await;
    assert!(!format!("{first:?}").contains("theirs"), "{first:?}");
    assert_eq!(first.header("x-credits-used"), Some("3"), "what it cost is the client's to know");
    assert_eq!(
        first.header("ratelimit-policy"),
        Some(
            r#""second";q=50;w=1, "minute";q=100;w=60, "total";q=7, "daily";q=9;w=86400, "monthly";q=20;w=2592000"#
        )
    );
    assert_eq!(told(&first), [("second", 49), ("minute", 99), ("total", 6), ("daily", 8), ("monthly", 19)]);
    let number = |name: &str| first.header(name).unwrap().parse::<u64>().unwrap();
    assert_eq!((number("x-ratelimit-limit"), number("x-ratelimit-remaining")), (100, 99));
    let reset = number("x-ratelimit-reset") - before;
    assert!((60..=66).contains(&reset), "the first of a minute is free after it and a cell: {reset}");
    assert_eq!((number("x-concurrency-limit"), number("x-concurrency-current")), (5, 1));

    let (at, key) = (bed.gateway.data, bed.key.clone());
    let holding = tokio::spawn(async move { get(at, "/hold", &[("x-api-key", &key)]).await });
    wait_until("one is in flight", SOON, async || upstream.count() == 2).await;
    let third = bed.get("/").await;
    assert_eq!(third.header("x-concurrency-current"), Some("2"));
    assert_eq!(told(&third)[1..], [("minute", 97), ("total", 4), ("daily", 6), ("monthly", 17)]);
    drop(held);
    assert_eq!(holding.await.unwrap().status, 200);
}

fn unix_now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Every policy's name and what remains of it. Where something becomes free by itself, `t` says in how many
/// seconds: at most the window and one cell of it.
fn told(answer: &Response) -> Vec<(&str, u64)> {
    let windows = [("second", 2), ("minute", 63), ("daily", 86_400 + 300), ("monthly", 2_592_000 + 9_000)];
    let text = answer.header("ratelimit").unwrap();
    text.split(", ")
        .map(|member| {
            let mut parts = member.split(';');
            let name = parts.next().unwrap().trim_matches('"');
            let left = parts.next().unwrap().strip_prefix("r=").unwrap().parse().unwrap();
            let wait: Option<u64> = parts.next().map(|t| t.strip_prefix("t=").unwrap().parse().unwrap());
            let window = windows.iter().find(|window| window.0 == name).map(|window| window.1);
            assert_eq!(wait.is_some(), window.is_some(), "{text}");
            assert!(wait.is_none_or(|wait| (1..=window.unwrap()).contains(&wait)), "{text}");
            (name, left)
        })
        .collect()
}

#[tokio::test]
async fn an_upstreams_wait_is_told_in_seconds_and_never_long() {
    let upstream = Upstream::start(|seen| {
        let wait = seen.header("x-wait").unwrap_or_default().to_owned();
        Answer::new(503).header("retry-after", wait)
    });
    let bed = Setup::default().start(&[&upstream]).await;
    for (theirs, ours) in
        [("7", "7"), ("60", "60"), ("3600", "60"), ("Fri, 31 Dec 2027 23:59:59 GMT", "60"), ("-1", "60")]
    {
        let answer = bed.send("GET", "/", &[("x-wait", theirs)], "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some(ours)), "{theirs}");
    }
}
