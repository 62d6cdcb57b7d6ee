//! What another process changes is in force within a second, and resets nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use super::start;
use super::support::{Answer, Gateway, Kept, SOON, Upstream, metrics, wait_until};

/// How soon after its command has ended a change must be in force.
const IN_FORCE: Duration = Duration::from_secs(1);

/// How many of `asked` requests, one after the other, are admitted; the others must be refused with `code`.
async fn admitted(gateway: &Gateway, key: &str, asked: usize, code: &str) -> usize {
    let mut kept = Kept::new();
    let mut admitted = 0;
    for _ in 0..asked {
        let reply = kept.get(gateway.data, "/", key).await.unwrap();
        if reply.status == 200 {
            admitted += 1;
        } else {
            assert_eq!(reply.code(), code, "{reply:?}");
        }
    }
    admitted
}

#[tokio::test]
async fn edits_of_plan_quota_and_spend_limit_are_in_force_within_a_second_and_reset_nothing() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, "[plans.narrow]\nper_minute = 10", "narrow").await;
    let (id, key) = gateway.key("acme", "k", &["--daily", "20"]).await;
    let ask = async |asked, code| admitted(&gateway, &key, asked, code).await;
    let change = async |arguments: &[&str]| {
        gateway.cli(arguments).await;
        tokio::time::sleep(IN_FORCE).await;
    };

    assert_eq!(ask(15, "rate_limited_minute").await, 10);
    change(&["org", "set-plan", "acme", "narrow", "--per-minute", "13"]).await;
    assert_eq!(ask(15, "rate_limited_minute").await, 3);
    change(&["org", "set-plan", "acme", "narrow", "--per-minute", "5"]).await;
    assert_eq!(ask(3, "rate_limited_minute").await, 0);
    change(&["org", "set-plan", "acme", "wide"]).await;
    assert_eq!(ask(15, "quota_daily").await, 7, "20 a day, of which 13 were used");
    change(&["key", "quotas", &id, "--daily", "25"]).await;
    assert_eq!(ask(15, "quota_daily").await, 5);
    change(&["key", "quotas", &id, "--daily", "none", "--total", "30"]).await;
    assert_eq!(ask(15, "quota_total").await, 5);
    change(&["key", "quotas", &id, "--total", "none", "--weekly", "32"]).await;
    assert_eq!(ask(15, "quota_weekly").await, 2);
    change(&["key", "quotas", &id, "--weekly", "none"]).await;
    change(&["key", "limit", &id, "--requests", "34", "--period", "monthly"]).await;
    assert_eq!(ask(15, "spend_requests").await, 2);
    change(&["org", "limit", "acme", "--requests", "34", "--period", "monthly"]).await;
    change(&["key", "limit", &id, "--clear"]).await;
    assert_eq!(ask(15, "spend_requests").await, 0);
    change(&["org", "limit", "acme", "--requests", "35", "--period", "monthly"]).await;
    assert_eq!(ask(15, "spend_requests").await, 1);
    assert_eq!(upstream.count(), 35);
}

/// A key under load, and every change of the answers it gets: (when the request was made, status, code).
struct Loaded {
    id: String,
    answers: Arc<Mutex<Vec<(Instant, u16, String)>>>,
}

