//! The record out of reach, and the log full.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::secrets::unknown;
use crate::support::{Answer, Gateway, SOON, Upstream, get, rows, wait_until};
use crate::table::{DIALECTS, assert_refused, assert_refused_to_head, one_answer};

/// Requests that the smallest spool has room for are fewer by far.
const ROWS_MAX: usize = 10_000;

/// Empties the record's file under the gateway, which has it open; and makes SQLite look, as it would go on for a
/// while with what it has in memory (the index of its write-ahead log: <https://sqlite.org/walformat.html>).
fn ruin(gateway: &Gateway) {
    let file = |suffix: &str| gateway.directory().join(format!("data/tollgate.db{suffix}"));
    for emptied in ["", "-wal"] {
        OpenOptions::new().write(true).truncate(true).open(file(emptied)).unwrap();
    }
    // Not emptied, as it is mapped into memory.
    OpenOptions::new().write(true).open(file("-shm")).unwrap().write_all(&[0; 136]).unwrap();
}

#[tokio::test]
async fn without_record_and_log_nobody_is_called_a_stranger() {
    let upstream = Upstream::start(|_| Answer::new(200).body("ok"));
    let mut config = format!(
        r#"
        [data]
        threads = 1
        [ip_guard]
        failures = 5
        [logs]
        spool_bytes_max = "128KiB"
        segment_bytes = "64KiB"
        when_full = "refuse"
        [plans.wide]
        per_minute = 100000
        [[upstreams]]
        name = "up"
        targets = ["{}"]
        "#,
        upstream.address
    );
    for dialect in DIALECTS {
        config +=
            &format!("[[routes]]\npath = \"/{dialect}/*\"\nupstream = \"up\"\ndialect = \"{dialect}\"\n");
    }
    let gateway = Gateway::start(&config).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let key = async |name: &str| {
        let made = gateway.cli(&["key", "create", "--org", "acme", "--name", name]).await;
        made["key"].as_str().unwrap().to_owned()
    };
    let (known, unseen) = (key("known").await, key("unseen").await);
    let ask = async |dialect: &str, key: &str| {
        get(gateway.data, &format!("/{dialect}/a"), &[("x-api-key", key)]).await
    };
    let head = async |dialect: &str, key: &str| {
        let fields = format!("Host: x\r\nConnection: close\r\nX-API-Key: {key}");
        one_answer(gateway.data, format!("HEAD /{dialect}/a HTTP/1.1\r\n{fields}\r\n\r\n")).await
    };
    // Changes are read in their order: with this one, that of the known key has been read, and it stays known.
    let marker = key("marker").await;
    assert_eq!(ask("native", &marker).await.status, 200);
    gateway.cli(&["key", "disable", "marker", "--org", "acme"]).await;
    let mut asked = 1;
    wait_until("the change is in force", SOON, async || {
        asked += 1;
        ask("native", &marker).await.status == 401
    })
    .await;
    assert_eq!(ask("native", &known).await.status, 200);
    assert_eq!(ask("native", &unknown()).await.status, 401, "with a record, a stranger is told so");

    wait_until("the log is shipped", SOON, async || rows(&gateway).await.len() == asked + 2).await;
    ruin(&gateway);
    for dialect in DIALECTS {
        for (key, what) in [(unseen.clone(), "a key never used before"), (unknown(), "a key nobody made")] {
            assert_refused(&ask(dialect, &key).await, "store_unavailable", dialect, what);
            assert_refused_to_head(&head(dialect, &key).await, "store_unavailable", dialect, what);
        }
        assert_eq!(ask(dialect, &known).await.text(), "ok", "a key used before goes on working");
    }
    let malformed = ask("native", "sk_live_short").await;
    assert_refused(&malformed, "invalid_api_key", "native", "for this no record is asked");

    // The rows stay in the spool, until it is full.
    let mut sent = 0;
    wait_until("the spool is full", SOON, async || {
        sent += 1;
        assert!(sent < ROWS_MAX, "the spool has no bound");
        ask("native", &known).await.status != 200
    })
    .await;
    let passed = upstream.count();
    for dialect in DIALECTS {
        for (key, what) in [(known.clone(), "a known key"), (unknown(), "a key nobody made")] {
            assert_refused(&ask(dialect, &key).await, "overloaded", dialect, what);
            assert_refused_to_head(&head(dialect, &key).await, "overloaded", dialect, what);
        }
    }
    assert_eq!(upstream.count(), passed, "what cannot be logged is not passed on");
}
