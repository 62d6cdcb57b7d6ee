//! Redis and PostgreSQL gone at the same time: known keys go on, also on a gateway that is killed and started again
//! meanwhile, limits hold, nobody is told 401, and what was acknowledged is there when they are back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::outages::rows_come_again;
use super::support::{
    Answer, Gateway, Kept, Postgres, RedisServer, SOON, Upstream, get, metrics, sum, wait_until,
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

/// Three gateways on one record and one Redis, and keys that all of them know. The third is killed and started again
/// while both are gone.
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
    revoked: String,
}

/// What was seen while both were gone.
struct Seen {
    /// Requests under the cap, and how many there may be of them.
    admitted: (usize, usize),
    unavailable: usize,
    /// How long the third gateway took from being started to its first answer.
    started: Duration,
    /// What clients got from it afterwards.
    received: HashSet<String>,
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
        let (id, revoked) = one.key("acme", "revoked", &[]).await;
        // Each gateway says once a second that it is there, and learns how many are; and what was made just now is followed.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let bed = Self { upstream, capped, server, redis, one, two, three, known, narrow, unknown, revoked };
        for gateway in bed.all() {
            for secret in [&bed.known, &bed.narrow, &bed.revoked] {
                assert_eq!(Kept::new().get(gateway.data, "/page", secret).await.unwrap().status, 200);
            }
        }
        bed.one.cli(&["key", "revoke", &id]).await;
        for gateway in bed.all() {
            wait_until("the revoke is in force", SOON, async || {
                Kept::new().get(gateway.data, "/page", &bed.revoked).await.unwrap().status == 401
            })
            .await;
        }
        // Once a second each gateway writes down that the record confirms what it knows.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        bed
    }

    const fn serving(&self) -> [&Gateway; 2] {
        [&self.one, &self.two]
    }

    const fn all(&self) -> [&Gateway; 3] {
        [&self.one, &self.two, &self.three]
    }

    fn arrived(&self) -> usize {
        self.capped.load(Ordering::Relaxed)
    }

    /// Kills both in the middle of changes; the names of keys that were acknowledged, and when they were killed.
    async fn lose_both(&mut self) -> (HashSet<String>, Instant) {
        let (acknowledged, killed) = tokio::join!(change_until_refused(&self.one), async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            self.redis.kill();
            self.server.kill();
            Instant::now()
        });
        for gateway in self.serving() {
            wait_until("it knows that both are gone", SOON, async || {
                is_gone(gateway, "redis").await && is_gone(gateway, "record").await
            })
            .await;
        }
        (acknowledged, killed)
    }

    /// Kills the third gateway and starts it again; how long it took from then to its first answer.
    async fn restart_third(&mut self) -> Duration {
        self.three.kill().await;
        let began = Instant::now();
        self.three.start_again().await;
        let reply = Kept::new().get(self.three.data, "/page", &self.known).await.unwrap();
        assert_eq!(reply.status, 200, "a key that it knew: {reply:?}");
        assert_eq!(get(self.three.control, "/readyz", &[]).await.status, 200);
        began.elapsed()
    }

    /// Asks for what cannot be had until `until`, while the capped key is pressed.
    async fn endure(&mut self, until: Instant) -> Seen {
        let (before, began) = (self.arrived(), Instant::now());
        let clients = press(&self.serving(), &self.narrow);
        let started = self.restart_third().await;
        let third = press(&[&self.three], &self.narrow);
        let (mut unavailable, mut received, mut kept) = (0, HashSet::new(), Kept::new());
        while Instant::now() < until {
            for gateway in self.all() {
                let refused = Kept::new().get(gateway.data, "/page", &self.unknown).await.unwrap();
                assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
                unavailable += 1;
            }
            let revoked = kept.get(self.three.data, "/page", &self.revoked).await.unwrap();
            assert_eq!(revoked.status, 503, "it cannot tell, and does not serve it: {revoked:?}");
            for _ in 0..10 {
                let reply = kept.get(self.three.data, "/page", &self.known).await.unwrap();
                assert_eq!(reply.status, 200, "{reply:?}");
                received.insert(reply.header("x-request-id").unwrap().to_owned());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.upstream.forget();
        }
        drop((clients, third));
        let most = CAP * (began.elapsed().as_secs() as usize + 2);
        Seen { admitted: (self.arrived() - before, most), unavailable, started, received }
    }

    /// Starts both again; how long after that all is as before.
    async fn regain_both(&mut self) -> Duration {
        self.server.start_again();
        self.redis.start_again();
        let back = Instant::now();
        for gateway in self.all() {
            wait_until("the unknown key is found, and Redis", SOON, async || {
                Kept::new().get(gateway.data, "/page", &self.unknown).await.unwrap().status == 200
                    && !is_gone(gateway, "redis").await
            })
            .await;
        }
        rows_come_again(&self.server).await;
        let recovery = back.elapsed();
        for gateway in self.all() {
            let revoked = Kept::new().get(gateway.data, "/page", &self.revoked).await.unwrap();
            assert_eq!((revoked.status, revoked.code().as_str()), (401, "invalid_api_key"));
        }
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

    let (acknowledged, gone) = bed.lose_both().await;
    let slowest = load.took().last().copied().unwrap_or_default();
    let Seen { admitted: (admitted, most), unavailable, started, received: third } =
        bed.endure(gone + outage).await;
    let (lasted, during) = (gone.elapsed(), load.took());
    let recovery = bed.regain_both().await;

    let (mut received, _) = load.end().await;
    received.extend(third);
    logged(&bed.server, &received).await;
    let verified = bed.three.run(&["verify"], "").await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let keys = bed.one.cli(&["key", "list", "--org", "acme"]).await;
    let names: HashSet<_> = keys.as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    for name in &acknowledged {
        assert!(names.contains(name.as_str()), "acknowledged and not there: {name}");
    }
    let (median, usual) = (during[during.len() / 2], before[before.len() / 2]);
    println!(
        "both gone for {lasted:.1?}: {} answers, all 200, the slowest {slowest:?} before the breaker was open, then half within \
         {median:?} ({usual:?} before); {admitted} of at most {most} admitted under a cap; {unavailable} times 503 for unknown \
         keys; a gateway killed and started again meanwhile answered after {started:?}; {} changes acknowledged and there; as before {recovery:?} after both were back",
        received.len(),
        acknowledged.len()
    );
    assert!(slowest < Duration::from_millis(1_500), "a request waited {slowest:?}");
    assert!(median < usual + ADDED, "{median:?}, and {usual:?} before");
    assert!(admitted <= most, "{admitted} of at most {most}");
    // Each of the three gateways has its share.
    assert!(admitted * 3 > 2 * CAP * lasted.as_secs() as usize, "{admitted} in {lasted:?}");
    assert!(recovery < RECOVERY + SLACK, "{recovery:?}");
}
