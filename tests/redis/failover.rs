//! A master that is killed, and a replica that a Sentinel makes the master.

use std::time::{Duration, Instant};

use super::support::{Answer, Kept, RedisServer, SOON, Upstream, wait_until};
use super::{burst, start_at};

#[tokio::test]
async fn behind_a_sentinel_the_next_master_is_found_and_keys_keep_working() {
    const CAP: usize = 300;
    let shared = tempfile::tempdir().unwrap();
    let mut master = RedisServer::start();
    let replica = master.replica();
    let sentinel = master.sentinel();
    wait_until("the Sentinel knows the replica", SOON, async || {
        sentinel.command(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port.to_string())
            && replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let upstream = Upstream::start(|_| Answer::new(200));
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let gateways = start_at(2, upstream.address, &url, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", &CAP.to_string()]).await;
    assert_eq!(burst(&gateways, &key, 4, 25).await.0, 100);

    master.kill();
    // Asked all the time, it never fails, and never waits for long.
    let mut kept = [Kept::new(), Kept::new()];
    let mut longest = Duration::ZERO;
    wait_until("the replica is the master, and counts", SOON, async || {
        for (kept, gateway) in kept.iter_mut().zip(&gateways) {
            let began = Instant::now();
            let reply = kept.get(gateway.data, "/", &key).await.unwrap();
            longest = longest.max(began.elapsed());
            assert!(reply.status == 200 || reply.code() == "quota_daily", "{reply:?}");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        replica.command(&["INFO", "replication"]).contains("role:master") && replica.scripts_run() > 20
    })
    .await;
    assert!(longest < Duration::from_millis(1_500), "a request waited {longest:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (_, refused) = burst(&gateways, &key, 16, CAP / 8).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{:?}", refused.first());
    // What the last moment before the end had counted the replica may not have: it is rebuilt, and every gateway tells.
    assert_eq!(upstream.count(), CAP);
}
