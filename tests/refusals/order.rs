//! Which check comes first, and that a refused request spends nothing.

use crate::secrets::unknown;
use crate::support::{Answer, Gateway, Response, SOON, Upstream, get, send, wait_until};
use crate::table::assert_refused;

/// Each key fails the check that it is named for and all that come after it, and is refused for that one.
/// The name (the row, with dots for blanks), its organization, its arguments, and what is done to it then.
const FAILING: &[(&str, &str, &[&str], &[&str])] = &[
    ("inactive_api_key", "none", &ELSEWHERE, &["disable", "limit"]),
    ("expired_api_key", "none", &ELSEWHERE, &["limit"]),
    ("ip_not_allowed", "none", &["--allow-ip", "10.1.2.3", "--scope", "read"], &["quotas", "limit"]),
    ("scope_missing", "none", &["--scope", "read"], &["quotas", "limit"]),
    ("project_locked", "none", &[], &["quotas", "limit"]),
    ("concurrency_limited", "none", &["--project", "p"], &["quotas", "limit"]),
    ("rate_limited_second", "rates", &["--project", "p2"], &["quotas", "limit"]),
    ("rate_limited_minute", "minute", &["--project", "p3"], &["quotas", "limit"]),
    ("quota_total", "spend", &["--project", "p4"], &["quotas", "limit"]),
    (
        "quota_daily",
        "spend",
        &["--project", "p4", "--daily", "0", "--weekly", "0", "--monthly", "0"],
        &["limit"],
    ),
    ("quota_weekly", "spend", &["--project", "p4", "--weekly", "0", "--monthly", "0"], &["limit"]),
    ("quota_monthly", "spend", &["--project", "p4", "--monthly", "0"], &["limit"]),
    ("spend_requests.key", "spend", &["--project", "p4"], &["limit"]),
    ("spend_requests.org", "spend", &["--project", "p4"], &[]),
];

const ELSEWHERE: [&str; 6] = ["--expires", "1ms", "--allow-ip", "10.1.2.3", "--scope", "read"];

#[tokio::test]
async fn the_first_check_that_fails_is_the_one_told() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = Gateway::start(&format!(
        r#"
        [ip_guard]
        failures = 2
        [data]
        trusted_proxies = ["127.0.0.0/8"]
        [plans.wide]
        per_second = 100000
        per_minute = 100000
        concurrency = 1000
        [[upstreams]]
        name = "up"
        targets = ["{}"]
        [[routes]]
        path = "/projects/{{project}}/*"
        upstream = "up"
        body_max = 100
        "#,
        upstream.address
    ))
    .await;
    let organizations: [(&str, &[&str], &str); 4] = [
        ("none", &["--concurrency", "0", "--per-second", "0", "--per-minute", "0"], "p"),
        ("rates", &["--per-second", "0", "--per-minute", "0"], "p2"),
        ("minute", &["--per-minute", "0"], "p3"),
        ("spend", &[], "p4"),
    ];
    for (name, caps, project) in organizations {
        gateway.cli(&["org", "create", name, "--plan", "wide"]).await;
        gateway.cli(&[&["org", "set-plan", name, "wide"], caps].concat()).await;
        gateway.cli(&["project", "create", project, "--org", name, "--id", project]).await;
        let limit = ["org", "limit", name, "--requests", "0", "--microcents", "0", "--period", "weekly"];
        gateway.cli(&limit).await;
    }
    for (name, organization, arguments, then) in FAILING {
        let create = ["key", "create", "--org", organization, "--name", name];
        let made = gateway.cli(&[&create, *arguments].concat()).await;
        for change in *then {
            let more: &[&str] = match *change {
                "quotas" => &["--total", "0", "--daily", "0", "--weekly", "0", "--monthly", "0"],
                "limit" => &["--requests", "0", "--microcents", "0", "--period", "daily"],
                _ => &[],
            };
            gateway.cli(&[&["key", change, name, "--org", organization], more].concat()).await;
        }
        let project = match *organization {
            "none" => "p",
            "rates" => "p2",
            "minute" => "p3",
            _ => "p4",
        };
        let path = format!("/projects/{project}/a");
        let headers = [("x-api-key", made["key"].as_str().unwrap())];
        let answer = send(gateway.data, "POST", &path, &headers, "").await;
        assert_refused(&answer, &name.replace('.', " "), "native", "the first of all that fail");
    }
    before_the_key(&gateway).await;
    assert_eq!(upstream.count(), 0);
}

