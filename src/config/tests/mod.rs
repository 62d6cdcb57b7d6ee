//! Case files, and how layers lie over each other.
//!
//! A case of `cases/*.txt` is a title behind `===`, the operator's file, perhaps `--- environment` or `--- flags`
//! (a `NAME=value` a line), and behind `--- expect` every problem, or `ok`.

mod arbitrary;
mod documentation;

use std::collections::HashMap;
use std::path::Path;

use super::load::{load, load_text};
use super::problem::{Problem, Problems};
use super::{Answered, Config, Finder, Source, Systems, UpstreamCredential};
use crate::domain::limit::Caps;

fn read_text(text: &str) -> Result<Config, Problems> {
    load_text(Some(("gateway.toml", text)), &HashMap::new(), &[])
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// A problem without its line in the default, which moves with every edit of it.
fn shown(problem: &Problem) -> String {
    let line = problem.line.filter(|_| !problem.source.starts_with("built-in"));
    Problem { line, ..problem.clone() }.to_string()
}

/// A case's parts: file, environment, flags, expectation.
fn outcome(case: &str) -> (String, String) {
    let (mut file, mut environment, mut flags, mut expected) = (String::new(), vec![], vec![], String::new());
    for (at, part) in format!("\n{case}").split("\n--- ").enumerate() {
        let (kind, body) = part.split_once('\n').unwrap_or((part, ""));
        match (at, kind) {
            (0, _) => file = format!("{body}\n"),
            (_, "environment") => environment = pairs(body),
            (_, "flags") => flags = pairs(body),
            (_, "expect") => expected = body.trim_end().to_owned(),
            _ => panic!("`--- {kind}`"),
        }
    }
    let environment = environment.into_iter().collect();
    let found = match load_text(Some(("gateway.toml", &file)), &environment, &flags) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.all().iter().map(shown).collect::<Vec<_>>().join("\n"),
    };
    (found, expected)
}

#[test]
fn every_case_is_answered_as_its_file_says() {
    let (mut cases, mut mistakes) = (0, 0);
    for file in std::fs::read_dir("src/config/cases").unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for case in text.split("=== ").skip(1) {
            let (title, case) = case.split_once('\n').unwrap();
            let (found, expected) = outcome(case);
            assert_eq!(found, expected, "{}: {title}", path.display());
            assert!(!found.contains("hunter2"), "{}: {title}: a secret shows", path.display());
            cases += 1;
            mistakes += expected.lines().filter(|line| *line != "ok").count();
        }
    }
    assert!(cases > 70 && mistakes > 120, "{cases} cases with {mistakes} mistakes: were all found?");
}

#[test]
fn plans_upstreams_and_routes_of_a_file_replace_the_defaults_and_take_what_they_leave_out() {
    let text = r#"
        keys.prefix = "gate_"
        plans.team.per_minute = 9
        [[upstreams]]
        name = "a"
        targets = ["one:1", { address = "two:2", weight = 3 }]
        retries = 0
        credential = { header = "X-Key", value = "s3cret" }
        health.path = "/up"
        [[upstreams]]
        name = "b"
        targets = ["three:3"]
        [[routes]]
        path = "/b/{project}/*"
        upstream = "b"
        cost = ["header:x-credits", "json:/a/b", "2xx=1"]
        body_max = 7
    "#;
    let config = read_text(text).unwrap();
    assert_eq!((config.keys.prefix.as_str(), config.keys.sources.len()), ("gate_", 2));
    assert_eq!(config.keys.sources[1], Source::Bearer);
    let caps = Caps { per_second: None, per_minute: Some(9), concurrency: None };
    assert_eq!((config.plans.len(), config.plans[0].caps), (1, caps));
    let [a, b] = config.upstreams.as_slice() else { panic!("two upstreams") };
    assert_eq!((a.retries, b.retries, a.targets[1].weight, b.targets[0].weight), (0, 1, 3, 1));
    assert_eq!((a.health.path.as_deref(), a.health.fall, b.health.path.as_deref()), (Some("/up"), 3, None));
    assert_eq!(a.connect_timeout, b.connect_timeout);
    let Some(UpstreamCredential::Header(name, value)) = &a.credential else { panic!("no credential") };
    assert_eq!((name.as_str(), value.0.as_str()), ("x-key", "s3cret"));
    assert!(b.credential.is_none() && !format!("{config:?}").contains("s3cret"));
    let [route] = config.routes.as_slice() else { panic!("one route") };
    assert_eq!((route.upstream, route.price, route.body_bytes_max), (1, 1, 7));
    assert_eq!(route.cost[2], Finder::Status(2, "1".to_owned()));
}

