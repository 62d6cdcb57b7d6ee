//! Masters that fall: killed, stopped, or told to step back. Organizations of the others notice nothing, those of the
//! fallen one get each gateway's share, and are counted exactly again soon after its replica is the master.
//!
//! `TOLLGATE_FAILOVERS=20` makes twenty of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::burst;
use super::super::outage::{CAREFUL, heard_of_each_other, is_up};
use super::super::support::{Answer, Gateway, Kept, RedisCluster, SOON, Upstream, wait_until};
use super::{Tenant, start};

/// How long after the promotion everything may take to be as before.
const RECOVERY: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to show it.
const SLACK: Duration = Duration::from_secs(1);
/// Requests per second of an organization whose master falls.
const CAP: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Fall {
    Killed,
    Stopped,
    Deposed,
}

/// What a client saw that asked all the time.
#[derive(Debug, Default)]
struct Seen {
    admitted: usize,
    /// Neither admitted, nor in reasonable time.
    wrong: Vec<String>,
}

/// Asks for every tenant at every gateway until told to stop.
fn ask_on(gateways: &[Gateway], tenants: &[Tenant], stop: &Arc<AtomicBool>) -> JoinSet<(usize, Seen)> {
    let mut asking = JoinSet::new();
    for (gateway, tenant) in gateways.iter().flat_map(|gateway| tenants.iter().map(move |it| (gateway, it))) {
        let (data, tenant, stop) = (gateway.data, tenant.clone(), Arc::clone(stop));
        asking.spawn(async move {
            let (mut kept, mut seen) = (Kept::new(), Seen::default());
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let reply = kept.get(data, "/", &tenant.key).await.unwrap();
                let took = began.elapsed();
                seen.admitted += usize::from(reply.status == 200);
                if reply.status != 200 || took > Duration::from_millis(1_500) {
                    seen.wrong.push(format!("{} {} after {took:?}", reply.status, reply.code()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (tenant.master, seen)
        });
    }
    asking
}

/// Brings the master at `node` down, or has its replica take over.
fn bring_down(cluster: &mut RedisCluster, fall: Fall, node: usize, replica: usize) {
    match fall {
        Fall::Killed => cluster.nodes[node].kill(),
        Fall::Stopped => cluster.nodes[node].freeze(),
        Fall::Deposed => {
            assert_eq!(cluster.nodes[replica].command(&["CLUSTER", "FAILOVER"]).trim(), "OK");
        }
    }
}

/// While a master is down: an organization of another has its whole cap at one gateway, one of its own no more than the
/// cap at all of them.
async fn limits_hold(gateways: &[Gateway], down: &Tenant, other: &Tenant) {
    for gateway in gateways {
        wait_until("the breaker opens", SOON, async || !is_up(gateway).await).await;
    }
    // All windows are over that began before.
    tokio::time::sleep(Duration::from_millis(1_060)).await;
    let began = Instant::now();
    let (whole, refused) = burst(&gateways[..1], &other.key, 4, CAP / 2).await;
    let (shares, _) = burst(gateways, &down.key, 4, CAP / 2).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "a burst longer than its window shows nothing: {took:?}");
    assert_eq!(whole, CAP, "{other:?}: {:?}\n{}", refused.first(), gateways[0].stderr());
    assert!((1..=CAP).contains(&shares), "{down:?} got {shares} of {CAP}");
}

#[tokio::test]
async fn masters_fall_and_only_their_organizations_notice() {
    let rounds: usize =
        std::env::var("TOLLGATE_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let (mut cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let quota = 1_500 * rounds;
    let plans = format!("[plans.narrow]\nper_second = {CAP}\n[plans.wide]");
    let total = ["--total", &quota.to_string()];
    let kinds = [("narrow", &[][..]), ("wide", &total)];
    let (gateways, tenants) = start(2, upstream.address, &cluster, shared.path(), &plans, &kinds).await;
    heard_of_each_other().await;
    let (narrow, wide): (Vec<_>, Vec<_>) =
        tenants.chunks(2).map(|two| (two[0].clone(), two[1].clone())).unzip();
    let (mut slowest, mut admitted) = (Duration::ZERO, [0; 3]);
    for round in 0..rounds {
        let fall = [Fall::Killed, Fall::Deposed, Fall::Stopped][round % 3];
        let place = (round / 3 + round) % 3;
        let asked = (0..6).find(|node| node % 3 != place).unwrap();
        let master = cluster.master_of(cluster.slot(&narrow[place].organization), asked);
        let replica = (master + 3) % 6;
        let stop = Arc::new(AtomicBool::new(false));
        let asking = ask_on(&gateways, &wide, &stop);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !matches!(fall, Fall::Deposed) {
            // It must not be replaced before there was a look at it.
            cluster.nodes[replica].command(&["CONFIG", "SET", "cluster-replica-no-failover", "yes"]);
        }
        bring_down(&mut cluster, fall, master, replica);
        if !matches!(fall, Fall::Deposed) {
            limits_hold(&gateways, &narrow[place], &narrow[(place + 1) % 3]).await;
            cluster.nodes[replica].command(&["CONFIG", "SET", "cluster-replica-no-failover", "no"]);
        }
        let node = &cluster.nodes[replica];
        wait_until("the replica is the master", SOON, async || node.command(&["ROLE"]).starts_with("master"))
            .await;
        let promoted = Instant::now();
        for gateway in &gateways {
            wait_until("the new master is found", SOON, async || is_up(gateway).await).await;
        }
        let took = promoted.elapsed();
        slowest = slowest.max(took);
        println!("round {round}: {fall:?}, master {master}: found {took:?} after the promotion");
        assert!(took < RECOVERY + SLACK, "round {round}, {fall:?}: after {took:?}");
        match fall {
            Fall::Killed => cluster.nodes[master].start_again(),
            Fall::Stopped => cluster.nodes[master].thaw(),
            Fall::Deposed => {}
        }
        cluster.until_whole();
        stop.store(true, Ordering::Relaxed);
        for (master, seen) in asking.join_all().await {
            admitted[master] += seen.admitted;
            assert!(seen.wrong.is_empty(), "round {round}, {fall:?}: {:?}", seen.wrong);
        }
        tokio::time::sleep(CAREFUL).await;
    }
    let answered: usize = admitted.iter().sum();
    // What was counted by whomever and whenever, adds up: also what a master had not copied to its replica when it fell.
    for (tenant, admitted) in wide.iter().zip(admitted) {
        let left = quota - admitted;
        let (last, refused) = burst(&gateways, &tenant.key, 8, left / 8 + 30).await;
        assert!(refused.iter().all(|code| code == "quota_total"), "{refused:?}");
        let of_quota = admitted + last;
        println!("{of_quota} admitted of {quota}");
        assert_eq!(of_quota, quota, "{tenant:?}");
    }
    println!("{rounds} failovers, {answered} requests, 0 errors, found again within {slowest:?} at most");
}
