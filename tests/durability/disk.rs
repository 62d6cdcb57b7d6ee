//! A record whose disk is full: a small file system of its own, which needs root to be mounted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::{Answer, Entries, Gateway, Kept, SOON, Upstream, metrics, run, wait_until};
use super::{config, memory, no_drift};

/// A file system in memory; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mount.ok().filter(|output| output.status.success()).map(|_| Self(at.to_path_buf()))
    }

    /// Takes all the room that is left, until what is returned is dropped.
    fn fill(&self) -> Ballast {
        use std::io::Write as _;
        let ballast = Ballast(self.0.join("ballast"));
        let mut file = std::fs::File::create(&ballast.0).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        ballast
    }
}

/// A file that takes room.
struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Each thread has its part of the spool when it says that it is ready, or it does not say so.
#[tokio::test]
async fn a_disk_without_room_for_the_log_is_said_before_it_is_ready() {
    let place = tempfile::tempdir().unwrap();
    // Room for one segment, and two threads that want one each.
    let Some(_disk) = SmallDisk::mount(&place.path().join("log"), "1500k") else {
        eprintln!("not run: mounting a tmpfs needs root");
        return;
    };
    let upstream = Upstream::start(|_| Answer::new(200));
    let free = "listen = \"127.0.0.1:0\"\n";
    let logs = format!("dir = \"log\"\nsegment_bytes = \"1MiB\"\n[control]\n{free}");
    let text = config(upstream.address, 2, &logs).replacen("[data]\n", &format!("[data]\n{free}"), 1);
    std::fs::write(place.path().join("gateway.toml"), text).unwrap();
    let finished = run(&["serve", "--config", "gateway.toml"], place.path()).await;
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""), "{finished:?}");
    assert!(
        finished.stderr.contains("logs.dir") && finished.stderr.contains("No space left"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn traffic_goes_on_while_the_records_disk_is_full_and_its_rows_are_there_afterwards() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let logs = "segment_bytes = \"256KiB\"\nship_every = \"20ms\"\nspool_bytes_max = \"64MiB\"";
    let mut gateway = Gateway::start(&config(upstream.address, 1, logs)).await;
    // The record moves to a disk of its own.
    assert_eq!(gateway.stop().await.code(), Some(0));
    let data = gateway.directory().join("data");
    let aside = gateway.directory().join("aside");
    std::fs::rename(&data, &aside).unwrap();
    let Some(disk) = SmallDisk::mount(&data, "64m") else {
        eprintln!("not run: mounting a tmpfs needs root");
        return;
    };
    for file in std::fs::read_dir(&aside).unwrap().map(|entry| entry.unwrap()) {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), data.join(file.file_name())).unwrap();
        }
    }
    // The spool stays where there is room.
    std::os::unix::fs::symlink(gateway.directory().join("aside/log"), data.join("log")).unwrap();
    gateway.start_again().await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (id, key) = gateway.key("acme", "k", &["--daily", "1000000"]).await;

    let mut kept = Kept::new();
    let mut asked = 0;
    let ask = async |kept: &mut Kept, times: usize| {
        let mut slowest = Duration::ZERO;
        for _ in 0..times {
            let began = Instant::now();
            assert_eq!(kept.get(gateway.data, "/some/path", &key).await.unwrap().status, 200);
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    ask(&mut kept, 100).await;
    asked += 100;
    let entries = Entries::of(&gateway).await;
    entries.at_least(asked, SOON).await;
    let before = memory(&gateway);

    let ballast = disk.fill();
    let slowest = ask(&mut kept, 5_000).await;
    asked += 5_000;
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
    let samples = metrics(gateway.control).await;
    assert_eq!(samples["tollgate_log_rows_total{state=\"written\"}"], asked as f64);
    assert!(samples["tollgate_log_rows_total{state=\"shipped\"}"] < 1_000.0, "the disk was not full");
    assert_eq!(samples["tollgate_log_rows_total{state=\"lost\"}"], 0.0);
    assert!(gateway.stderr().contains("cannot be shipped"), "{}", gateway.stderr());
    let grown = memory(&gateway).saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown} bytes");

    drop(ballast);
    let rows = entries.at_least(asked, SOON).await;
    assert_eq!((rows.len(), upstream.count()), (asked, asked));
    wait_until("the log is shipped again", SOON, async || {
        let samples = metrics(gateway.control).await;
        samples["tollgate_log_rows_total{state=\"shipped\"}"] == asked as f64
    })
    .await;
    assert_eq!(gateway.cli(&["key", "show", &id]).await["requests"], asked);
    no_drift(&gateway).await;
    assert_eq!(gateway.stop().await.code(), Some(0));
}
