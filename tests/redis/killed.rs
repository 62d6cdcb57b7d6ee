//! A gateway is killed with requests in flight: they count, and what was reserved for them is given back when it is back.

use std::time::Duration;

use tokio::task::JoinSet;

use super::emptied::{spent, upstream};
use super::support::{Gateway, Kept, RedisServer, SOON, Upstream, wait_until};
use super::{burst, start};

/// Ten slow requests at a gateway, which may have to wait for what the other one has leased.
async fn in_flight(gateway: &Gateway, key: &str, upstream: &Upstream) -> JoinSet<()> {
    let (mut asking, before) = (JoinSet::new(), upstream.count());
    for _ in 0..10 {
        let (data, key) = (gateway.data, key.to_owned());
        asking.spawn(async move {
            let asked = async || Kept::new().get(data, "/slow", &key).await;
            while asked().await.is_ok_and(|reply| reply.status == 429) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    wait_until("ten are in flight", SOON, async || upstream.count() == before + 10).await;
    asking
}

#[tokio::test]
async fn what_a_killed_gateway_had_reserved_is_not_spent_however_often() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = upstream();
    let mut gateways = start(2, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (id, key) = gateways[0].key("acme", "k", &[]).await;
    let used = async || spent(&redis, &id);
    // The first time nobody has ever rebuilt the organization, the second time it was rebuilt a moment ago.
    for (turn, killed) in [(1, 0), (2, 0), (3, 1)] {
        // 3 credits have been spent on each request that was answered; there is room for 10 at a credit, and for none besides.
        let answered = upstream.count() as u64 - 10 * (turn - 1);
        let budget = (answered * 3_000 + 10_000).to_string();
        gateways[0].cli(&["key", "limit", &id, "--microcents", &budget, "--period", "monthly"]).await;
        let slow = in_flight(&gateways[killed], &key, &upstream).await;
        let other = &gateways[1 - killed..2 - killed];
        wait_until("all of it is reserved", SOON, async || {
            burst(other, &key, 1, 1).await.1 == ["spend_budget"]
        })
        .await;
        gateways[killed].kill().await;
        drop(slow);
        gateways[killed].start_again().await;
        let other = &gateways[1 - killed..2 - killed];
        wait_until("there is room again", Duration::from_secs(10), async || {
            burst(other, &key, 1, 1).await.0 == 1
        })
        .await;
        wait_until("they count, and cost nothing", SOON, async || {
            let arrived = upstream.count() as u64;
            used().await == Some((arrived, (arrived - 10 * turn) * 3_000))
        })
        .await;
    }
}
