//! `kill -9` under load, again and again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::support::{Answer, Entries, Entry, Gateway, Kept, SOON, Upstream, wait_until};
use super::{config, no_drift, start};

/// Rounds; `TOLLGATE_KILL_ROUNDS` asks for more.
const ROUNDS: usize = 20;
const CLIENTS: usize = 12;

/// What clients have received to the last byte: path (none where the head was refused unread), the request's id and
/// the status.
type Received = Arc<Mutex<Vec<(Option<String>, String, u16)>>>;

fn page(asked: &AtomicUsize) -> Answer {
    let number = asked.fetch_add(1, Ordering::Relaxed);
    // One in ten outlives the segment that its admission was written to.
    let wait = Duration::from_millis(if number % 10 == 7 { 150 } else { number as u64 % 6 });
    match number % 4 {
        0 => Answer::new(200).wait(wait).body("page"),
        1 => Answer::new(200).wait(wait).chunks(&["some", "chunks"], ""),
        2 => Answer::new(200).wait(wait).zeros(100_000),
        _ => Answer::new(204).wait(wait),
    }
}

/// Clients that go on until the gateway is gone: most with a key, one with a wrong one, one whose heads are refused.
fn load(gateway: &Gateway, round: usize, key: &str, received: &Received) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, received) = (gateway.data, Arc::clone(received));
        let key = if client == 0 { "wrong".to_owned() } else { key.to_owned() };
        clients.spawn(async move {
            let mut kept = Kept::new();
            for number in 0.. {
                let path = format!("/{round}/{client}/{number}");
                let ambiguous = if client == 1 { "Content-Length: 1, 2\r\n" } else { "" };
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{ambiguous}\r\n");
                let Ok(reply) = kept.ask(data, &request).await else { return };
                let id = reply.header("x-request-id").unwrap().to_owned();
                received.lock().push(((client != 1).then_some(path), id, reply.status));
                if client < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    clients
}

#[tokio::test]
async fn nothing_received_whole_is_forgotten_and_nothing_is_counted_twice() {
    let rounds =
        std::env::var("TOLLGATE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| page(&asked));
    // Small segments, so that many are begun, shipped and deleted; the shipper is at work in every round.
    let logs = "segment_bytes = \"64KiB\"\nship_every = \"20ms\"\nbatch_rows_max = 100";
    let (mut gateway, id, key) = start(&config(upstream.address, 2, logs)).await;
    let received = Received::default();
    for round in 0..rounds {
        let before = received.lock().len();
        let clients = load(&gateway, round, &key, &received);
        wait_until("answers come", SOON, async || received.lock().len() > before + 20).await;
        tokio::time::sleep(Duration::from_micros(random() % 200_000)).await;
        gateway.kill().await;
        clients.join_all().await;
        gateway.start_again().await;
    }
    // An admission whose row is to come is none after a clean end.
    assert_eq!(gateway.stop().await.code(), Some(0));
    let entries = Entries::of(&gateway).await;
    let rows = entries.all().await;
    let crashed = compare(&rows, &received.lock(), &upstream);
    println!(
        "{rounds} kills: {} answers received whole, {} rows, of which {crashed} crashed",
        received.lock().len(),
        rows.len()
    );
    assert!(crashed > 0, "no kill came in the middle of anything");

    // Every sum says the same.
    let admitted = rows.iter().filter(|row| row.admitted).count() as i64;
    assert_eq!(entries.number("SELECT sum(requests) FROM key_usage").await, admitted);
    assert_eq!(entries.number("SELECT sum(admitted) FROM usage_5m").await, admitted);
    assert_eq!(entries.number("SELECT count(*) FROM open_admissions").await, 0);
    no_drift(&gateway).await;
    gateway.start_again().await;
    assert_eq!(gateway.cli(&["key", "show", &id]).await["requests"], admitted);
    let reply = Kept::new().get(gateway.data, "/last", &key).await.unwrap();
    let left = format!("r={}", 1_000_000 - admitted - 1);
    assert!(reply.header("ratelimit").unwrap().contains(&left), "no {left} in {}", reply.head);
}

/// Compares the log with what clients and upstream have seen; how many rows are of requests that died.
fn compare(rows: &[Entry], received: &[(Option<String>, String, u16)], upstream: &Upstream) -> usize {
    let by_id: HashMap<&str, &Entry> = rows.iter().map(|row| (&*row.id, row)).collect();
    assert_eq!(by_id.len(), rows.len(), "an id is there twice");
    let mut paths = HashSet::new();
    for row in rows.iter().filter(|row| !row.path.is_empty()) {
        assert!(paths.insert(&*row.path), "two rows of one request: {row:?}");
    }

    // What a client has whole has its row, and that says the same.
    for (path, id, status) in received {
        let row = by_id.get(&**id).unwrap_or_else(|| panic!("received whole and not written: {path:?} {id}"));
        let ended = (*status < 300).then_some("success");
        let said = (row.status, &*row.path, row.outcome.as_deref());
        assert_eq!(said, (*status, path.as_deref().unwrap_or_default(), ended), "{row:?}");
    }

    // What arrived upstream was admitted; what was admitted arrived, or died before it could.
    let arrived: HashSet<String> =
        upstream.seen().iter().map(|seen| seen.header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(arrived.len(), upstream.count(), "one request arrived twice");
    for id in &arrived {
        let row = by_id.get(&**id).unwrap_or_else(|| panic!("arrived and not written: {id}"));
        assert!(row.admitted, "arrived and not admitted: {row:?}");
    }
    let mut crashed = 0;
    for row in rows.iter().filter(|row| row.admitted) {
        if row.code == "gateway_crashed" {
            assert_eq!(
                (row.status, row.outcome.as_deref(), row.credits, row.microcents),
                (0, Some("crashed"), 0, 0)
            );
            crashed += 1;
        } else {
            assert!(arrived.contains(&row.id), "answered without having arrived: {row:?}");
        }
    }
    crashed
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}
