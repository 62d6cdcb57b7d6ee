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

/// Three gateways on one record and one Redis, and keys that two of them know.
struct Bed {
    upstream: Upstream,
    /// Requests to `/capped` that arrived.
    capped: Arc<AtomicUsize>,
    server: Postgres,
    redis: RedisServer,
    one: Gateway,
    two: Gateway,
    three: Gateway,
    known: String,
    narrow: String,
    unknown: String,
}

/// What was seen while both were gone.
struct Seen {
    /// Requests under the cap, and how many there may be of them.
    admitted: (usize, usize),
    unavailable: usize,
    starts_refused: usize,
}

impl Bed {
    async fn new() -> Self {
        let capped = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&capped);
        let upstream = Upstream::start(move |seen| {
            counted.fetch_add((seen.target() == "/capped").into(), Ordering::Relaxed);
            Answer::new(200).body("page")
        });
        let (server, redis) = (Postgres::start_with(&[]), RedisServer::start());
        let more = format!(
            "[counters]\nurl = \"{}\"\ntimeout = \"400ms\"\n[plans.narrow]\nper_second = {CAP}",
            redis.url()
        );
        let (one, _, known) = start(&server, upstream.address, &more).await;
        let two = Gateway::start(&config(&server, upstream.address, &more)).await;
        let three = Gateway::start(&config(&server, upstream.address, &more)).await;
        one.cli(&["org", "create", "small", "--plan", "narrow"]).await;
        let (_, narrow) = one.key("small", "k", &[]).await;
        let (_, unknown) = one.key("acme", "unknown", &[]).await;
        // Each gateway says once a second that it is there, and learns how many are; and what was made just now is followed.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let bed = Self { upstream, capped, server, redis, one, two, three, known, narrow, unknown };
        for gateway in bed.serving() {
            for secret in [&bed.known, &bed.narrow] {
                assert_eq!(Kept::new().get(gateway.data, "/page", secret).await.unwrap().status, 200);
            }
        }
        bed
    }

    const fn serving(&self) -> [&Gateway; 2] {
        [&self.one, &self.two]
    }

    fn arrived(&self) -> usize {
        self.capped.load(Ordering::Relaxed)
    }

    /// Kills both in the middle of changes; the names of keys that were acknowledged.
    async fn lose_both(&mut self) -> HashSet<String> {
        let (acknowledged, ()) = tokio::join!(change_until_refused(&self.one), async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            self.redis.kill();
            self.server.kill();
        });
        for gateway in self.serving() {
            wait_until("it knows that both are gone", SOON, async || {
                is_gone(gateway, "redis").await && is_gone(gateway, "record").await
            })
            .await;
        }
        acknowledged
    }

    /// Asks for what cannot be had until `until`, while the capped key is pressed.
    async fn endure(&mut self, until: Instant) -> Seen {
        // A gateway that starts knows no key: it says what it lacks, for whatever starts it to try again.
        self.three.stop().await;
        let (before, began) = (self.arrived(), Instant::now());
        let clients = press(&self.serving(), &self.narrow);
        let (mut unavailable, mut starts_refused) = (0, 0);
        while Instant::now() < until {
            for gateway in self.serving() {
                let refused = Kept::new().get(gateway.data, "/page", &self.unknown).await.unwrap();
                assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
                unavailable += 1;
            }
            if starts_refused < 3 {
                let start = self.three.run(&["serve"], "").await;
                assert!(start.code == Some(1) && start.stderr.contains("record.url"), "{start:?}");
                starts_refused += 1;
            }
            self.upstream.forget();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        drop(clients);
        let most = CAP * (began.elapsed().as_secs() as usize + 2);
        Seen { admitted: (self.arrived() - before, most), unavailable, starts_refused }
    }

    /// Starts both again; how long after that all is as before.
    async fn regain_both(&mut self) -> Duration {
        self.server.start_again();
        self.redis.start_again();
        let back = Instant::now();
        for gateway in self.serving() {
            wait_until("the unknown key is found, and Redis", SOON, async || {
                Kept::new().get(gateway.data, "/page", &self.unknown).await.unwrap().status == 200
                    && !is_gone(gateway, "redis").await
            })
            .await;
        }
        rows_come_again(&self.server).await;
        let recovery = back.elapsed();
        self.three.start_again().await;
        assert_eq!(Kept::new().get(self.three.data, "/page", &self.known).await.unwrap().status, 200);
        recovery
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_and_without_a_record_known_keys_go_on_and_nothing_acknowledged_is_lost() {
    let asked = std::env::var("TOLLGATE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let outage = asked.map_or(OUTAGE, Duration::from_secs);
    let mut bed = Bed::new().await;
    let load = Load::every(Duration::from_millis(50), &bed.serving(), &bed.known);
    wait_until("answers come", SOON, async || load.count() > 300).await;
    let before = load.took();

    let acknowledged = bed.lose_both().await;
    let gone = Instant::now();
    let slowest = load.took().last().copied().unwrap_or_default();
    let Seen { admitted: (admitted, most), unavailable, starts_refused } = bed.endure(gone + outage).await;
    let (lasted, during) = (gone.elapsed(), load.took());
    let recovery = bed.regain_both().await;

    let (received, _) = load.end().await;
    logged(&bed.server, &received).await;
    let keys = bed.one.cli(&["key", "list", "--org", "acme"]).await;
    let names: HashSet<_> = keys.as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    for name in &acknowledged {
        assert!(names.contains(name.as_str()), "acknowledged and not there: {name}");
    }
    let (median, usual) = (during[during.len() / 2], before[before.len() / 2]);
    println!(
        "both gone for {lasted:.1?}: {} answers, all 200, the slowest {slowest:?} before the breaker was open, then half within \
         {median:?} ({usual:?} before); {admitted} of at most {most} admitted under a cap; {unavailable} times 503 for unknown \
         keys; {starts_refused} starts refused; {} changes acknowledged and there; as before {recovery:?} after both were back",
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