fn load(clients: &mut JoinSet<()>, gateway: &Gateway, (id, key): (String, String)) -> Loaded {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let (seen, data) = (Arc::clone(&answers), gateway.data);
    clients.spawn(async move {
        let mut kept = Kept::new();
        loop {
            let made = Instant::now();
            let reply = kept.get(data, "/", &key).await.unwrap();
            seen.lock().push((made, reply.status, reply.code()));
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    });
    Loaded { id, answers }
}

impl Loaded {
    /// When the last request was made that was answered otherwise than with `status` and `code`.
    fn last_wrong(&self, status: u16, code: &str) -> Option<Instant> {
        let answers = self.answers.lock();
        answers.iter().rev().find(|(_, s, c)| (*s, &**c) != (status, code)).map(|(made, ..)| *made)
    }

    async fn answers_since(&self, since: Instant, count: usize) {
        wait_until("the key is asked for again", SOON, async || {
            self.answers.lock().iter().filter(|(made, ..)| *made > since).count() >= count
        })
        .await;
    }
}

#[tokio::test]
async fn what_ends_a_key_is_in_force_within_a_second_under_load() {
    const KEYS: usize = 32;
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, "", "wide").await;
    let mut clients = JoinSet::new();
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let key = gateway.key("acme", &format!("k{number}"), &[]).await;
        keys.push(load(&mut clients, &gateway, key));
    }
    let mut ended = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let (arguments, code): (&[&str], _) = match number % 4 {
            0 => (&["key", "revoke", &key.id], "invalid_api_key"),
            1 => (&["key", "disable", &key.id], "inactive_api_key"),
            2 => (&["key", "rotate", &key.id], "invalid_api_key"),
            _ => (&["key", "quotas", &key.id, "--total", "0"], "quota_total"),
        };
        assert_eq!(key.last_wrong(200, ""), None, "{arguments:?} was in force before it was asked for");
        gateway.cli(arguments).await;
        // The end of the command, which comes after the change.
        ended.push((Instant::now(), code));
    }
    let mut slowest = Duration::ZERO;
    for (key, (ended, code)) in keys.iter().zip(ended) {
        key.answers_since(ended + IN_FORCE, 1).await;
        let lag = key.last_wrong(401, code).unwrap().saturating_duration_since(ended);
        assert!(lag < IN_FORCE, "{code} was in force after {lag:?}");
        slowest = slowest.max(lag);
    }
    println!("the last wrong answer of {KEYS} keys: {slowest:?} after the command");
    let metrics = metrics(gateway.control).await;
    let observed = metrics["tollgate_revocation_lag_seconds_count"];
    assert!(observed >= KEYS as f64, "tollgate_revocation_lag_seconds saw {observed} of {KEYS} changes");
    assert_eq!(metrics["tollgate_revocation_lag_seconds_bucket{le=\"1\"}"], observed, "all within a second");
}

#[tokio::test]
async fn a_disabled_key_comes_back_an_old_secret_has_its_grace_and_an_expiry_is_to_the_moment() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, "", "wide").await;
    let mut clients = JoinSet::new();

    let key = load(&mut clients, &gateway, gateway.key("acme", "enabled", &[]).await);
    gateway.cli(&["key", "disable", &key.id]).await;
    key.answers_since(Instant::now() + IN_FORCE, 1).await;
    gateway.cli(&["key", "enable", &key.id]).await;
    let enabled = Instant::now();
    key.answers_since(enabled + IN_FORCE, 1).await;
    let lag = key.last_wrong(200, "").unwrap().saturating_duration_since(enabled);
    assert!(lag < IN_FORCE, "enabled after {lag:?}");

    let key = load(&mut clients, &gateway, gateway.key("acme", "rotated", &[]).await);
    let asked = Instant::now();
    let rotated = gateway.cli(&["key", "rotate", &key.id, "--grace", "3s"]).await;
    let done = Instant::now();
    let fresh = Value::as_str(&rotated["key"]).unwrap();
    assert_eq!(Kept::new().get(gateway.data, "/", fresh).await.unwrap().status, 200);
    key.answers_since(done + Duration::from_secs(4), 1).await;
    let old_worked_for = key.last_wrong(401, "invalid_api_key").unwrap() - asked;
    assert!(old_worked_for >= Duration::from_millis(2_500), "the grace was {old_worked_for:?}");
    let lag = old_worked_for.saturating_sub(Duration::from_secs(3) + (done - asked));
    assert!(lag < IN_FORCE, "the old secret worked {lag:?} too long");
    assert_eq!(Kept::new().get(gateway.data, "/", fresh).await.unwrap().status, 200);

    let asked = Instant::now();
    let key = load(&mut clients, &gateway, gateway.key("acme", "expiring", &["--expires", "2s"]).await);
    let made = Instant::now();
    key.answers_since(made + Duration::from_millis(2_500), 1).await;
    let last = key.last_wrong(401, "expired_api_key").unwrap();
    let (least, most) = (asked + Duration::from_millis(1_800), made + Duration::from_millis(2_100));
    assert!((least..most).contains(&last), "{:?} after the command began", last - asked);
}
