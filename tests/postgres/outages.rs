//! A server that dies, hangs or is full. What is known keeps working, what is acknowledged stays, and what was logged
//! meanwhile is there afterwards.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::support::{Answer, Kept, Postgres, SOON, Upstream, get, wait_until};
use super::{Load, logged, number, start};

/// Kills; `TOLLGATE_POSTGRES_KILLS` asks for more.
const KILLS: usize = 10;

/// For how long a server hangs; `TOLLGATE_OUTAGE_SECONDS` asks for more.
const HANGS: Duration = Duration::from_secs(5);

/// How soon after a server is back rows come into it again.
const RECOVERY: Duration = Duration::from_secs(2);

/// Waits until rows come into a server that is back; how long that takes.
pub async fn rows_come_again(server: &Postgres) -> Duration {
    let began = Instant::now();
    let there = number(server, "SELECT count(*) FROM requests").await;
    wait_until("rows come into the record again", SOON, async || {
        number(server, "SELECT count(*) FROM requests").await > there
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_costs_no_request_no_acknowledged_change_and_no_row() {
    let kills =
        std::env::var("TOLLGATE_POSTGRES_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start_with(&[]);
    let (gateway, _, key) = start(&server, upstream.address, "").await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let load = Load::start(&[&gateway], &key);
    let mut acknowledged = HashSet::new();
    let (mut lost, mut recovery) = (0, Duration::ZERO);
    for kill in 0..kills {
        let before = load.count();
        wait_until("answers come", SOON, async || load.count() > before + 20).await;
        // Killed in the middle of changes: those that are acknowledged are there afterwards.
        let name = |n: usize| format!("k-{kill}-{n}");
        let changes = async {
            for n in 0..1_000 {
                let name = name(n);
                let made = gateway.run(&["key", "create", "--org", "acme", "--name", &name], "").await;
                if made.code != Some(0) {
                    assert_eq!(made.code, Some(1), "{made:?}");
                    return n;
                }
                acknowledged.insert(name);
            }
            unreachable!("nothing was killed")
        };
        let kill = async {
            tokio::time::sleep(Duration::from_millis(50 + 37 * kill as u64 % 200)).await;
            server.kill();
        };
        let (made, ()) = tokio::join!(changes, kill);
        lost += usize::from(made < 1_000);
        let before = load.count();
        wait_until("answers come without a record", SOON, async || load.count() > before + 50).await;
        server.start_again();
        recovery = recovery.max(rows_come_again(&server).await);
    }
    let (received, slowest) = load.end().await;
    logged(&server, &received).await;
    let keys = gateway.cli(&["key", "list", "--org", "acme"]).await;
    let names: HashSet<_> =
        keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    for name in &acknowledged {
        assert!(names.contains(name.as_str()), "acknowledged and not there: {name}");
    }
    println!(
        "{kills} kills: {} answers, all 200, the slowest {slowest:?}; {} changes acknowledged and there, {lost} refused; \
         rows came again {recovery:?} after the server at the latest",
        received.len(),
        acknowledged.len()
    );
    assert!(recovery < RECOVERY, "the log stood still for {recovery:?}");
    assert!(slowest < Duration::from_secs(1), "a request waited: {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for_by_nobody_whose_key_is_known() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let server = Postgres::start();
    let (gateway, id, key) = start(&server, upstream.address, "").await;
    let (_, unknown) = gateway.key("acme", "unknown", &[]).await;
    // Once the last change is in force, nobody forgets the key for having been made.
    let (disabled, last) = gateway.key("acme", "last", &[]).await;
    let mut kept = Kept::new();
    assert_eq!(kept.get(gateway.data, "/", &last).await.unwrap().status, 200);
    gateway.cli(&["key", "disable", &disabled]).await;
    wait_until("changes so far are followed", SOON, async || {
        kept.get(gateway.data, "/", &last).await.unwrap().status == 401
    })
    .await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let load = Load::every(Duration::from_millis(25), &[&gateway], &key);
    let asked = std::env::var("TOLLGATE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let hangs = asked.map_or(HANGS, Duration::from_secs);
    server.freeze();
    let frozen = Instant::now();
    let refused = Kept::new().get(gateway.data, "/", &unknown).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{refused:?}");
    let before = load.count();
    wait_until("time passes, answers come", hangs + SOON, async || {
        frozen.elapsed() > hangs && load.count() > before + 100
    })
    .await;
    assert_eq!(get(gateway.control, "/readyz", &[]).await.status, 200, "it can serve");
    server.thaw();
    let thawed = Instant::now();
    wait_until("the unknown key is found", SOON, async || {
        Kept::new().get(gateway.data, "/", &unknown).await.unwrap().status == 200
    })
    .await;
    let found = thawed.elapsed();
    let recovery = rows_come_again(&server).await;
    // What was changed meanwhile, and right after, is followed.
    gateway.cli(&["key", "disable", &id]).await;
    let told = Instant::now();
    let (clients, mut kept) = (load, Kept::new());
    clients.until.lock().replace(Instant::now());
    wait_until("a change is in force", SOON, async || {
        kept.get(gateway.data, "/", &key).await.unwrap().status == 401
    })
    .await;
    println!(
        "stopped for {hangs:?}: an unknown key was found {found:?} after the server went on, rows came again {recovery:?}, \
         a change was in force after {:?}",
        told.elapsed()
    );
    assert!(found < Duration::from_secs(3), "{found:?}");
    assert!(recovery < RECOVERY, "the log stood still for {recovery:?}");
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_takes_the_log_when_it_has_room_again() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let server = Postgres::start();
    let (gateway, _, key) = start(&server, upstream.address, "").await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    wait_until("the log is shipped", SOON, async || {
        number(&server, "SELECT count(*) FROM requests").await == 1
    })
    .await;
    // The rows of this test need more, its write-ahead log does not.
    server.limit_files(Some(1 << 20));
    let load = Load::start(&[&gateway], &key);
    wait_until("the server says that it is full", Duration::from_secs(120), async || {
        server.log().contains("File too large")
    })
    .await;
    let before = load.count();
    wait_until("answers come all the same", SOON, async || load.count() > before + 100).await;
    let (received, _) = load.end().await;
    server.limit_files(None);
    logged(&server, &received).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills a file system: as root, mount -t tmpfs -o size=256M tmpfs DIR, and TOLLGATE_SMALL_DISK=DIR"]
async fn a_server_on_a_full_file_system_takes_the_log_when_there_is_room_again() {
    let place = PathBuf::from(std::env::var("TOLLGATE_SMALL_DISK").unwrap());
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start_in(&place, &[], &[]);
    let (gateway, _, key) = start(&server, upstream.address, "").await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let load = Load::start(&[&gateway], &key);
    wait_until("the log is shipped", SOON, async || {
        number(&server, "SELECT count(*) FROM requests").await > 100
    })
    .await;

    let ballast = place.join("ballast");
    let filled = std::io::copy(&mut std::io::repeat(0), &mut std::fs::File::create(&ballast).unwrap());
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let mut acknowledged = HashSet::new();
    wait_until("the server says that it is full", Duration::from_secs(60), async || {
        let name = format!("k-{}", acknowledged.len());
        let made = gateway.run(&["key", "create", "--org", "acme", "--name", &name], "").await;
        assert!(matches!(made.code, Some(0 | 1)), "{made:?}");
        if made.code == Some(0) {
            acknowledged.insert(name);
        }
        made.code == Some(1) && server.log().contains("No space left on device")
    })
    .await;
    let (before, full) = (load.count(), Instant::now());
    wait_until("answers come all the same", SOON, async || {
        full.elapsed() > Duration::from_secs(5) && load.count() > before + 100
    })
    .await;

    std::fs::remove_file(&ballast).unwrap();
    let had_ended = !server.is_running();
    if had_ended {
        server.kill();
        server.start_again();
    }
    let recovery = rows_come_again(&server).await;
    let (received, slowest) = load.end().await;
    logged(&server, &received).await;
    let keys = gateway.cli(&["key", "list", "--org", "acme"]).await;
    let names: HashSet<_> = keys.as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    assert!(acknowledged.iter().all(|name| names.contains(name.as_str())), "{acknowledged:?}, and {names:?}");
    println!(
        "full: {} answers, all 200, the slowest {slowest:?}; {} changes acknowledged and there; the server had ended: \
         {had_ended}; rows came again {recovery:?} after there was room",
        received.len(),
        acknowledged.len()
    );
}