#[test]
fn environment_lies_over_the_file_and_flags_over_both() {
    let environment = HashMap::from(
        [
            ("TOLLGATE__DATA__HEADERS_MAX", "7"),
            ("TOLLGATE__DATA__CONNECTIONS_MAX", "8"),
            ("TOLLGATE__PLANS__MY_PLAN__PER_SECOND", "5"),
            ("TOLLGATE__UPSTREAMS__0__TARGETS", "['one:1']"),
            ("TOLLGATE__UPSTREAMS__0__HEALTH__EVERY", "0s"),
            ("TOLLGATE__SESSION__SECRET", "${X}0123456789abcdef0123456789abcdef"),
            ("TOLLGATE__KEYS__PREFIX", "007"),
            ("PORT", "81"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let flags = [("data.connections_max".to_owned(), "9".to_owned())];
    let text = "[data]\nheaders_max = 1\nlisten = \"127.0.0.1:${PORT}\"\nthreads = \"${NONE:-3}\"\n\
                [plans.My-plan]\nper_second = 1\nper_minute = 2";
    let config = load_text(Some(("f", text)), &environment, &flags).unwrap();
    assert_eq!((config.data.headers_max, config.data.connections_max), (7, 9));
    assert_eq!((config.data.listen.port(), config.data.threads), (81, 3));
    let caps = Caps { per_second: Some(5), per_minute: Some(2), concurrency: None };
    assert_eq!((config.plans[0].name.as_str(), config.plans[0].caps), ("My-plan", caps));
    assert_eq!(config.upstreams[0].targets[0].address, "one:1");
    assert!(config.upstreams[0].health.every.is_zero());
    // Taken as it stands: no variable is looked for in it.
    assert!(config.session.secret.unwrap().0.starts_with("${X}"));
    assert_eq!(config.keys.prefix, "007");
}

#[test]
fn secrets_and_certificates_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secret = write("secret", "0123456789abcdef0123456789abcdef\r\n");
    let cert = write("cert", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let key = write("key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    let text = format!("session.secret_file = '{secret}'\ndata.tls = {{ cert = '{cert}', key = '{key}' }}");
    let file = write("gateway.toml", &text);
    let config = load(Some(Path::new(&file)), &HashMap::new(), &[]).unwrap();
    assert_eq!(config.session.secret.unwrap().0, "0123456789abcdef0123456789abcdef");
    assert_eq!(config.data.tls.unwrap().key.display().to_string(), key);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for path in ["/nowhere/gateway.toml", "src"] {
        let problems = load(Some(Path::new(path)), &HashMap::new(), &[]).unwrap_err().to_string();
        assert!(problems.starts_with(&format!("{path}: cannot be read: ")), "{problems}");
        assert!(problems.contains("--config"), "{problems}");
    }
}

#[test]
fn problems_have_a_form_for_programs() {
    let problems = read_text("[data]\nheaders_max = 0\n").unwrap_err();
    let expected = serde_json::json!([{
        "source": "gateway.toml",
        "line": 2,
        "key": "data.headers_max",
        "reason": "0 is not a whole number from 1 to 10000",
        "advice": "the default is 100",
    }]);
    assert_eq!(problems.to_json(), expected);
}

#[test]
fn a_system_is_answered_where_a_route_speaks_it_unless_the_file_says_otherwise() {
    let systems = |text: &str| read_text(text).unwrap().systems;
    let routes = "[[routes]]\npath = \"/a/*\"\nupstream = \"scraper\"\ndialect = \"alterlab\"\n\
                  [[routes]]\npath = \"/*\"\nupstream = \"scraper\"\ndialect = \"piloterr\"\n";
    let control = Answered::Control;
    let none = Systems {
        alterlab: control,
        azscraper: control,
        piloterr: control,
        jobs_max: 100_000,
        register: false,
    };
    assert_eq!(systems(""), none);
    let everywhere = Answered::Everywhere;
    assert_eq!(systems(routes), Systems { alterlab: everywhere, piloterr: everywhere, ..none });
    let said = "[systems]\nalterlab = \"off\"\nazscraper = \"on\"\nregister = true\n";
    let expected = Systems {
        alterlab: Answered::Nowhere,
        azscraper: everywhere,
        piloterr: everywhere,
        register: true,
        ..none
    };
    assert_eq!(systems(&format!("{said}{routes}")), expected);
}

#[test]
fn piloterr_s_clients_may_put_their_key_into_the_query_unless_the_file_says_where_keys_stand() {
    let sources = |text: &str| read_text(text).unwrap().keys.sources;
    let default = sources("");
    let query = Source::Query("x_api_key".into());
    assert!(!default.contains(&query), "{default:?}");
    let with: Vec<_> = default.iter().cloned().chain([query]).collect();
    let route = "[[routes]]\npath = \"/*\"\nupstream = \"scraper\"\ndialect = \"piloterr\"\n";
    assert_eq!(sources(route), with);
    assert_eq!(sources("[systems]\npiloterr = \"on\"\n"), with);
    assert_eq!(sources(&format!("[systems]\npiloterr = \"off\"\n{route}")), default);
    assert_eq!(sources(&format!("[keys]\nsources = [\"header:x-api-key\", \"bearer\"]\n{route}")), default);
}
