//! The export, with a gateway that is killed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::support::{Answer, Entries, Kept, SOON, Upstream, get, metrics, wait_until};
use super::{config, start};

/// Rounds; `TOLLGATE_KILL_ROUNDS` asks for more.
const ROUNDS: usize = 15;

/// The ids in the file and in those that it was rotated away to. Every line must be whole.
fn exported(file: &Path) -> Vec<String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    let mut ids = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.ends_with('\n'), "torn: {}", file.display());
        ids.extend(text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            line["id"].as_str().unwrap().to_owned()
        }));
    }
    ids
}

#[tokio::test]
async fn every_row_of_the_record_is_exported_once_however_often_the_gateway_is_killed() {
    let rounds =
        std::env::var("TOLLGATE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let upstream = Upstream::start(|_| Answer::new(200).body("page").wait(Duration::from_millis(1)));
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("requests.jsonl");
    let export =
        format!("[logs.export]\nto = \"{}\"\nrotate_bytes = \"1MiB\"\nfiles_max = 1000", file.display());
    let (mut gateway, _, key) = start(&config(upstream.address, &export)).await;
    for round in 0..rounds {
        let before = upstream.count();
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (data, key) = (gateway.data, key.clone());
            clients.spawn(async move {
                let mut kept = Kept::new();
                while kept.get(data, "/page", &key).await.is_ok() {}
            });
        }
        wait_until("requests come", SOON, async || upstream.count() > before + 50).await;
        // Spread over what the exporter does in a fifth of a second, and other in every round.
        tokio::time::sleep(Duration::from_millis((round as u64 * 37) % 211)).await;
        gateway.kill().await;
        clients.join_all().await;
        gateway.start_again().await;
    }
    get(gateway.data, "/last", &[("x-api-key", &key)]).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    let rows: HashSet<String> =
        Entries::of(&gateway).await.all().await.into_iter().map(|row| row.id).collect();
    let exported = exported(&file);
    let distinct: HashSet<String> = exported.iter().cloned().collect();
    println!("{rounds} kills: {} rows, {} lines", rows.len(), exported.len());
    assert_eq!(distinct.len(), exported.len(), "a row is there twice");
    assert!(distinct == rows, "{} of {} rows are missing", rows.difference(&distinct).count(), rows.len());
}

#[tokio::test]
async fn to_standard_output_lines_follow_the_one_that_says_it_is_ready() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut gateway, _, key) = start(&config(upstream.address, "[logs.export]\nto = \"stdout\"")).await;
    gateway.stop().await;
    let path = gateway.directory().join("stdout");
    let serving = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["serve", "--config"])
        .arg(gateway.config())
        .current_dir(gateway.directory())
        .env("TOLLGATE_SESSION_SECRET", "integration-tests-integration-tests")
        .env("TOLLGATE__DATA__LISTEN", "127.0.0.1:0")
        .env("TOLLGATE__CONTROL__LISTEN", "127.0.0.1:0")
        .stdout(std::fs::File::create(&path).unwrap())
        .spawn()
        .unwrap();
    let _serving = Killed(serving);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_until("it is ready", SOON, async || !lines().is_empty()).await;
    let address = |name: &str| lines()[0][name].as_str().unwrap().parse().unwrap();
    for _ in 0..10 {
        assert_eq!(get(address("data_addr"), "/page", &[("x-api-key", &key)]).await.status, 200);
    }
    wait_until("all are exported", SOON, async || lines().len() == 11).await;
    // Counted once they are written and the cursor is.
    wait_until("all are counted", SOON, async || {
        let samples = metrics(address("control_addr")).await;
        let is = |name: &str| samples.get(name).copied();
        is("tollgate_log_rows_total{state=\"exported\"}") == Some(10.0)
            && is("tollgate_dependency_up{name=\"log_export\"}") == Some(1.0)
    })
    .await;
    assert!(lines()[1..].iter().all(|line| line["path"] == "/page" && line["status"] == 200));
}

/// A process that is killed when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}
