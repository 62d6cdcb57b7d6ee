//! Calendar spend limits of key and organization, both under many clients at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::support::{Answer, Entries, Gateway, Kept, RedisServer, Reply, SOON, Upstream};
use super::{AT_ONCE, config, count, each_once, start};

/// What a request is estimated to cost, in microcents: 5 credits of 1,000.
const ESTIMATE: i64 = 5_000;

#[tokio::test]
async fn request_limits_of_key_and_organization_both_hold_to_the_last() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateway = start(upstream.address, "", "wide").await;
    gateway.cli(&["org", "limit", "acme", "--requests", "70", "--period", "monthly"]).await;
    let (limited, first) = gateway.key("acme", "limited", &[]).await;
    let (_, second) = gateway.key("acme", "other", &[]).await;
    gateway.cli(&["key", "limit", &limited, "--requests", "40", "--period", "monthly"]).await;

    let address = Arc::new(Mutex::new(gateway.data));
    // 64 for the limited key alone: its own limit holds.
    let replies = each_once(&address, AT_ONCE, vec![first.clone(); 64]).join_all().await;
    assert_eq!((count(&replies, 200, ""), count(&replies, 429, "spend_requests")), (40, 24));
    // A client library sleeps what it is told, so the end of the month is told elsewhere.
    let refused = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!(refused.header("retry-after"), Some("60"));
    let policies = "\"key-requests\";q=40, \"organization-requests\";q=70";
    assert!(refused.header("ratelimit-policy").unwrap().ends_with(policies), "{refused:?}");
    assert_eq!(left(refused), (0, 30));
    // And who is admitted is told, too: each what was left behind it.
    let mut admitted: Vec<_> = replies.iter().filter(|reply| reply.status == 200).map(left).collect();
    admitted.sort_unstable();
    assert_eq!(admitted, (0..40).map(|left| (left, left + 30)).collect::<Vec<_>>());
    // Then both: the organization's holds.
    let both = [first, second].into_iter().flat_map(|key| vec![key; 64]);
    let replies = each_once(&address, AT_ONCE, both).join_all().await;
    assert_eq!((count(&replies, 200, ""), count(&replies, 429, "spend_requests")), (30, 98));
    assert_eq!(upstream.count(), 70);
}

/// What a reply tells to be left for requests of the key and of the organization, until the end of a month.
fn left(reply: &Reply) -> (u64, u64) {
    let left = |name: &str| {
        let (_, told) = reply.header("ratelimit").unwrap().split_once(&format!("\"{name}\";r=")).unwrap();
        let (left, after) = told.split_once(";t=").unwrap();
        let seconds = after.split(',').next().unwrap().parse().unwrap();
        assert!((1..=31 * 86_400).contains(&seconds), "{reply:?}");
        left.parse().unwrap()
    };
    (left("key-requests"), left("organization-requests"))
}

#[tokio::test]
async fn whoever_is_admitted_is_told_what_is_left_wherever_it_is_counted() {
    let redis = RedisServer::start();
    for counters in ["memory", &redis.url()] {
        let upstream = Upstream::start(|_| Answer::new(200).header("x-cost", "2"));
        let config = format!("counters.url = \"{counters}\"\n{}", config(upstream.address, ""));
        let gateway = Gateway::start(&config).await;
        gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
        gateway.cli(&["org", "limit", "acme", "--requests", "70", "--period", "weekly"]).await;
        let (id, key) = gateway.key("acme", "limited", &[]).await;
        gateway
            .cli(&["key", "limit", &id, "--requests", "40", "--microcents", "100000", "--period", "daily"])
            .await;
        for before in 0..6 {
            let reply = Kept::new().get(gateway.data, "/", &key).await.unwrap();
            assert_eq!((reply.status, left(&reply)), (200, (39 - before, 69 - before)), "{reply:?}");
            let (_, budget) = reply.header("ratelimit").unwrap().split_once("\"key-budget\";r=").unwrap();
            let budget: u64 = budget.split(';').next().unwrap().parse().unwrap();
            // Its own estimate is reserved; of those before the estimate or, once that is known, the cost.
            assert!((95_000 - before * 5_000..=95_000 - before * 2_000).contains(&budget), "{reply:?}");
        }
    }
}

/// Refused once may mean that others have reserved what they will not use; five times in a row that about everything
/// is spent.
async fn until_refused(data: SocketAddr, key: String) {
    let mut kept = Kept::new();
    let mut refused = 0;
    while refused < 5 {
        let reply = kept.get(data, "/", &key).await.unwrap();
        match (reply.status, &*reply.code()) {
            (200, _) => refused = 0,
            (429, "spend_budget") => refused += 1,
            _ => panic!("{reply:?}"),
        }
        tokio::time::sleep(Duration::from_millis(refused * 10)).await;
    }
}

#[tokio::test]
async fn budgets_of_key_and_organization_are_used_up_and_never_exceeded_under_64_clients() {
    const ORGANIZATION: i64 = 900_000;
    const KEY: i64 = 300_000;
    // One to five credits, never more than the estimate.
    let asked = Mutex::new(0_u64);
    let upstream = Upstream::start(move |_| {
        *asked.lock() += 1;
        let cost = *asked.lock() % 5 + 1;
        Answer::new(200).header("x-cost", cost.to_string()).wait(Duration::from_millis(2))
    });
    let gateway = start(upstream.address, "", "wide").await;
    let limit = |microcents: i64| microcents.to_string();
    gateway.cli(&["org", "limit", "acme", "--microcents", &limit(ORGANIZATION), "--period", "monthly"]).await;
    let (limited, first) = gateway.key("acme", "limited", &[]).await;
    let (_, second) = gateway.key("acme", "other", &[]).await;
    gateway.cli(&["key", "limit", &limited, "--microcents", &limit(KEY), "--period", "monthly"]).await;

    // First the key's own budget, which the organization's leaves room for; then with both keys that.
    for keys in [[&first, &first], [&first, &second]] {
        let mut clients = JoinSet::new();
        for client in 0..64 {
            clients.spawn(until_refused(gateway.data, keys[client % 2].clone()));
        }
        clients.join_all().await;
        // Nobody has anything reserved any more: a refusal is the last word now.
        for key in keys {
            while Kept::new().get(gateway.data, "/", key).await.unwrap().status == 200 {}
        }
    }
    let entries = Entries::of(&gateway).await;
    let admitted = upstream.count();
    entries.at_least(admitted, SOON).await;
    super::support::wait_until("every admitted row is there", SOON, async || {
        entries.number("SELECT count(*) FROM requests WHERE admitted").await == admitted as i64
    })
    .await;
    let spent = entries.number("SELECT sum(microcents) FROM requests").await;
    let by_key: i64 = entries
        .all()
        .await
        .iter()
        .filter(|entry| entry.key.as_deref() == Some(&*limited))
        .map(|entry| entry.microcents)
        .sum();
    // Used up: less is left than one more request may cost.
    assert!((ORGANIZATION - ESTIMATE + 1..=ORGANIZATION).contains(&spent), "{spent}");
    assert!((KEY - ESTIMATE + 1..=KEY).contains(&by_key), "{by_key}");
}
