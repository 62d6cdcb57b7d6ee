//! Exactly the cap for every organization, wherever in the cluster it is.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::super::burst;
use super::super::support::{Answer, RedisCluster, Upstream};
use super::start;

#[tokio::test]
async fn in_every_window_four_gateways_admit_exactly_the_cap_of_every_organization() {
    const CAP: usize = 20;
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let (plans, kind) = (format!("[plans.narrow]\nper_second = {CAP}"), ("narrow", &[][..]));
    let (gateways, tenants) =
        start(4, upstream.address, &cluster, shared.path(), &plans, &[kind, kind]).await;
    // Every gateway has seen every key, so that no window is spent on reading them.
    join_all(tenants.iter().map(|tenant| burst(&gateways, &tenant.key, 4, 1))).await;
    for window in 0..4 {
        // A window later and a cell, nothing counts any more.
        tokio::time::sleep(Duration::from_millis(1_060)).await;
        let (before, began) = (upstream.count(), Instant::now());
        let bursts = join_all(tenants.iter().map(|tenant| burst(&gateways, &tenant.key, 4, 10))).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "a burst longer than its window shows nothing: {took:?}");
        for (tenant, (admitted, refused)) in tenants.iter().zip(bursts) {
            assert!(refused.iter().all(|code| code == "rate_limited_second"), "{refused:?}");
            assert_eq!(admitted, CAP, "window {window}, {tenant:?}");
        }
        assert_eq!(upstream.count() - before, CAP * tenants.len());
    }
}

#[tokio::test]
async fn of_too_many_at_four_gateways_exactly_what_is_left_of_a_quota_is_admitted() {
    const CAP: usize = 40;
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let (plans, quota) = ("[plans.some]\nconcurrency = 100", ["--daily", &CAP.to_string()]);
    let kind = ("some", &quota[..]);
    let (gateways, tenants) = start(4, upstream.address, &cluster, shared.path(), plans, &[kind, kind]).await;
    let bursts = join_all(tenants.iter().map(|tenant| burst(&gateways, &tenant.key, 8, 10))).await;
    for (tenant, (admitted, refused)) in tenants.iter().zip(bursts) {
        assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
        assert_eq!(admitted, CAP, "{tenant:?}");
    }
    assert_eq!(upstream.count(), CAP * tenants.len());
    // They are where they belong, and nowhere else.
    for tenant in &tenants {
        let name = format!("tollgate:{{{}}}:o", tenant.organization);
        for (place, node) in cluster.nodes[..3].iter().enumerate() {
            let found = node.command(&["EXISTS", &name]);
            assert_eq!(found.trim() == "1", place == tenant.master, "{tenant:?} at {place}: {found}");
        }
    }
}
