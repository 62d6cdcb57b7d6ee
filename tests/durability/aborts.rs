//! Clients that hang up at any byte: of their request, or of the answer.
//!
//! `TOLLGATE_ABORTS` asks for another number of them than 20,000.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::{Answer, Entries, Entry, Gateway, SOON, Upstream, get, metrics, wait_until};
use super::{config, no_drift};

const ABORTS: usize = 20_000;
const CLIENTS: usize = 16;
/// In flight at one time at most: more than there are clients, so that only what has leaked can use it up.
const SLOTS: usize = 2 * CLIENTS;
/// What the upstream says a request costs, and what is reserved and charged where nobody says, in microcents.
const COST: i64 = 3_000;
const ESTIMATE: i64 = 5_000;
const BODY: &str = "a body of the request, which is long enough to be cut in many places";

/// How far one client went, and what it had by then.
enum Went {
    /// The whole answer, to the request of this id.
    Whole(String),
    HungUp,
}

fn answer(number: usize) -> Answer {
    let answer = Answer::new(200).header("x-cost", "3");
    match number % 4 {
        0 => answer.body("x".repeat(300)),
        1 => answer.chunks(&["some", "chunks", "of", "it"], ""),
        2 => answer.wait(Duration::from_millis(number as u64 % 7)).body("late"),
        _ => answer.body("in two").wait(Duration::from_millis(2)).body(" parts"),
    }
}

/// Sends one request and hangs up after byte `at` of what goes over the wire in both directions, or does not.
async fn go(data: SocketAddr, key: &str, at: usize, reset: bool) -> std::io::Result<Went> {
    let length = BODY.len();
    let request = format!(
        "POST /page HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {length}\r\n\r\n{BODY}"
    );
    let mut stream = TcpStream::connect(data).await?;
    stream.set_nodelay(true)?;
    if reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    stream.write_all(&request.as_bytes()[..at.min(request.len())]).await?;
    let Some(wanted) = at.checked_sub(request.len()) else { return Ok(Went::HungUp) };
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    while received.len() < wanted {
        let most = (wanted - received.len()).min(piece.len());
        let some = tokio::time::timeout(SOON, stream.read(&mut piece[..most])).await.expect("an answer")?;
        assert!(some > 0, "the gateway hung up: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&piece[..some]);
        if let Some(id) = whole(&received) {
            return Ok(Went::Whole(id));
        }
    }
    Ok(Went::HungUp)
}

/// The id of a request whose whole answer this is.
fn whole(received: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.to_owned()))
    };
    let ended = match field("content-length") {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    };
    ended.then(|| field("x-request-id").unwrap())
}

/// Each is charged at most once: what the upstream said, what is charged where it could not, or nothing.
fn charged_fairly(rows: &[Entry]) {
    let mut outcomes = HashMap::new();
    for row in rows {
        let outcome = row.outcome.as_deref().unwrap();
        *outcomes.entry(outcome).or_insert(0) += 1;
        let fair: &[i64] = match outcome {
            "success" => &[COST],
            "client_aborted" => &[COST, ESTIMATE],
            _ => &[0],
        };
        assert!(fair.contains(&row.microcents), "{row:?}");
    }
    assert!(outcomes["success"] > 0 && outcomes["client_aborted"] > 0, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_at_any_byte_leak_nothing_and_are_charged_once() {
    let aborts = std::env::var("TOLLGATE_ABORTS").ok().and_then(|text| text.parse().ok()).unwrap_or(ABORTS);
    let asked = Mutex::new(0);
    let upstream = Upstream::start(move |_| {
        *asked.lock() += 1;
        answer(*asked.lock())
    });
    let more = format!(
        "price = 5\ncost = [\"header:x-cost\"]\ncharge = [\"success\", \"client_aborted\"]\n[plans.narrow]\nconcurrency = {SLOTS}\n"
    );
    let gateway = Gateway::start(&format!("{}{more}", config(upstream.address, 2, ""))).await;
    gateway.cli(&["org", "create", "acme", "--plan", "narrow"]).await;
    let (id, key) = gateway.key("acme", "k", &["--monthly", "1000000"]).await;
    gateway.cli(&["key", "limit", &id, "--microcents", "1000000000000", "--period", "monthly"]).await;

    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, key, received) = (gateway.data, key.clone(), Arc::clone(&received));
        clients.spawn(async move {
            let mut random = client as u64 + 1;
            for _ in 0..aborts / CLIENTS {
                // Xorshift: spread, and the same in every run.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let (at, reset) = ((random >> 8) as usize % 1_200, random.is_multiple_of(3));
                if let Went::Whole(id) = go(data, &key, at, reset).await.unwrap() {
                    received.lock().push(id);
                }
            }
        });
    }
    clients.join_all().await;
    wait_until("nothing is in flight", SOON, async || {
        metrics(gateway.control).await["tollgate_in_flight"] == 0.0
    })
    .await;
    let usage = get(gateway.data, "/_tollgate/usage", &[("x-api-key", &key)]).await.json();
    let entries = Entries::of(&gateway).await;
    let admitted = usage["quotas"]["total"]["used"].as_i64().unwrap();
    wait_until("every admission is in the record", SOON, async || {
        entries.number("SELECT count(*) FROM requests WHERE admitted").await == admitted
    })
    .await;
    let rows: Vec<_> = entries.all().await.into_iter().filter(|row| row.admitted).collect();
    println!(
        "{aborts} clients: {} answers received whole, {} requests admitted, {} arrived",
        received.lock().len(),
        rows.len(),
        upstream.count()
    );

    // No slot has leaked, and no reservation: what the counters hold is what the rows say, to the microcent.
    assert_eq!(usage["plan"]["concurrency"]["used"], 0, "{usage}");
    let charged: i64 = rows.iter().map(|row| row.microcents).sum();
    assert_eq!(usage["spend"]["key"]["microcents"]["used"], charged, "{usage}");
    assert_eq!(usage["spend"]["key"]["requests"]["used"], admitted, "{usage}");
    assert_eq!(usage["quotas"]["monthly"]["used"], admitted, "{usage}");

    charged_fairly(&rows);
    let by_id: HashMap<&str, _> = rows.iter().map(|row| (&*row.id, row)).collect();
    assert_eq!(by_id.len(), rows.len());
    for id in received.lock().iter() {
        assert_eq!(by_id[&**id].outcome.as_deref(), Some("success"), "{:?}", by_id[&**id]);
    }
    let lost = metrics(gateway.control).await["tollgate_log_rows_total{state=\"lost\"}"];
    assert_eq!(lost, 0.0);
    no_drift(&gateway).await;
}
