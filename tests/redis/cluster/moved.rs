//! A slot that moves from one master to another while its organization is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::burst;
use super::super::support::{Answer, Gateway, Kept, RedisCluster, RedisServer, Upstream};
use super::start;

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    admitted: usize,
    refused: Vec<String>,
    longest: Duration,
}

/// Clients that ask without a pause until told to stop.
fn ask_on(gateways: &[Gateway], key: &str, stop: &Arc<AtomicBool>) -> JoinSet<Seen> {
    let mut asking = JoinSet::new();
    for gateway in gateways {
        for _ in 0..2 {
            let (data, key, stop) = (gateway.data, key.to_owned(), Arc::clone(stop));
            asking.spawn(async move {
                let (mut kept, mut seen) = (Kept::new(), Seen::default());
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let reply = kept.get(data, "/", &key).await.unwrap();
                    seen.longest = seen.longest.max(began.elapsed());
                    match reply.status {
                        200 => seen.admitted += 1,
                        _ => seen.refused.push(reply.code()),
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                seen
            });
        }
    }
    asking
}

/// Time for clients to meet what was just done.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

/// How often a node has answered with an error.
pub(super) fn errors(node: &RedisServer, name: &str) -> usize {
    let of =
        |line: &str| line.strip_prefix(&format!("errorstat_{name}:count="))?.trim().parse::<usize>().ok();
    node.command(&["INFO", "errorstats"]).lines().filter_map(of).sum()
}

/// The same of all.
fn all_errors(cluster: &RedisCluster, name: &str) -> usize {
    cluster.nodes.iter().map(|node| errors(node, name)).sum()
}

/// Moves a slot as `redis-cli --cluster reshard` does, but key by key and with a rest at every stage.
async fn move_slot(cluster: &RedisCluster, slot: usize, from: usize, to: usize) {
    let (slot, ids) = (slot.to_string(), [cluster.id(from), cluster.id(to)]);
    let set = |node: usize, how: &[&str]| {
        let answer = cluster.nodes[node].command(&[&["CLUSTER", "SETSLOT", &slot], how].concat());
        assert_eq!(answer.trim(), "OK", "{how:?}");
    };
    set(to, &["IMPORTING", &ids[0]]);
    set(from, &["MIGRATING", &ids[1]]);
    a_while().await;
    let port = cluster.nodes[to].port.to_string();
    loop {
        let found = cluster.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let Some(key) = found.lines().next().filter(|key| !key.is_empty()) else { break };
        let moved = cluster.nodes[from].command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        assert!(matches!(moved.trim(), "OK" | "NOKEY"), "{moved}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a_while().await;
    for node in [to, from] {
        set(node, &["NODE", &ids[1]]);
    }
}

#[tokio::test]
async fn a_slot_moves_under_load_and_nobody_is_admitted_twice_or_refused() {
    const CAP: usize = 6_000;
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plans = "[plans.some]\nconcurrency = 50\nper_second = 100_000";
    let quota = ["--daily", &CAP.to_string()];
    let kind = ("some", &quota[..]);
    let (gateways, tenants) = start(3, upstream.address, &cluster, shared.path(), plans, &[kind]).await;
    let tenant = &tenants[0];
    // All its gateways have told of themselves, and all it needs is there.
    burst(&gateways, &tenant.key, 6, 5).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_on(&gateways, &tenant.key, &stop);
    let slot = cluster.slot(&tenant.organization);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        move_slot(&cluster, slot, from, to).await;
        a_while().await;
    }
    stop.store(true, Ordering::Relaxed);
    let seen = asking.join_all().await;
    let (asks, moved) = (all_errors(&cluster, "ASK"), all_errors(&cluster, "MOVED"));
    let longest = seen.iter().map(|seen| seen.longest).max().unwrap();
    let admitted: usize = seen.iter().map(|seen| seen.admitted).sum();
    println!(
        "{admitted} admitted; {asks} × ASK, {moved} × MOVED, {} × TRYAGAIN; longest {longest:?}",
        all_errors(&cluster, "TRYAGAIN")
    );
    assert!(asks > 0 && moved > 0, "it was not met in motion");
    assert!(admitted > 500 && admitted < CAP, "{admitted} show nothing");
    assert!(seen.iter().all(|seen| seen.refused.is_empty()), "{seen:?}");
    assert!(longest < Duration::from_millis(800), "a request waited {longest:?}");

    // Leases are back, and everything is known where the slot is now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let left = CAP - upstream.count();
    let (last, refused) = burst(&gateways, &tenant.key, 12, left / 12 + 20).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{:?}", refused.first());
    assert_eq!((last, upstream.count()), (left, CAP));
}

#[tokio::test]
async fn a_key_that_is_new_while_its_slot_is_on_its_way_is_served() {
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let (plans, kind) = ("[plans.wide]", ("wide", &[][..]));
    let (gateways, tenants) = start(2, upstream.address, &cluster, shared.path(), plans, &[kind]).await;
    let tenant = &tenants[0];
    burst(&gateways, &tenant.key, 4, 2).await;
    let (_, key) = gateways[0].key(&tenant.organization, "new", &["--total", "20"]).await;
    let (slot, from, to) = (cluster.slot(&tenant.organization).to_string(), cluster.id(0), cluster.id(1));
    cluster.nodes[1].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
    cluster.nodes[0].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    // Redis can say nothing of it: each gateway's share serves, which is half.
    let (admitted, refused) = burst(&gateways, &key, 4, 4).await;
    assert_eq!((admitted, refused.len()), (16, 0), "{refused:?}");
    let began = Instant::now();
    let known = Kept::new().get(gateways[0].data, "/", &tenant.key).await.unwrap();
    assert_eq!(known.status, 200);
    assert!(began.elapsed() < Duration::from_millis(400), "another key waited {:?}", began.elapsed());
    cluster.nodes[0].command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    cluster.nodes[1].command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    // What was counted meanwhile counts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (admitted, refused) = burst(&gateways, &key, 4, 5).await;
    assert!(refused.iter().all(|code| code == "quota_total"), "{refused:?}");
    assert_eq!((admitted, refused.len()), (4, 16));
}

#[tokio::test]
async fn an_organization_that_is_lost_while_its_slot_moves_is_rebuilt_to_the_last_request() {
    const CAP: usize = 4_000;
    let (cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let quota = ["--daily", &CAP.to_string()];
    let kind = ("wide", &quota[..]);
    let (gateways, tenants) =
        start(2, upstream.address, &cluster, shared.path(), "[plans.wide]", &[kind]).await;
    let tenant = &tenants[0];
    burst(&gateways, &tenant.key, 4, 5).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_on(&gateways, &tenant.key, &stop);
    let slot = cluster.slot(&tenant.organization);
    let organization = format!("tollgate:{{{}}}:o", tenant.organization);
    for (from, to) in [(0, 1), (1, 2)] {
        a_while().await;
        // Both nodes report to what is rebuilt while its keys are on their way.
        assert_eq!(cluster.nodes[from].command(&["DEL", &organization]).trim(), "1");
        move_slot(&cluster, slot, from, to).await;
    }
    a_while().await;
    stop.store(true, Ordering::Relaxed);
    let seen = asking.join_all().await;
    let longest = seen.iter().map(|seen| seen.longest).max().unwrap();
    println!("{} admitted; longest {longest:?}", upstream.count());
    assert!(seen.iter().all(|seen| seen.refused.is_empty()), "{seen:?}");
    assert!(longest < Duration::from_millis(1_500), "a request waited {longest:?}");
    // It is counted by what Redis has again, and leases are back.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let so_far = upstream.count();
    assert!(so_far > 100 && so_far < CAP, "{so_far} show nothing");
    let (_, refused) = burst(&gateways, &tenant.key, 12, (CAP - so_far) / 12 + 20).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{:?}", refused.first());
    assert_eq!(upstream.count(), CAP);
}
