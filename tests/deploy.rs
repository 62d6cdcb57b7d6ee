//! The example of deploy/, as someone starts it: by its one command, with real servers, and ended by Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::{Kept, Running, SOON, get, wait_until};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How long PostgreSQL, six nodes of Redis and three gateways may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// A directory for the example, and ports that are free.
struct Place {
    directory: TempDir,
    base_port: u16,
}

impl Place {
    fn new() -> Self {
        // Not in a directory that only its owner can get to, as the servers of root run as others. Ports below those that
        // the kernel gives to clients.
        let directory = tempfile::Builder::new().prefix("tollgate-deploy-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .unwrap();
        static PLACES: AtomicU16 = AtomicU16::new(0);
        let own = u16::try_from(std::process::id() % 200).unwrap();
        let from = own + 100 * PLACES.fetch_add(1, Ordering::Relaxed);
        let is_free = |base: &u16| (1..=42).all(|port| TcpListener::bind(("127.0.0.1", base + port)).is_ok());
        let base_port = (0..200).map(|n| 20_000 + (from + n) % 200 * 50).find(is_free).unwrap();
        Self { directory, base_port }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(repository().join("deploy/run"));
        command.arg("--data").arg(self.data()).arg("--tollgate").arg(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    async fn start(&self) -> (Running, Value) {
        let port = self.base_port.to_string();
        let command = self.command(&["--json", "--base-port", &port]);
        Running::start_within(START, command, self.directory.path().join("stderr.log"), "gateways").await
    }

    /// Runs a command of tollgate through the example.
    async fn tollgate(&self, arguments: &[&str]) -> Value {
        let output = finish(self.command(&[&["tollgate"], arguments, &["--json"]].concat())).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn address(url: &Value) -> SocketAddr {
    url.as_str().unwrap().trim_start_matches("http://").parse().unwrap()
}

fn gateways(ready: &Value, url: &str) -> Vec<SocketAddr> {
    ready["gateways"].as_array().unwrap().iter().map(|gateway| address(&gateway[url])).collect()
}

async fn count(ready: &Value) -> u64 {
    get(address(&ready["upstream_url"]), "/count", &[]).await.json()["count"].as_u64().unwrap()
}

/// Waits until none of the servers that were told of is there.
async fn all_ended(ready: &Value) {
    let servers = ready["pids"].as_object().unwrap();
    assert_eq!(servers.len(), 3 + 6 + 1 + 1, "{servers:?}");
    wait_until("every server has ended", SOON, async || {
        // A process that has ended and was not waited for has no command line.
        let runs =
            |pid: &Value| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        !servers.values().any(runs)
    })
    .await;
}

#[tokio::test]
async fn the_example_starts_by_one_command_keeps_one_limit_over_three_gateways_and_ends_whole() {
    let place = Place::new();
    let (mut example, ready) = place.start().await;
    let data = gateways(&ready, "data_url");
    for gateway in &data {
        let reply = Kept::new().get(*gateway, "/hello", ready["key"].as_str().unwrap()).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    place.tollgate(&["org", "create", "wide", "--plan", "demo"]).await;
    let caps = ["--per-second", "100000", "--per-minute", "100000", "--concurrency", "1000"];
    place.tollgate(&[&["org", "set-plan", "wide", "demo"], caps.as_slice()].concat()).await;
    let made = place.tollgate(&["key", "create", "--org", "wide", "--name", "k", "--total", "100"]).await;
    let before = count(&ready).await;
    let mut clients = JoinSet::new();
    for client in 0..30 {
        let (gateway, key) = (data[client % 3], made["key"].as_str().unwrap().to_owned());
        clients.spawn(async move {
            let mut kept = Kept::new();
            let mut admitted = 0;
            for _ in 0..10 {
                let reply = kept.get(gateway, "/", &key).await.unwrap();
                assert!(reply.status == 200 || reply.code() == "quota_total", "{reply:?}");
                admitted += u64::from(reply.status == 200);
            }
            admitted
        });
    }
    let admitted: u64 = clients.join_all().await.into_iter().sum();
    assert_eq!((admitted, count(&ready).await - before), (100, 100));

    let burst = finish(place.command(&["burst"])).await;
    assert!(burst.status.success(), "{burst:?}");
    assert!(String::from_utf8_lossy(&burst.stdout).contains("requests reached the upstream"), "{burst:?}");
    healthy(gateways(&ready, "control_url")[0]).await;

    // A second one in the same place is told so, and disturbs nothing.
    let again = finish(place.command(&[])).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is running already"), "{again:?}");

    example.signal(Signal::INT);
    assert_eq!(example.ended(SOON * 2).await.code(), Some(0), "Ctrl-C");
    all_ended(&ready).await;

    // Another run goes on with the same data; and it may die as it likes, nothing is left of it.
    let (mut example, again) = place.start().await;
    assert_eq!(again["key"], ready["key"]);
    // What was used stays used, from the first request on, at whichever gateway.
    for gateway in data {
        let reply = Kept::new().get(gateway, "/", made["key"].as_str().unwrap()).await.unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (401, "quota_total"));
    }
    example.signal(Signal::KILL);
    example.ended(SOON).await;
    all_ended(&again).await;
}

/// The health check of the image, run as the image would.
async fn healthy(control: SocketAddr) {
    let image = std::fs::read_to_string(repository().join("deploy/Dockerfile")).unwrap();
    let check =
        image.lines().find_map(|line| line.strip_prefix("HEALTHCHECK ")?.split_once(" CMD ")).unwrap().1;
    let check: Vec<String> = serde_json::from_str(check).unwrap();
    for (port, is_healthy) in [(control.port(), true), (support::free_port(), false)] {
        let mut command = Command::new(&check[0]);
        command.args(check[1..].iter().map(|argument| argument.replace("9090", &port.to_string())));
        let output = finish(command).await;
        assert_eq!(output.status.success(), is_healthy, "{output:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_started() {
    let place = Place::new();
    let _taken = TcpListener::bind(("127.0.0.1", place.base_port + 23)).unwrap();
    let port = place.base_port.to_string();
    let output = finish(place.command(&["--base-port", &port])).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains(&format!("{} (Redis 3)", place.base_port + 23)), "{said}");
    assert!(!place.data().join("postgres").exists());
}
