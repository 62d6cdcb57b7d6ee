//! A way to PostgreSQL on which everything is lost, in the midst of batches: nobody is told, on neither side.

use std::net::SocketAddr;
use std::time::Duration;

use super::support::{Answer, Gateway, Kept, Postgres, Relay, Upstream};
use super::{Load, config, logged, outages};

/// How soon after the way is whole again rows come into the record.
const RECOVERY: Duration = Duration::from_secs(5);
/// How often everything is lost, and for how long.
const HOLES: usize = 4;
const LASTS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_holds_the_log_no_longer_than_it_lasts_and_costs_no_row() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let server = Postgres::start();
    let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], server.port))).await;
    let through =
        |text: String| text.replace(&format!(":{}/", server.port), &format!(":{}/", relay.address.port()));
    let gateway = Gateway::start(&through(config(&server, upstream.address, ""))).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateway.key("acme", "k", &["--daily", "10000000"]).await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
    let load = Load::start(&[&gateway], &key);
    outages::rows_come_again(&server).await;
    // By then the change that made the key is followed: it is read once more, and known for good.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..HOLES {
        relay.swallows.send(true).unwrap();
        tokio::time::sleep(LASTS).await;
        relay.swallows.send(false).unwrap();
        slowest = slowest.max(outages::rows_come_again(&server).await);
    }
    let (received, waited) = load.end().await;
    logged(&server, &received).await;
    println!(
        "{HOLES} black holes of {LASTS:?}: {} answers, rows again after {slowest:?} at the latest",
        received.len()
    );
    assert!(slowest < RECOVERY, "the log stood still for {slowest:?}");
    assert!(waited < Duration::from_secs(1), "a request waited: {waited:?}");
}
