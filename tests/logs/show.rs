//! `tollgate logs`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Entries, Gateway, SOON, Upstream, get, raw};
use super::{config, start};

/// What a terminal would make of it, were it shown as it came.
const HOSTILE: &str = "\u{1b}[2J\u{1b}[31mred\r\nfaked line\u{202e}";

/// An upstream that names a hostile tier, and answers 404 below `/missing`.
fn upstream() -> Upstream {
    Upstream::start(|seen| match seen.target() {
        "/hostile" => Answer::new(200).json(&json!({ "tier": HOSTILE })),
        "/tiered" => Answer::new(200).json(&json!({ "tier": "3.5" })),
        "/missing" => Answer::new(404).body("none"),
        _ => Answer::new(200).body("page"),
    })
}

async fn lines(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let finished = gateway.run(&[&["logs", "--json"], arguments].concat(), "").await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn rows_are_shown_by_what_is_asked_for() {
    let upstream = upstream();
    let (gateway, id, key) = start(&config(upstream.address, "")).await;
    let (other, second) = gateway.key("acme", "other", &[]).await;
    for (path, key) in [
        ("/one", &key),
        ("/missing", &key),
        ("/tiered", &second),
        ("/two?secret=1", &key),
        ("/three", &second),
    ] {
        get(gateway.data, path, &[("x-api-key", key), ("user-agent", "test/1")]).await;
        // Rows stand in the order of the millisecond in which they came.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    get(gateway.data, "/none", &[("x-api-key", "wrong")]).await;
    Entries::of(&gateway).await.at_least(6, SOON).await;

    let all = ["/one", "/missing", "/tiered", "/two", "/three", "/none"];
    assert_eq!(paths(&lines(&gateway, &[]).await), all, "the newest last");
    for (arguments, expected) in [
        (vec!["--limit", "2"], vec!["/three", "/none"]),
        (vec!["--key", &*id], vec!["/one", "/missing", "/two"]),
        (vec!["--key", "other", "--org", "acme"], vec!["/tiered", "/three"]),
        (vec!["--org", "acme"], vec!["/one", "/missing", "/tiered", "/two", "/three"]),
        (vec!["--status", "success"], vec!["/one", "/tiered", "/two", "/three"]),
        (vec!["--status", "4xx"], vec!["/missing", "/none"]),
        (vec!["--status", "401"], vec!["/none"]),
        (vec!["--tier", "3.5", "--key", &*other], vec!["/tiered"]),
        (vec!["--since", "1h"], all.to_vec()),
        (vec!["--since", "2999-01-01"], vec![]),
        (vec!["--domain", "example"], vec![]),
    ] {
        assert_eq!(paths(&lines(&gateway, &arguments).await), expected, "{arguments:?}");
    }
    let first = &lines(&gateway, &["--limit", "6"]).await[0];
    assert_eq!((&first["key"], &first["status"], &first["code"]), (&json!(id), &json!(200), &json!("")));
    assert_eq!((&first["user_agent"], &first["outcome"]), (&json!("test/1"), &json!("success")));

    for (arguments, says) in [
        (vec!["logs", "--status", "fine"], "5xx"),
        (vec!["logs", "--since", "yesterday"], "2026-12-31"),
        (vec!["logs", "--key", "other"], "--org"),
    ] {
        let finished = gateway.run(&arguments, "").await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(says), "{finished:?}");
    }
}

#[tokio::test]
async fn hostile_values_are_one_row_each_and_are_shown_escaped() {
    let upstream = upstream();
    let (gateway, _, key) = start(&config(upstream.address, "")).await;
    let common = format!("Host: x\r\nX-API-Key: {key}\r\nConnection: close\r\n");
    let agent = |bytes: &str| format!("GET /agent HTTP/1.1\r\n{common}User-Agent: {bytes}\r\n\r\n");
    let requests = [
        (format!("GET /hostile HTTP/1.1\r\n{common}\r\n"), "200"),
        (agent("caf\u{e9} \u{202e}"), "200"),
        (agent("\u{1b}[31m"), "400"),
        (agent("a\rb"), "400"),
        (agent(&"x".repeat(1 << 20)), "431"),
        (agent(&"y".repeat(2_000)), "200"),
        (format!("GET /%0d%0aSet-Cookie:x HTTP/1.1\r\n{common}\r\n"), "400"),
        (format!("GET /%1b[31m HTTP/1.1\r\n{common}\r\n"), "400"),
    ];
    for (request, status) in &requests {
        let answer = raw(gateway.data, request).await;
        let begins: String = request.chars().take(60).collect();
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{begins:?}");
    }
    let rows = Entries::of(&gateway).await.at_least(requests.len(), SOON).await;
    assert_eq!(rows.len(), requests.len(), "one row each: {rows:?}");
    assert!(rows.iter().all(|row| row.user_agent.as_ref().is_none_or(|agent| agent.len() <= 512)));

    let finished = gateway.run(&["logs"], "").await;
    assert_eq!(finished.stdout.lines().count(), requests.len(), "{}", finished.stdout);
    let plain = |character: char| character == '\n' || !(character.is_control() || character == '\u{202e}');
    assert!(finished.stdout.chars().all(plain), "{:?}", finished.stdout);
    assert!(finished.stdout.contains("tier=\\u{1b}[2J\\u{1b}[31mred\\r\\nfaked line\\u{202e}"));
    let lines = lines(&gateway, &[]).await;
    assert_eq!(lines.len(), requests.len());
    assert_eq!(lines[0]["tier"], HOSTILE);
}

#[tokio::test]
async fn whoever_follows_sees_what_comes_once() {
    let upstream = upstream();
    let (gateway, _, key) = start(&config(upstream.address, "")).await;
    let ask = async |path: &str| get(gateway.data, path, &[("x-api-key", &key)]).await;
    ask("/before").await;
    Entries::of(&gateway).await.at_least(1, SOON).await;
    let mut following = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["logs", "--follow", "--json", "--limit", "10", "--status", "success", "--config"])
        .arg(gateway.config())
        .current_dir(gateway.directory())
        .env("TOLLGATE_SESSION_SECRET", "integration-tests-integration-tests")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let out = following.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap();
            drop(sender.send(line["path"].as_str().unwrap().to_owned()));
        }
    });
    let mut seen = vec![receiver.recv_timeout(SOON).unwrap()];
    for number in 0..50 {
        ask(&format!("/{number}")).await;
        ask("/missing").await;
    }
    while seen.len() < 51 {
        seen.push(receiver.recv_timeout(SOON).unwrap());
    }
    // Time for a row that is not asked for, or is told twice, to come.
    assert!(receiver.recv_timeout(Duration::from_secs(1)).is_err(), "{seen:?}");
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(seen.remove(0), "/before");
    seen.sort_by_key(|path| path.trim_start_matches('/').parse::<u32>().unwrap());
    assert_eq!(seen, (0..50).map(|number| format!("/{number}")).collect::<Vec<_>>());
}
