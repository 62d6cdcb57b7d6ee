//! A `tollgate` process that serves until it is told to stop.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{SOON, wait_until};

/// The process. It is killed when dropped.
pub struct Running {
    child: Child,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command` and waits for the line of JSON on its stdout that has `field`. What it writes on stderr
    /// is added to the file `stderr`.
    ///
    /// # Panics
    /// Where it is not ready within [`SOON`]; the message holds what it wrote on stderr.
    pub async fn start(command: Command, stderr: PathBuf, field: &str) -> (Self, Value) {
        Self::start_within(SOON, command, stderr, field).await
    }

    /// As [`Running::start`], for what takes longer than [`SOON`].
    pub async fn start_within(
        within: Duration,
        mut command: Command,
        stderr: PathBuf,
        field: &str,
    ) -> (Self, Value) {
        let file = OpenOptions::new().create(true).append(true).open(&stderr).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut running = Self { child, stderr };
        let ready = running.ready_line(stdout, field, within).await;
        (running, ready)
    }

    async fn ready_line(
        &mut self,
        stdout: impl Read + Send + 'static,
        field: &str,
        within: Duration,
    ) -> Value {
        let (sender, lines) = mpsc::channel();
        // Reads on to the end, as a full pipe would stop the process.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut seen = Vec::new();
        let deadline = Instant::now() + within;
        loop {
            while let Ok(line) = lines.try_recv() {
                match serde_json::from_str::<Value>(&line) {
                    Ok(ready) if ready.get(field).is_some() => return ready,
                    _ => seen.push(line),
                }
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let stderr = std::fs::read_to_string(&self.stderr).unwrap();
                panic!("not ready ({ended:?}); stdout {seen:?}; stderr:\n{stderr}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended, for whatever reason.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let mut status = None;
        wait_until("tollgate ends", within, async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
