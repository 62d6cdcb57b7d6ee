//! What `/metrics`, `/healthz`, `/readyz` and the operational log say.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{
    Answer, Gateway, Kept, RedisServer, SOON, Upstream, Wire, get, metrics, raw, sum, wait_until,
};
use super::{config, start};

#[tokio::test]
async fn every_metric_of_the_contract_is_there_and_counts() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (gateway, key) = start(&config(upstream.address, ""), &[]).await;
    // Before anybody has asked for anything.
    let idle = metrics(gateway.control).await;
    for expected in [
        "tollgate_requests_total{code=\"200\",plan=\"wide\",route=\"/*\"}",
        "tollgate_refusals_total{code=\"quota_daily\"}",
        "tollgate_log_rows_total{state=\"lost\"}",
    ] {
        assert_eq!(idle.get(expected), Some(&0.0), "{expected} in {idle:?}");
    }
    let mut kept = Kept::new();
    for (key, status) in [(&*key, 200), (&key, 200), ("wrong", 401)] {
        assert_eq!(kept.get(gateway.data, "/a?b", key).await.unwrap().status, status);
    }
    let samples = metrics(gateway.control).await;
    for name in [
        "tollgate_requests_total",
        "tollgate_request_seconds",
        "tollgate_overhead_seconds",
        "tollgate_refusals_total",
        "tollgate_key_lookups_total",
        "tollgate_ledger_round_trips_total",
        "tollgate_log_rows_total",
        "tollgate_log_lag_seconds",
        "tollgate_revocation_lag_seconds",
        "tollgate_upstream_seconds",
        "tollgate_upstream_healthy",
        "tollgate_dependency_up",
        "tollgate_in_flight",
        "tollgate_panics_total",
        "tollgate_build_info",
    ] {
        assert!(samples.keys().any(|sample| sample.starts_with(name)), "no {name} in {samples:?}");
    }
    let is = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:?}"));
    assert_eq!(is("tollgate_requests_total{code=\"200\",plan=\"wide\",route=\"/*\"}"), 2.0);
    assert_eq!(sum(&samples, "tollgate_requests_total{code=\"401\""), 1.0);
    assert_eq!(is("tollgate_refusals_total{code=\"invalid_api_key\"}"), 1.0);
    assert_eq!(is("tollgate_request_seconds_count"), 3.0);
    assert_eq!(is("tollgate_upstream_seconds_count"), 2.0);
    assert_eq!(is("tollgate_log_rows_total{state=\"written\"}"), 3.0);
    assert_eq!(is("tollgate_in_flight"), 0.0);
    assert_eq!(is("tollgate_dependency_up{name=\"record\"}"), 1.0);
    assert_eq!(is("tollgate_panics_total"), 0.0);
    assert!(!samples.keys().any(|sample| sample.contains("127.0.0.1") && !sample.contains("target=")));
}

#[tokio::test]
async fn it_is_alive_and_ready_only_while_some_target_is_healthy() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let address = upstream.address;
    let (gateway, _) = start(&config(address, ""), &[]).await;
    let ready = async || get(gateway.control, "/readyz", &[]).await;
    assert_eq!((ready().await.status, ready().await.json()), (200, json!({ "ready": true })));
    drop(upstream);
    wait_until("it is not ready", SOON, async || ready().await.status == 503).await;
    let failing = ready().await.json();
    assert!(failing["failing"]["upstreams"].is_string() && failing["ready"] == json!(false), "{failing}");
    assert_eq!(get(gateway.control, "/healthz", &[]).await.status, 200);
    let _back = Upstream::at(address, |_| Answer::new(200));
    wait_until("it is ready again", SOON, async || ready().await.status == 200).await;
}

#[tokio::test]
async fn a_second_gateway_that_counts_in_memory_is_warned_of() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let (first, _) = start(&config(upstream.address, ""), &[]).await;
    let ready = async |gateway: &Gateway| get(gateway.control, "/readyz", &[]).await.json();
    assert_eq!(ready(&first).await, json!({ "ready": true }), "it is alone");

    let record = format!("sqlite://{}", first.directory().join("data/tollgate.db").display());
    let shared = format!("record.url = {record:?}\n{}", config(upstream.address, ""));
    let mut second = Gateway::start(&shared).await;
    wait_until("it says so, and serves all the same", SOON, async || {
        let said = ready(&second).await;
        let warning = said["warnings"]["counters"].as_str().unwrap_or_default();
        said["ready"] == json!(true) && warning.contains("counters.url")
    })
    .await;
    second.stop().await;
    let log = lines(&second.stderr());
    let warned = log.iter().filter(|line| line["level"] == "WARN").collect::<Vec<_>>();
    assert!(matches!(*warned, [line] if line["others"] == 1), "{log:?}");

    // Who counts elsewhere is not.
    let redis = RedisServer::start();
    let mut third = Gateway::start(&format!("counters.url = {:?}\n{shared}", redis.url())).await;
    wait_until("it is ready", SOON, async || ready(&third).await == json!({ "ready": true })).await;
    third.stop().await;
    assert!(!third.stderr().contains("WARN"), "{}", third.stderr());
}

/// The lines of the operational log, each of which must be JSON.
fn lines(stderr: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    stderr.lines().map(read).collect()
}

#[tokio::test]
async fn the_log_is_lines_of_json_with_one_per_refusal_at_debug_only() {
    let upstream = Upstream::start(|_| Answer::new(200));
    for (level, expected) in [("tollgate=debug", 1), ("info", 0)] {
        let (mut gateway, key) = start(&config(upstream.address, ""), &[("TOLLGATE_LOG", level)]).await;
        assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
        let mut ids = Vec::new();
        for key in ["wrong", "", "sk_live_x"] {
            let refused = Kept::new().get(gateway.data, "/?secret", key).await.unwrap();
            ids.push(refused.header("x-request-id").unwrap().to_owned());
        }
        let refused = raw(gateway.data, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n").await;
        let refused = String::from_utf8(refused).unwrap();
        let id = refused.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
        ids.push(id.to_owned());
        gateway.stop().await;
        let log = lines(&gateway.stderr());
        for id in ids {
            let about = log.iter().filter(|line| line["request"] == json!(id)).collect::<Vec<_>>();
            assert_eq!(about.len(), expected, "{level}: {id}: {about:?}");
            assert!(
                about.iter().all(|line| line["level"] == "DEBUG" && line["code"].is_string()),
                "{about:?}"
            );
        }
        assert!(!log.is_empty() && log.iter().all(|line| line["timestamp"].is_string()), "{log:?}");
        assert!(!log.iter().any(|line| line["level"] == "WARN" || line["level"] == "ERROR"), "{log:?}");
    }
}

#[tokio::test]
async fn what_is_in_flight_is_seen() {
    let upstream = Upstream::start(|_| Answer::new(200).wait(Duration::from_millis(500)));
    let (gateway, key) = start(&config(upstream.address, ""), &[]).await;
    let mut wires = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::connect(gateway.data).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n")).await;
        wires.push(wire);
    }
    let in_flight = async || metrics(gateway.control).await["tollgate_in_flight"];
    wait_until("five in flight", SOON, async || in_flight().await == 5.0).await;
    for wire in &mut wires {
        wire.answer().await.unwrap();
    }
    assert_eq!(in_flight().await, 0.0);
}
