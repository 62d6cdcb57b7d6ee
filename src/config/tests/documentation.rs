//! `gateway.toml` against the reader: neither may know what the other does not.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use super::read_text;
use crate::config::changes::diff_needs_restart;
use crate::config::field::{Context, Field, general};
use crate::config::load::{DEFAULTS, load, load_text};
use crate::config::tree::{Node, Value, parse_file};
use crate::config::{Tls, read};
use crate::domain::limit::Caps;

#[test]
fn the_default_is_what_the_documentation_promises() {
    let config = load(None, &HashMap::new(), &[]).unwrap();
    assert_eq!(config.data.listen.to_string(), "127.0.0.1:8080");
    assert!(config.data.tls.is_none() && config.data.threads > 0);
    assert!(config.session.secret.is_none());
    let caps = Caps { per_second: Some(2), per_minute: Some(30), concurrency: Some(3) };
    assert_eq!((config.plans[0].name.as_str(), config.plans[0].caps), ("free", caps));
    assert_eq!(config.upstreams[0].targets[0].address, "127.0.0.1:3000");
    assert_eq!(config.routes[0].path.as_str(), "/*");
    assert_eq!(config.logs.retention.as_secs(), 90 * 86_400);
    assert_eq!(config.billing.microcents_per_dollar, 1_000_000);
    // A copy of the file serves as the operator's own.
    assert!(read_text(DEFAULTS).is_ok());
}

/// Every setting that is off in `gateway.toml`, as a file in which it is on.
fn examples() -> Vec<String> {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    let is_setting = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let name = |line: &str| line.split(" =").next().unwrap_or_default().to_owned();
    let mut examples = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(on) = line.strip_prefix('#').filter(|rest| is_setting(rest)) else { continue };
        let header = |line: &&str| line.starts_with('[');
        let first = lines[..at].iter().rposition(header).unwrap();
        let end = lines[at..].iter().position(header).map_or(lines.len(), |more| at + more);
        let twin = name(on).trim_end_matches("_file").to_owned();
        let kept = lines.iter().enumerate().filter(|(place, line)| {
            let own = (first..end).contains(place);
            !(own && is_setting(line) && (name(line) == name(on) || name(line) == twin))
        });
        let text = kept
            .map(|(place, line)| if place == at { on } else { line })
            .fold(String::new(), |all, line| all + line + "\n");
        examples.push(text);
    }
    examples
}

#[test]
fn every_setting_that_is_off_is_shown_as_it_would_work() {
    let environment = HashMap::from([("SCRAPER_KEY".to_owned(), "x".to_owned())]);
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    for example in examples {
        if let Err(problems) = load_text(Some(("gateway.toml", &example)), &environment, &[]) {
            for problem in problems.all() {
                // Files that an example names are not there.
                assert!(problem.reason.contains("No such file"), "{problem}");
            }
        }
    }
}

fn written(node: &Node, key: &str, keys: &mut BTreeSet<String>) {
    if !key.is_empty() {
        keys.insert(general(key));
    }
    let dotted = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match &node.value {
        Value::Table(fields) => fields.iter().for_each(|(name, field)| written(field, &dotted(name), keys)),
        Value::List(items) => items.iter().for_each(|item| written(item, key, keys)),
        _ => {}
    }
}

#[test]
fn the_documentation_holds_every_setting_that_the_reader_knows() {
    let (mut known, mut documented) = (BTreeSet::new(), BTreeSet::new());
    let environment = HashMap::new();
    for text in examples() {
        let tree = parse_file("gateway.toml", &text).ok().unwrap();
        written(&tree, "", &mut documented);
        let context = Context {
            environment: &environment,
            defaults: &tree,
            forwards: true,
            problems: RefCell::default(),
            asked: RefCell::default(),
        };
        read::config(&Field { context: &context, node: &tree, key: String::new() });
        known.extend(context.asked.into_inner());
    }
    documented.retain(|key| key != "plans.*");
    assert_eq!(known, documented);
    assert!(known.len() > 80, "{}", known.len());
}

/// Every setting that a reload cannot change, changed.
const CHANGED: &str = r#"
[data]
listen = "127.0.0.1:1"
threads = 77
own_requests_max = 7
own_timeout = "7s"
[control]
listen = "127.0.0.1:2"
connections_max = 1
requests_max = 1
body_max = "2MiB"
timeout = "2s"
[session]
hashes_max = 7
hashes_waiting_max = 7
failing_max = 7
jwks_url = "https://id.example/jwks"
issuer = "https://id.example"
audience = "tollgate"
[record]
url = "sqlite://other.db"
connections_max = 7
connect_timeout = "7s"
answer_timeout = "7s"
[counters]
url = "redis://localhost"
on_outage = "closed"
keys_max = 1
timeout = "90ms"
[logs]
dir = "other"
spool_bytes_max = "900GiB"
segment_bytes = "1MiB"
when_full = "drop"
sync_every = "2s"
ship_every = "2s"
batch_rows_max = 1
[logs.export]
to = "stdout"
rotate_bytes = "1MiB"
files_max = 1
[keys]
cache_max = 1
cache_absent_max = 1
cache_absent_for = "1s"
follow_every = "100ms"
index_for = "1d"
remember_for = "1h"
[ip_guard]
addresses_max = 1
[systems]
alterlab = "on"
azscraper = "on"
piloterr = "on"
jobs_max = 7
"#;

#[test]
fn what_a_reload_cannot_change_is_marked_so_in_the_documentation() {
    let old = read_text("").unwrap();
    let mut new = read_text(CHANGED).unwrap();
    new.data.tls = Some(Tls { cert: "a".into(), key: "b".into() });
    assert!(diff_needs_restart(&old, &read_text("").unwrap()).is_empty());
    let mut found: Vec<&str> = diff_needs_restart(&old, &new);
    let mut section = String::new();
    let mut marked = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.split(']').next().unwrap().to_owned();
        } else if line.ends_with("(restart)") {
            let name = line.trim_start_matches('#').split(" =").next().unwrap();
            marked.push(format!("{section}.{name}"));
        }
    }
    found.sort_unstable();
    marked.sort_unstable();
    assert_eq!(found, marked);
}
