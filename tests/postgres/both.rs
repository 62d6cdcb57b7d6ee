//! Redis and PostgreSQL gone at the same time: known keys go on, limits hold, nobody is told 401, and what was
//! acknowledged is there when they are back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::outages::rows_come_again;
use super::support::{
    Answer, Gateway, Kept, Postgres, RedisServer, SOON, Upstream, metrics, sum, wait_until,
};
use super::{Load, config, logged, start};

/// How long both are gone; `TOLLGATE_OUTAGE_SECONDS` asks for more. The promise is 900.
const OUTAGE: Duration = Duration::from_secs(12);
/// Requests in any second of one organization, over the gateways that there are.
const CAP: usize = 30;
/// What an answer may take longer once the breaker is open.
const ADDED: Duration = Duration::from_millis(5);
/// How soon all is as before, and how much longer a busy machine may take to show it.
const RECOVERY: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

/// Clients of a key with a cap, as fast as they get answers, until they are ended.
fn press(gateways: &[&Gateway], key: &str) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for gateway in gateways {
        let (data, key) = (gateway.data, key.to_owned());
        clients.spawn(async move {
            let mut kept = Kept::new();
            loop {
                let reply = kept.get(data, "/capped", &key).await.unwrap();
                assert!(reply.status == 200 || reply.code() == "rate_limited_second", "{reply:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    clients
}

/// Makes keys until one is refused; the names of those that were acknowledged.
async fn change_until_refused(gateway: &Gateway) -> HashSet<String> {
    let mut acknowledged = HashSet::new();
    loop {
        let name = format!("k-{}", acknowledged.len());
        let made = gateway.run(&["key", "create", "--org", "acme", "--name", &name], "").await;
        if made.code != Some(0) {
            assert_eq!(made.code, Some(1), "{made:?}");
            return acknowledged;
        }
        acknowledged.insert(name);
    }
}

async fn is_gone(gateway: &Gateway, name: &str) -> bool {
    let dependency = format!("tollgate_dependency_up{{name=\"{name}\"}}");
    sum(&metrics(gateway.control).await, &dependency) == 0.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_and_without_a_record_known_keys_go_on_and_nothing_acknowledged_is_lost() {
    let asked = std::env::var("TOLLGATE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let outage = asked.map_or(OUTAGE, Duration::from_secs);
    let capped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&capped);
    let upstream = Upstream::start(move |seen| {
        counted.fetch_add((seen.target() == "/capped").into(), Ordering::Relaxed);
        Answer::new(200).body("page")
    });
    let (mut server, mut redis) = (Postgres::start_with(&[]), RedisServer::start());
    let more = format!(
        "[counters]\nurl = \"{}\"\ntimeout = \"400ms\"\n[plans.narrow]\nper_second = {CAP}",
        redis.url()
    );
    let (one, _, key) = start(&server, upstream.address, &more).await;
    let two = Gateway::start(&config(&server, upstream.address, &more)).await;
    let mut three = Gateway::start(&config(&server, upstream.address, &more)).await;
    one.cli(&["org", "create", "small", "--plan", "narrow"]).await;
    let (_, narrow) = one.key("small", "k", &[]).await;
    let (_, unknown) = one.key("acme", "unknown", &[]).await;
    // Each gateway says once a second that it is there, and learns how many are; and what was made just now is followed.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for (gateway, secret) in [(&one, &key), (&two, &key), (&one, &narrow), (&two, &narrow)] {
        assert_eq!(Kept::new().get(gateway.data, "/page", secret).await.unwrap().status, 200);
    }
    let load = Load::every(Duration::from_millis(50), &[&one, &two], &key);
    wait_until("answers come", SOON, async || load.count() > 300).await;
    let before = load.took();

    let (acknowledged, ()) = tokio::join!(change_until_refused(&one), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        redis.kill();
        server.kill();
    });
    let gone = Instant::now();
    for gateway in [&one, &two] {
        wait_until("it knows that both are gone", SOON, async || {
            is_gone(gateway, "redis").await && is_gone(gateway, "record").await
        })
        .await;
    }
    let slowest = load.took().last().copied().unwrap_or_default();
    // A gateway that starts knows no key: it says what it lacks, for whatever starts it to try again.
    three.stop().await;
    let (mut refused_to_start, mut unavailable) = (0, 0);
    let (pressed, pressing) = (capped.load(Ordering::Relaxed), Instant::now());
    let clients = press(&[&one, &two], &narrow);
    while gone.elapsed() < outage || pressing.elapsed() < Duration::from_secs(5) {
        for gateway in [&one, &two] {
            let refused = Kept::new().get(gateway.data, "/page", &unknown).await.unwrap();
            assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{refused:?}");
            unavailable += 1;
        }
        if refused_to_start < 5 {
            let start = three.run(&["serve"], "").await;
            assert!(start.code == Some(1) && start.stderr.contains("record.url"), "{start:?}");
            refused_to_start += 1;
        }
        upstream.forget();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drop(clients);
    let lasted = gone.elapsed();
    let admitted = capped.load(Ordering::Relaxed) - pressed;
    let most = CAP * (pressing.elapsed().as_secs() as usize + 2);
    let during = load.took();

    server.start_again();
    redis.start_again();
    let back = Instant::now();
    for gateway in [&one, &two] {
        wait_until("the unknown key is found, and Redis", SOON, async || {
            Kept::new().get(gateway.data, "/page", &unknown).await.unwrap().status == 200
                && !is_gone(gateway, "redis").await
        })
        .await;
    }
    rows_come_again(&server).await;
    let recovery = back.elapsed();
    three.start_again().await;
    assert_eq!(Kept::new().get(three.data, "/page", &key).await.unwrap().status, 200);
    let (received, _) = load.end().await;
    logged(&server, &received).await;
    let keys = one.cli(&["key", "list", "--org", "acme"]).await;
    let names: HashSet<_> = keys.as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    for name in &acknowledged {
        assert!(names.contains(name.as_str()), "acknowledged and not there: {name}");
    }
    let (median, usual) = (during[during.len() / 2], before[before.len() / 2]);
    println!(
        "both gone for {lasted:.1?}: {} answers, all 200, the slowest {slowest:?} before the breaker was open, then half within \
         {median:?} ({usual:?} before); {admitted} of at most {most} admitted under a cap; {unavailable} times 503 for unknown \
         keys; {refused_to_start} starts refused; {} changes acknowledged and there; as before {recovery:?} after both were back",
        received.len(),
        acknowledged.len()
    );
    assert!(slowest < Duration::from_millis(1_500), "a request waited {slowest:?}");
    assert!(median < usual + ADDED, "{median:?}, and {usual:?} before");
    assert!(admitted <= most, "{admitted} of at most {most}");
    // Two of the three gateways each have their share.
    assert!(admitted * 3 > CAP * lasted.as_secs() as usize, "{admitted} in {lasted:?}");
    assert!(recovery < RECOVERY + SLACK, "{recovery:?}");
}
