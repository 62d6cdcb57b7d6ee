//! Starting: one line when it is ready; otherwise a sentence that says what to do.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::config;
use super::support::{Answer, Demo, Gateway, Upstream, post, run};

/// Runs `serve` with a configuration that must keep it from starting; what it said.
async fn fails(directory: &Path, config: &str) -> String {
    std::fs::write(directory.join("other.toml"), config).unwrap();
    let finished = run(&["serve", "--config", "other.toml"], directory).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    finished.stderr
}

#[tokio::test]
async fn what_is_in_the_way_is_named_with_what_to_do() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let running = Gateway::start(&config(upstream.address, "")).await;
    let place = tempfile::tempdir().unwrap();
    let with = |data: &str, more: &str| format!("{}\n{more}", config(upstream.address, data));
    let free = "listen = \"127.0.0.1:0\"";
    let control = "[control]\nlisten = \"127.0.0.1:0\"";

    let taken = running.data.to_string();
    let said = fails(place.path(), &with(&format!("listen = \"{taken}\""), control)).await;
    assert!(said.contains(&taken) && said.contains("data.listen"), "{said}");
    let taken = running.control.to_string();
    let said = fails(place.path(), &with(free, &format!("[control]\nlisten = \"{taken}\""))).await;
    assert!(said.contains(&taken) && said.contains("control.listen"), "{said}");

    // The running gateway's own directory.
    let said = fails(running.directory(), &with(free, control)).await;
    assert!(said.contains("another gateway") && said.contains("logs.dir"), "{said}");

    // Where nothing can be written: below a file.
    std::fs::write(place.path().join("file"), "").unwrap();
    let below = "[record]\nurl = \"sqlite://file/tollgate.db\"";
    let said = fails(place.path(), &with(free, &format!("{control}\n{below}"))).await;
    assert!(said.contains("file/tollgate.db") && said.contains("record.url"), "{said}");
    let unusable = with(free, control).replace("[logs]", "[logs]\ndir = \"file/log\"");
    let said = fails(place.path(), &unusable).await;
    assert!(said.contains("file/log") && said.contains("logs.dir"), "{said}");

    // Something else where the record should be.
    std::fs::write(place.path().join("text.db"), "no database, but long enough to be one ".repeat(100))
        .unwrap();
    let said =
        fails(place.path(), &with(free, &format!("{control}\n[record]\nurl = \"sqlite://text.db\""))).await;
    assert!(said.contains("text.db") && said.contains("record.url"), "{said}");
}

#[tokio::test]
async fn a_spool_too_small_for_its_threads_is_said_before_it_is_ready() {
    let place = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_| Answer::new(200));
    let small = config(upstream.address, "listen = \"127.0.0.1:0\"")
        .replace("segment_bytes = \"1MiB\"", "segment_bytes = \"64KiB\"\nspool_bytes_max = \"128KiB\"")
        + "[control]\nlisten = \"127.0.0.1:0\"";
    std::fs::write(place.path().join("other.toml"), small).unwrap();
    let finished = run(&["serve", "--config", "other.toml"], place.path()).await;
    assert_ne!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.is_empty() && finished.stderr.contains("spool_bytes_max"), "{finished:?}");
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_all_named_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let text = "[data]\nlisten = \"nowhere\"\nhead_timeuot = \"1s\"\n[plans.free]\nper_second = -1\n";
    std::fs::write(place.path().join("bad.toml"), text).unwrap();
    let finished = run(&["serve", "--config", "bad.toml"], place.path()).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(2), ""), "{finished:?}");
    for part in ["data.listen", "head_timeuot", "head_timeout", "plans.free.per_second"] {
        assert!(finished.stderr.contains(part), "no {part} in {}", finished.stderr);
    }
    let left: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bad.toml"]);
}

/// A gateway that is sent SIGTERM the moment it says that it is ready; what else it says, and how it ends.
fn ready_and_told(directory: &Path) -> (String, String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["serve", "--config", "gateway.toml"])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut first, mut rest) = (String::new(), String::new());
    stdout.read_line(&mut first).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    stdout.read_to_string(&mut rest).unwrap();
    (first, rest, child.wait().unwrap().code())
}

#[tokio::test]
async fn one_line_says_that_it_is_ready_and_from_then_on_it_listens_to_signals() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let place = tempfile::tempdir().unwrap();
    let text = config(upstream.address, "listen = \"127.0.0.1:0\"") + "[control]\nlisten = \"127.0.0.1:0\"";
    std::fs::write(place.path().join("gateway.toml"), text).unwrap();
    for _ in 0..10 {
        let (first, rest, code) = ready_and_told(place.path());
        let ready: Value = serde_json::from_str(&first).unwrap();
        let names: Vec<&str> = ready.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["data_addr", "control_addr"]);
        assert_eq!((&*rest, code), ("", Some(0)));
    }
}

#[tokio::test]
async fn the_demo_says_exactly_what_the_contract_names_and_its_key_scrapes() {
    let demo = Demo::start(&[]).await;
    let said: BTreeSet<&str> = demo.ready.as_object().unwrap().keys().map(String::as_str).collect();
    let named = [
        "data_url",
        "control_url",
        "key",
        "key_id",
        "organization",
        "operator_email",
        "operator_password",
        "session_token",
        "data_dir",
    ];
    assert_eq!(said, BTreeSet::from(named));
    let toml = std::fs::read_to_string(Path::new(demo.said("data_dir")).join("gateway.toml")).unwrap();
    let target = toml.split("targets = [\"").nth(1).unwrap().split('"').next().unwrap();
    let wanted = json!({ "url": format!("http://{target}/hello") }).to_string();
    let headers = [("x-api-key", demo.said("key")), ("content-type", "application/json")];
    let scraped = post(demo.data, "/api/v1/scrape", &headers, wanted).await;
    assert_eq!((scraped.status, &scraped.json()["status_code"]), (200, &json!(200)), "{}", scraped.text());
    assert!(scraped.json()["content"].as_str().unwrap().contains("<html"), "{}", scraped.text());
}
