//! `tollgate demo`, as someone who tries it starts it.

use std::net::SocketAddr;
use std::process::ExitStatus;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;
use super::gateway::bare;
use super::running::Running;

/// A running demo on free ports, killed when dropped.
pub struct Demo {
    /// Where clients connect.
    pub data: SocketAddr,
    /// Where operators connect.
    pub control: SocketAddr,
    /// Everything that it said when it was ready.
    pub ready: Value,
    running: Running,
    _directory: TempDir,
}

impl Demo {
    /// Starts `tollgate demo --json` with further arguments.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_in(arguments, &[]).await
    }

    /// The same, with these in its environment.
    pub async fn start_in(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = bare(
            &["demo", "--json", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
            directory.path(),
        );
        // What one that is killed leaves behind is in the test's own directory.
        command.env("TMPDIR", directory.path());
        command.args(arguments).envs(environment.iter().copied());
        let (running, ready) = Running::start(command, directory.path().join("stderr.log"), "data_url").await;
        let address = |name: &str| {
            let url = ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {ready}"));
            url.trim_start_matches("http://").parse().unwrap_or_else(|why| panic!("{name} {url}: {why}"))
        };
        Self {
            data: address("data_url"),
            control: address("control_url"),
            ready,
            running,
            _directory: directory,
        }
    }

    /// One of the things it said.
    pub fn said(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready))
    }

    /// Ctrl-C.
    pub async fn interrupt(&mut self) -> ExitStatus {
        self.running.signal(Signal::INT);
        self.running.ended(SOON).await
    }
}
