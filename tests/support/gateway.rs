//! The real binary: started, spoken to by its commands, signalled, killed and started again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{SOON, wait_until};

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
    child: Option<Child>,
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
        let mut gateway = Self { data: nowhere, control: nowhere, directory, child: None, environment };
        gateway.start_again().await;
        gateway
    }

    /// Starts it in the same directory after it has ended. Ports are new.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is still running");
        let mut child = self
            .command(&["serve"])
            .env("TOLLGATE__DATA__LISTEN", "127.0.0.1:0")
            .env("TOLLGATE__CONTROL__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(self.append("stderr.log"))
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        self.child = Some(child);
        let ready = self.ready_line(stdout).await;
        let address = |name: &str| {
            let text = ready[name].as_str().unwrap_or_else(|| panic!("no {name} in the ready line {ready}"));
            text.parse().unwrap_or_else(|why| panic!("{name} {text}: {why}"))
        };
        (self.data, self.control) = (address("data_addr"), address("control_addr"));
    }

    async fn ready_line(&mut self, stdout: impl Read + Send + 'static) -> Value {
        let (sender, lines) = mpsc::channel();
        // Reads on to the end, as a full pipe would stop the gateway.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut seen = Vec::new();
        let deadline = Instant::now() + SOON;
        loop {
            while let Ok(line) = lines.try_recv() {
                match serde_json::from_str::<Value>(&line) {
                    Ok(ready) if ready.get("data_addr").is_some() => return ready,
                    _ => seen.push(line),
                }
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            if ended.is_some() || Instant::now() > deadline {
                panic!("not ready ({ended:?}); stdout {seen:?}; stderr:\n{}", self.stderr());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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

    fn append(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.directory.path().join(name)).unwrap()
    }

    /// The process id, for what the kernel knows of it (`/proc/PID/…`).
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Writes a new gateway.toml and asks for a reload (SIGHUP). Whether it took is seen on stderr or by its effect.
    pub fn reload(&self, config: &str) {
        std::fs::write(self.config(), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
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
        let mut status = None;
        wait_until("the gateway ends", within, async || {
            status = self.child.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        })
        .await;
        self.child = None;
        status.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs `tollgate` with nothing but `arguments` in `directory`.
pub async fn run(arguments: &[&str], directory: &Path) -> Finished {
    finish(bare(arguments, directory), "").await
}

/// The binary, with an environment in which nothing of the machine's configuration shows.
fn bare(arguments: &[&str], directory: &Path) -> Command {
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
