//! A PostgreSQL server of a test's own: made from one template per machine, on a free port, in a directory that is
//! gone afterwards. It can be killed, stopped, let on and started again.
//!
//! The programs are those of Debian's package `postgresql`, or on the path. Where they are missing the test fails.

use std::fs::{self, DirBuilder, File, Permissions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);
/// The password of the only user: to be looked for where no password may show.
pub const PASSWORD: &str = "pg-Secret-5hh";

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    settings: Vec<String>,
    pub port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Starts a server that forgets to sync: what it is asked survives its own death, not the machine's.
    pub fn start() -> Self {
        Self::start_with(&["fsync=off"])
    }

    /// Starts a server with these settings (`name=value`).
    ///
    /// # Panics
    /// Where there is none, or it does not start.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_with_files(settings, &[])
    }

    /// As [`Postgres::start_with`], with files in its directory of data that nobody else may read.
    pub fn start_with_files(settings: &[&str], files: &[(&str, String)]) -> Self {
        Self::start_in(&std::env::temp_dir(), settings, files)
    }

    /// As [`Postgres::start_with_files`], with its directory below another than that for temporary files.
    pub fn start_in(place: &Path, settings: &[&str], files: &[(&str, String)]) -> Self {
        let template = template();
        let directory = tempfile::Builder::new().prefix("tollgate-postgres-").tempdir_in(place).unwrap();
        let data = directory.path().join("data");
        let copy = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data).output();
        succeeded("cp", &copy.unwrap());
        if let Some((user, group)) = other_user() {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        for (name, content) in files {
            let file = data.join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = other_user() {
                chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { directory, settings, port: 0, child: None };
        server.start_again();
        server
    }

    /// Starts it again where it was, on the same port.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is still running");
        let deadline = Instant::now() + START;
        loop {
            if self.port == 0 {
                self.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            }
            let mut child = self.command().spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if self.answers() {
                    self.child = Some(child);
                    return;
                }
                assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", self.log());
                pause();
            }
            // Somebody else has the port, or processes of a killed server are not gone yet.
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", self.log());
            pause();
        }
    }

    fn command(&self) -> Command {
        let mut command = program("postgres");
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Whether it takes connections: it says so in its directory.
    fn answers(&self) -> bool {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        pid.lines().nth(7).is_some_and(|status| status.trim() == "ready")
            && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://tollgate:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Its directory of data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Ends it and all its processes at once (SIGKILL).
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        // A new one cannot start before the last process of the old one is gone.
        drop(fs::remove_file(self.data().join("postmaster.pid")));
    }

    /// Ends it as an administrator would who does not wait for clients.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        child.wait().unwrap();
    }

    /// Stops every process of it where it stands (SIGSTOP): connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.child.iter().for_each(|child| signal(child, Signal::STOP));
    }

    /// Lets no file of it grow beyond `bytes`, as a full disk would not; `None` gives it room again. Files of its write-ahead
    /// log have 1 MiB.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let server = self.child.iter().map(Pid::from_child);
        for process in server.flat_map(|pid| children(pid).into_iter().chain([pid])) {
            // By its own user: root may not be allowed to, without CAP_SYS_RESOURCE.
            let mut prlimit = program("prlimit");
            prlimit
                .arg("--pid")
                .arg(process.as_raw_nonzero().to_string())
                .arg(format!("--fsize={limit}:unlimited"));
            let output = prlimit.output().unwrap();
            let is_there = Path::new(&format!("/proc/{}", process.as_raw_nonzero())).exists();
            assert!(output.status.success() || !is_there, "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.child.iter().for_each(|child| signal(child, Signal::CONT));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a server and to every process of it: those are in sessions of their own.
fn signal(server: &Child, signal: Signal) {
    let pid = Pid::from_child(server);
    let children = children(pid);
    for process in std::iter::once(pid).chain(children) {
        // One that has just ended is none to be told.
        let _ = kill_process(process, signal);
    }
}

fn children(of: Pid) -> Vec<Pid> {
    let parent = of.as_raw_nonzero().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The name stands in brackets and may hold anything; state and parent follow.
        stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1)) == Some(&parent)
    };
    processes
        .filter(|entry| is_child(&entry.path()))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// A directory as `initdb` makes it, once per machine and user.
fn template() -> PathBuf {
    let version = program("postgres").arg("--version").output().unwrap();
    succeeded("postgres --version", &version);
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let user = rustix::process::getuid().as_raw();
    let home = std::env::temp_dir().join(format!("tollgate-tests-{user}"));
    drop(DirBuilder::new().mode(0o755).create(&home));
    assert_eq!(fs::metadata(&home).unwrap().uid(), user, "{} is somebody else's", home.display());
    let made = home.join(version.trim_matches('-'));
    // Held while it is made, by one of the tests that need it.
    let lock = File::options().create(true).truncate(false).write(true).open(home.join("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !made.exists() {
        let making = tempfile::Builder::new().prefix("making-").tempdir_in(&home).unwrap();
        let password = making.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if let Some((user, group)) = other_user() {
            chown(making.path(), Some(user), Some(group)).unwrap();
            chown(&password, Some(user), Some(group)).unwrap();
        }
        let data = making.path().join("data");
        let mut initdb = program("initdb");
        initdb.args([
            "--no-sync",
            "--auth=scram-sha-256",
            "--username=tollgate",
            "--locale=C",
            "--encoding=UTF8",
        ]);
        initdb.arg("--pwfile").arg(&password).arg("--wal-segsize=1").arg("-D").arg(&data);
        succeeded("initdb", &initdb.output().unwrap());
        fs::rename(data, &made).unwrap();
    }
    made
}

/// A program, the server's before others, to be run by a user who may.
fn program(name: &str) -> Command {
    let mut directories: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    directories.sort();
    directories.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    let path = path.unwrap_or_else(|| panic!("`{name}` is missing: install Debian's package postgresql"));
    let mut command = Command::new(path);
    command.current_dir("/").env("LC_ALL", "C");
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Who runs it where the tests are run by root, whom PostgreSQL refuses: its own user, or nobody.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(
        ids("postgres")
            .or_else(|| ids("nobody"))
            .unwrap_or_else(|| panic!("there is neither a user `postgres` nor `nobody`")),
    )
}

fn succeeded(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

#[allow(
    clippy::disallowed_methods,
    reason = "it waits for another process, on a thread of its own or a test's"
)]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}
