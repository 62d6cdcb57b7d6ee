//! Real Redis servers: started on free ports, stopped, continued, killed and started again, empty.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to listen, on a machine that is busy building.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// A `redis-server` of its own, which keeps nothing on disk. It is killed when dropped.
pub struct RedisServer {
    pub port: u16,
    directory: TempDir,
    child: Option<Child>,
    /// Further arguments: of which master it is a replica, or the file that makes it a Sentinel.
    pub more: Vec<String>,
}

impl RedisServer {
    /// Starts one on a free port of the loopback.
    ///
    /// # Panics
    /// Where it does not listen in time, or `redis-server` is not installed.
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// Starts a replica of this one.
    pub fn replica(&self) -> Self {
        Self::start_with(vec!["--replicaof".to_owned(), "127.0.0.1".to_owned(), self.port.to_string()])
    }

    /// Starts a Sentinel that watches this one by the name `main`, and decides alone.
    pub fn sentinel(&self) -> Self {
        let mut sentinel = Self::start_with(vec!["--sentinel".to_owned()]);
        let port = self.port.to_string();
        sentinel.command(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]);
        for (setting, value) in [("down-after-milliseconds", "300"), ("failover-timeout", "3000")] {
            sentinel.command(&["SENTINEL", "SET", "main", setting, value]);
        }
        sentinel.more.clear();
        sentinel
    }

    /// Starts one with further arguments.
    pub fn start_with(more: Vec<String>) -> Self {
        let mut server = Self { port: 0, directory: tempfile::tempdir().unwrap(), child: None, more };
        for _ in 0..5 {
            server.port = free_port();
            if let Some(bus) = server.more.iter().position(|argument| argument == "--cluster-port") {
                server.more[bus + 1] = free_port().to_string();
            }
            if server.spawn() {
                return server;
            }
        }
        panic!("redis-server does not start: {}", server.log());
    }

    /// Starts it again on the same port after it was killed: empty.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is still running");
        assert!(self.spawn(), "redis-server does not start: {}", self.log());
    }

    fn spawn(&mut self) -> bool {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        if self.more == ["--sentinel"] {
            // A Sentinel writes what it learns into its file.
            let file = self.directory.path().join("sentinel.conf");
            std::fs::write(&file, "").unwrap();
            command.arg(file);
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--logfile", "log", "--dir"])
            .arg(self.directory.path())
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("redis-server is installed (Debian: redis-server)");
        let deadline = Instant::now() + LISTENS_WITHIN;
        while TcpStream::connect(self.address()).is_err() {
            if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                drop((child.kill(), child.wait()));
                return false;
            }
            #[allow(clippy::disallowed_methods, reason = "waits for another process, in a test")]
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        true
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Ends it at once, with everything it knew.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop((child.kill(), child.wait()));
        }
    }

    /// Stops it: it takes connections (the kernel does) and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Runs a command by `redis-cli`; its answer as text.
    pub fn command(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// How often it was called to run a script, as it counts itself.
    pub fn scripts_run(&self) -> u64 {
        let stats = self.command(&["INFO", "commandstats"]);
        let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
        stats.lines().filter(|line| line.starts_with("cmdstat_eval")).filter_map(calls).sum()
    }

    fn log(&self) -> String {
        let log: PathBuf = self.directory.path().join("log");
        std::fs::read_to_string(log).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
