//! The real binary: started, spoken to by its commands, signalled, killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;
use super::running::Running;

/// The session secret of every gateway under test.
const SESSION_SECRET: &str = "integration-tests-integration-tests";

/// A running gateway in a directory of its own, in which everything it writes stays across restarts.
/// It is killed when dropped.
pub struct Gateway {
    /// The data listener.
    pub data: SocketAddr,
    /// The control listener.
    pub control: SocketAddr,
    directory: TempDir,
    running: Option<Running>,
    environment: Vec<(String, String)>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Gateway {
    /// Starts `tollgate serve` with `config` as its gateway.toml, on free ports whatever that says.
    ///
    /// # Panics
    /// Where it is not ready within [`SOON`]; the message holds what it wrote on stderr.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// As [`Gateway::start`], with further environment variables for it and its commands.
    pub async fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), config).unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = environment.iter().map(own).collect();
        let mut gateway = Self { data: nowhere, control: nowhere, directory, running: None, environment };
        gateway.start_again().await;
        gateway
    }

    /// Starts it in the same directory after it has ended. Ports are new.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it is still running");
        let mut command = self.command(&["serve"]);
        command.env("TOLLGATE__DATA__LISTEN", "127.0.0.1:0").env("TOLLGATE__CONTROL__LISTEN", "127.0.0.1:0");
        let (running, ready) =
            Running::start(command, self.directory.path().join("stderr.log"), "data_addr").await;
        self.running = Some(running);
        let address = |name: &str| {
            let text = ready[name].as_str().unwrap_or_else(|| panic!("no {name} in the ready line {ready}"));
            text.parse().unwrap_or_else(|why| panic!("{name} {text}: {why}"))
        };
        (self.data, self.control) = (address("data_addr"), address("control_addr"));
    }

    /// Runs a command with this gateway's configuration and `--json`, and reads its answer (`null` where it
    /// prints none).
    ///
    /// # Panics
    /// Where it fails.
    pub async fn cli(&self, arguments: &[&str]) -> Value {
        self.cli_with(arguments, "").await
    }

    /// As [`Gateway::cli`], with text on its stdin.
    pub async fn cli_with(&self, arguments: &[&str], stdin: &str) -> Value {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let finished = self.run(&with_json, stdin).await;
        assert!(finished.code == Some(0), "tollgate {}: {finished:?}", with_json.join(" "));
        if finished.stdout.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&finished.stdout).unwrap_or_else(|why| panic!("{why}: {}", finished.stdout))
    }

    /// Makes a key of the organization, with further arguments of `key create`: its id and its secret.
    pub async fn key(&self, organization: &str, name: &str, more: &[&str]) -> (String, String) {
        let arguments = ["key", "create", "--org", organization, "--name", name];
        let made = self.cli(&[&arguments, more].concat()).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// Runs a command with this gateway's configuration to its end, whatever that is.
    pub async fn run(&self, arguments: &[&str], stdin: &str) -> Finished {
        finish(self.command(arguments), stdin).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments, self.directory.path());
        command.arg("--config").arg(self.config());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Its gateway.toml, to be edited before a reload or restart.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("gateway.toml")
    }

    /// The directory it runs in: `data/` and what else the configuration names lie below.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything it has written on stderr, over all its starts.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr.log")).unwrap()
    }

    /// The process id, for what the kernel knows of it (`/proc/PID/…`).
    pub fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().pid()
    }

    /// Writes a new gateway.toml and asks for a reload (SIGHUP). Whether it took is seen on stderr or by its effect.
    pub fn reload(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    /// Ends it at once, as a power cut would (SIGKILL).
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended(SOON).await;
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// Where it has not ended within [`SOON`].
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(SOON).await
    }

    /// Ends it with SIGTERM and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Waits until it has ended, for whatever reason.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = self.running.as_mut().unwrap().ended(within).await;
        self.running = None;
        status
    }
}

/// Runs `tollgate` with nothing but `arguments` in `directory`.
pub async fn run(arguments: &[&str], directory: &Path) -> Finished {
    finish(bare(arguments, directory), "").await
}

/// The binary, with an environment in which nothing of the machine's configuration shows.
pub fn bare(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
        command.env_remove(name);
    }
    command.env("TOLLGATE_SESSION_SECRET", SESSION_SECRET);
    command
}

async fn finish(mut command: Command, stdin: &str) -> Finished {
    let stdin = stdin.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read its stdin may have closed it already.
        drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()));
        child.wait_with_output().unwrap()
    });
    let output = ended.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
