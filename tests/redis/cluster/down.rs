//! A cluster that takes no calls while a part of it has no master (`cluster-require-full-coverage`, which is what Redis comes
//! with): also masters that live answer CLUSTERDOWN.

use std::time::{Duration, Instant};

use super::super::burst;
use super::super::outage::{CAREFUL, heard_of_each_other, is_up};
use super::super::support::{Answer, RedisCluster, SOON, Upstream, wait_until};
use super::moved::errors;
use super::start;

/// How long after the promotion everything may take to be as before, and how much longer a busy machine may.
const RECOVERY: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_cluster_that_says_it_is_down_is_as_one_that_is_and_counts_what_was_admitted_meanwhile() {
    const CAP: usize = 120;
    let (mut cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let quota = ["--daily", &CAP.to_string()];
    let kinds = [("wide", &quota[..])];
    let (gateways, tenants) =
        start(2, upstream.address, &cluster, shared.path(), "[plans.wide]", &kinds).await;
    heard_of_each_other().await;
    for node in &cluster.nodes {
        assert_eq!(node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]).trim(), "OK");
        node.command(&["CONFIG", "SET", "cluster-replica-no-failover", "yes"]);
    }
    for tenant in &tenants {
        assert_eq!(burst(&gateways, &tenant.key, 4, 5).await.0, 20);
    }
    let fallen = cluster.master_of(cluster.slot(&tenants[0].organization), 1);
    cluster.nodes[fallen].kill();
    let others =
        || cluster.nodes.iter().enumerate().filter(|(place, _)| *place != fallen).map(|(_, node)| node);
    for node in others() {
        let down = async || node.command(&["CLUSTER", "INFO"]).contains("cluster_state:fail");
        wait_until("the cluster is down", SOON, down).await;
    }
    // Each has 60 of its own, and has used 10 of them.
    let (mut admitted, mut longest) = (0, Duration::ZERO);
    for tenant in &tenants {
        for _ in 0..3 {
            let began = Instant::now();
            let (more, refused) = burst(&gateways, &tenant.key, 4, 3).await;
            longest = longest.max(began.elapsed());
            assert!(refused.is_empty(), "{tenant:?}: {refused:?}");
            admitted += more;
        }
    }
    assert_eq!(admitted, 3 * 36);
    assert!(longest < Duration::from_millis(1_500), "requests waited {longest:?}");
    for gateway in &gateways {
        wait_until("it is given up", SOON, async || !is_up(gateway).await).await;
    }
    let alive: Vec<_> = others().collect();
    let told: usize = alive.iter().map(|node| errors(node, "CLUSTERDOWN")).sum();
    assert!(told > 0, "nobody was told");

    for node in &alive {
        node.command(&["CONFIG", "SET", "cluster-replica-no-failover", "no"]);
    }
    for node in &alive {
        let up = async || node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        wait_until("the cluster is up", SOON, up).await;
    }
    let up = Instant::now();
    for gateway in &gateways {
        wait_until("it is found again", SOON, async || is_up(gateway).await).await;
    }
    let took = up.elapsed();
    println!(
        "{told} times CLUSTERDOWN; found again {took:?} after it was up; a burst took {longest:?} at most"
    );
    assert!(took < RECOVERY, "after {took:?}");
    tokio::time::sleep(CAREFUL).await;
    for tenant in &tenants {
        let (admitted, refused) = burst(&gateways, &tenant.key, 8, 12).await;
        assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
        assert_eq!(admitted, CAP - 56, "{tenant:?}");
    }
}
