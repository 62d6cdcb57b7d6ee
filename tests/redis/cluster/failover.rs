//! Masters that fall: killed, stopped, or told to step back. Organizations of the others notice nothing, those of the
//! fallen one get each gateway's share, and are counted exactly again soon after its replica is the master.
//!
//! `TOLLGATE_FAILOVERS=20` makes twenty of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::burst;
use super::super::support::{Answer, Gateway, Kept, RedisCluster, SOON, Upstream, metrics, sum, wait_until};
use super::{Tenant, start};

/// How long after the promotion everything may take to be as before.
const RECOVERY: Duration = Duration::from_secs(2);
/// How much longer a busy machine may take to show it.
const SLACK: Duration = Duration::from_secs(1);
/// How many admissions Redis may lose in one failover: it copies to its replica a moment later.
const LOST_MAX: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Fall {
    Killed,
    Stopped,
    Deposed,
}

async fn is_up(gateway: &Gateway) -> bool {
    sum(&metrics(gateway.control).await, "tollgate_dependency_up{name=\"redis\"}") > 0.0
}

/// Asks for every tenant at every gateway, all the time; how many were asked, and what was neither admitted nor
/// refused for a limit.
fn ask_on(gateways: &[Gateway], tenants: &[Tenant], stop: &Arc<AtomicBool>) -> JoinSet<(usize, Vec<String>)> {
    let mut asking = JoinSet::new();
    for (gateway, tenant) in gateways.iter().flat_map(|gateway| tenants.iter().map(move |it| (gateway, it))) {
        let (data, key, stop) = (gateway.data, tenant.key.clone(), Arc::clone(stop));
        asking.spawn(async move {
            let (mut kept, mut asked, mut wrong) = (Kept::new(), 0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let reply = kept.get(data, "/", &key).await.unwrap();
                asked += 1;
                if reply.status != 200 || began.elapsed() > Duration::from_millis(1_500) {
                    wrong.push(format!("{} {} after {:?}", reply.status, reply.code(), began.elapsed()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (asked, wrong)
        });
    }
    asking
}

#[tokio::test]
async fn masters_fall_and_only_their_organizations_notice() {
    const CAP: usize = 40;
    let rounds: usize =
        std::env::var("TOLLGATE_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let (mut cluster, shared) = (RedisCluster::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let plan = format!("per_second = {CAP}");
    let (gateways, tenants) = start(2, upstream.address, &cluster, shared.path(), &plan, 1, &[]).await;
    // A second key of each, whose quota is used up over all rounds.
    let quota = 40 * rounds + 200;
    let mut counted = Vec::new();
    for tenant in &tenants {
        let more = ["--total", &quota.to_string()];
        let (_, key) = gateways[0].key(&tenant.organization, "counted", &more).await;
        counted.push(Tenant { key, ..tenant.clone() });
    }
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    let mut deposed = [0; 3];
    for round in 0..rounds {
        let fall = [Fall::Killed, Fall::Deposed, Fall::Stopped][round % 3];
        let place = (round / 3 + round) % 3;
        let slot = cluster.slot(&tenants[place].organization);
        let asked = (0..6).find(|node| node % 3 != place).unwrap();
        let master = cluster.master_of(slot, asked);
        let replica = (0..6).find(|node| node % 3 == master % 3 && *node != master).unwrap();
        deposed[place] += 1;
        let stop = Arc::new(AtomicBool::new(false));
        let asking = ask_on(&gateways, &counted, &stop);
        tokio::time::sleep(Duration::from_millis(300)).await;
        match fall {
            Fall::Killed => cluster.nodes[master].kill(),
            Fall::Stopped => cluster.nodes[master].freeze(),
            Fall::Deposed => {
                assert_eq!(cluster.nodes[replica].command(&["CLUSTER", "FAILOVER"]).trim(), "OK");
            }
        }
        if !matches!(fall, Fall::Deposed) {
            for gateway in &gateways {
                wait_until("the breaker opens", SOON, async || !is_up(gateway).await).await;
            }
            // The whole cap at one gateway: more than its share, which is what it would have without Redis.
            let other = &tenants[(place + 1) % 3];
            let (admitted, _) = burst(&gateways[..1], &other.key, 4, CAP / 2).await;
            assert!(admitted >= CAP - 8, "round {round}: {other:?} got {admitted} of {CAP}");
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
        for (asked, wrong) in asking.join_all().await {
            answered += asked;
            let limited = |wrong: &&String| !wrong.contains("quota_total") && !wrong.contains("rate_limited");
            let wrong: Vec<_> = wrong.iter().filter(limited).collect();
            assert!(wrong.is_empty(), "round {round}, {fall:?}: {wrong:?}");
        }
    }
    println!("{rounds} failovers, {answered} requests, 0 errors, found again within {slowest:?} at most");
    for gateway in &gateways {
        let log = gateway.stderr();
        assert!(log.contains("Redis is given up until it answers again"), "{log}");
    }
}
