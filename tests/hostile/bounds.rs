//! Bounds of heads, connections and metrics.

use tokio::task::JoinSet;

use super::start;
use super::support::{Answer, Entries, Kept, SOON, Upstream, Wire, get, metrics, raw, wait_until};

fn code_of(answer: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    (status, code.to_owned())
}

#[tokio::test]
async fn heads_are_taken_up_to_each_bound_and_refused_beyond() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(upstream.address, "").await;
    let common = format!("Host: x\r\nX-API-Key: {key}\r\nConnection: close\r\n");
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n{common}\r\n", "a".repeat(bytes - 1));
    let query = |bytes: usize| format!("GET /?{} HTTP/1.1\r\n{common}\r\n", "a".repeat(bytes - 2));
    let headers = |lines: usize| {
        let more: String = (3..lines).map(|number| format!("X-{number}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\n{common}{more}\r\n")
    };
    let whole = |bytes: usize| {
        let head = format!("GET / HTTP/1.1\r\n{common}X-Long: ");
        format!("{head}{}\r\n\r\n", "a".repeat(bytes - head.len() - 4))
    };
    for (request, status, code) in [
        (target(8_192), "200", ""),
        (target(8_193), "414", "uri_too_long"),
        (target(1_000_000), "414", "uri_too_long"),
        (query(8_192), "200", ""),
        (query(8_193), "414", "uri_too_long"),
        (headers(100), "200", ""),
        (headers(101), "431", "head_too_large"),
        (headers(2_000), "431", "head_too_large"),
        (whole(32_768), "200", ""),
        (whole(32_769), "431", "head_too_large"),
        (whole(10_000_000), "431", "head_too_large"),
    ] {
        let begins: String = request.chars().take(40).collect();
        let found = code_of(&raw(gateway.data, &request).await);
        assert_eq!((&*found.0, &*found.1), (status, code), "{begins}… of {} bytes", request.len());
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_counted() {
    const MOST: usize = 20;
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(upstream.address, &format!("connections_max = {MOST}")).await;
    let open = async || metrics(gateway.control).await["tollgate_connections"];
    let mut wires = Vec::new();
    for _ in 0..MOST {
        wires.push(Wire::connect(gateway.data).await);
    }
    wait_until("all are accepted", SOON, async || open().await == MOST as f64).await;
    for _ in 0..30 {
        assert_eq!(Wire::connect(gateway.data).await.rest(SOON).await, b"");
    }
    let samples = metrics(gateway.control).await;
    assert_eq!(samples["tollgate_overflows_total{bound=\"connections\"}"], 30.0);
    // Those that are in go on.
    for wire in &mut wires {
        wire.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await;
        assert!(wire.answer().await.unwrap().0.starts_with("HTTP/1.1 200 "));
    }
    drop(wires);
    wait_until("all are closed", SOON, async || open().await == 0.0).await;
    assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
}

/// Requests that are all different where a client can choose, written in one go.
fn variety(client: usize, from: usize, many: usize, key: &str) -> String {
    let request = |number: usize| {
        let method = ["GET", "POST", "BREW", "X-OWN"][number % 4];
        let key = if number.is_multiple_of(10) { format!("{key}{number}") } else { key.to_owned() };
        format!(
            "{method} /{client}/{number}?q={number} HTTP/1.1\r\nHost: h{number}.example\r\nUser-Agent: a{number}\r\nX-API-Key: {key}\r\n\r\n"
        )
    };
    (from..from + many).map(request).collect()
}

#[tokio::test]
async fn a_hundred_thousand_paths_add_no_series() {
    const PATHS: usize = 100_000;
    const CLIENTS: usize = 8;
    const AT_ONCE: usize = 100;
    let upstream = Upstream::start(|_| Answer::new(200));
    let (gateway, key) = start(upstream.address, "").await;
    let mut wire = Wire::connect(gateway.data).await;
    wire.send(variety(99, 0, 20, &key)).await;
    for _ in 0..20 {
        wire.answer().await.unwrap();
    }
    let before = metrics(gateway.control).await.len();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (data, key) = (gateway.data, key.clone());
        clients.spawn(async move {
            let mut wire = Wire::connect(data).await;
            for from in (0..PATHS / CLIENTS).step_by(AT_ONCE) {
                wire.send(variety(client, from, AT_ONCE, &key)).await;
                for _ in 0..AT_ONCE {
                    let (head, _) = wire.answer().await.unwrap();
                    assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 401 "), "{head}");
                }
            }
        });
    }
    clients.join_all().await;
    let samples = metrics(gateway.control).await;
    assert_eq!(samples["tollgate_request_seconds_count"], (PATHS + 20) as f64);
    assert_eq!(samples.len(), before, "{samples:?}");
    assert_eq!(get(gateway.control, "/healthz", &[]).await.status, 200);

    let entries = Entries::of(&gateway).await;
    let rows = (PATHS + 20) as i64;
    wait_until("every request is in the record", SOON, async || {
        entries.number("SELECT count(*) FROM requests").await >= rows
    })
    .await;
    assert_eq!(entries.number("SELECT count(*) FROM requests").await, rows);
    assert_eq!(entries.number("SELECT count(DISTINCT path) FROM request_log").await, rows);
}