/// Path before address, address before route, route before key.
async fn before_the_key(gateway: &Gateway) {
    let from = async |path: &str| {
        let key = unknown();
        get(gateway.data, path, &[("x-api-key", &key), ("x-forwarded-for", "10.5.5.5")]).await
    };
    let body = "b".repeat(101);
    assert_refused(&from("/elsewhere").await, "no_route", "native", "and a bad key");
    let large = send(gateway.data, "POST", "/projects/p/a", &[("x-forwarded-for", "10.5.5.5")], body).await;
    assert_refused(&large, "body_too_large", "native", "and no key");
    for _ in 0..2 {
        assert_refused(&from("/projects/p/a").await, "invalid_api_key", "native", "");
    }
    assert_refused(&from("/projects/p/a").await, "ip_blocked", "native", "and a bad key");
    assert_refused(&from("/elsewhere").await, "ip_blocked", "native", "and no such route");
    assert_refused(&from("/projects/../a").await, "bad_request", "native", "and a blocked address");
}

#[tokio::test]
async fn a_refused_request_spends_nothing() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = Gateway::start(&format!(
        r#"
        [plans.wide]
        per_second = 1000
        per_minute = 1000
        concurrency = 10
        [[upstreams]]
        name = "up"
        targets = ["{}"]
        [[routes]]
        path = "/*"
        upstream = "up"
        "#,
        upstream.address
    ))
    .await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let key = async |name: &str, more: &[&str]| {
        let made = gateway.cli(&[&["key", "create", "--org", "acme", "--name", name], more].concat()).await;
        made["key"].as_str().unwrap().to_owned()
    };
    let one_a_day = key("one_a_day", &["--daily", "1", "--weekly", "10"]).await;
    let free = key("free", &["--total", "100", "--monthly", "50"]).await;
    let ask = async |key: &str| get(gateway.data, "/", &[("x-api-key", key)]).await;
    let minute = |answer: &Response| answer.header("x-ratelimit-remaining").unwrap().to_owned();

    // Refused by its quota, a request takes nothing of the plan's minute, nor of the other quotas.
    let first = ask(&one_a_day).await;
    assert_eq!((first.status, minute(&first)), (200, "999".into()));
    for _ in 0..5 {
        let refused = ask(&one_a_day).await;
        assert_refused(&refused, "quota_daily", "native", "the second of a day");
        assert_eq!(minute(&refused), "999");
        assert!(refused.header("ratelimit").unwrap().contains("\"weekly\";r=9"), "{refused:?}");
    }
    let second = ask(&free).await;
    assert_eq!((second.status, minute(&second)), (200, "998".into()));
    assert_eq!(second.header("x-concurrency-current"), Some("1"), "no slot is left taken");

    // Refused by the plan's minute, it takes nothing of the key's quotas; by a spend limit, nothing at all.
    let cap = async |minute: &str, limit: &[&str]| {
        gateway.cli(&["org", "set-plan", "acme", "wide", "--per-minute", minute]).await;
        gateway.cli(&[&["org", "limit", "acme"], limit].concat()).await;
    };
    cap("2", &["--clear"]).await;
    wait_until("the new cap is in force", SOON, async || ask(&free).await.status == 429).await;
    for _ in 0..5 {
        assert_refused(&ask(&free).await, "rate_limited_minute", "native", "two a minute");
    }
    cap("1000", &["--microcents", "2500", "--period", "monthly"]).await;
    let in_force = async || ask(&free).await.json()["code"] == "spend_budget";
    wait_until("the new limit is in force", SOON, in_force).await;
    for _ in 0..5 {
        assert_eq!(ask(&free).await.status, 429);
    }
    cap("1000", &["--clear"]).await;
    wait_until("the limit is gone", SOON, async || ask(&free).await.status == 200).await;
    let last = ask(&free).await;
    let left = |name: &str, of: u64| {
        let text = last.header("ratelimit").unwrap();
        let at = text.find(&format!("\"{name}\";r=")).unwrap() + name.len() + 5;
        let rest: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
        of - rest.parse::<u64>().unwrap()
    };
    let passed = upstream.count() as u64;
    assert_eq!(left("minute", 1000), passed, "the minute counts what reached the upstream");
    assert_eq!(left("total", 100), passed - 1, "so does the total");
    assert_eq!(left("monthly", 50), passed - 1, "and the month");
}
