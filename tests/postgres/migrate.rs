//! `tollgate migrate-record`: everything arrives, also after it was broken off; nothing else is overwritten.

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::support::{Answer, Gateway, Kept, Postgres, SOON, Upstream, wait_until};
use super::{config, number};

/// A gateway on SQLite that has seen something, and was stopped: its key's secret.
async fn used(upstream: &Upstream, requests: usize) -> (Gateway, String) {
    let server = format!(
        "[ip_guard]\nfailures = 0\n[logs]\nship_every = \"20ms\"\n[plans.wide]\n[[upstreams]]\nname = \"scraper\"\ntargets = [\"{}\"]\n\
         [[routes]]\npath = \"/*\"\nupstream = \"scraper\"\n",
        upstream.address
    );
    let mut gateway = Gateway::start(&server).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    gateway.cli(&["project", "create", "crawl", "--org", "acme"]).await;
    gateway
        .cli_with(
            &["user", "create", "ann@example.com", "--org", "acme", "--role", "owner", "--password-stdin"],
            "correct horse battery",
        )
        .await;
    let (id, key) = gateway.key("acme", "k", &["--daily", "1000000", "--allow-ip", "127.0.0.0/8"]).await;
    let (revoked, _) = gateway.key("acme", "revoked \\N \\ 'ä'", &[]).await;
    gateway.cli(&["key", "revoke", &revoked]).await;
    let mut kept = Kept::new();
    for n in 0..requests {
        let path = format!("/page/{n}?url=https://www{}.example.com/", n % 50);
        assert_eq!(kept.get(gateway.data, &path, &key).await.unwrap().status, 200);
        kept.get(gateway.data, "/wrong", "sk_live_wrong").await.unwrap();
    }
    wait_until("the log is shipped", SOON, async || {
        gateway.cli(&["key", "show", &id]).await["requests"] == requests
    })
    .await;
    gateway.stop().await;
    (gateway, key)
}

fn tables(moved: &Value) -> Vec<(String, u64)> {
    let tables = moved["tables"].as_array().unwrap().iter();
    tables
        .map(|table| (table["table"].as_str().unwrap().to_owned(), table["rows"].as_u64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_moves_whole_and_its_gateway_goes_on() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let server = Postgres::start();
    let (mut gateway, key) = used(&upstream, 300).await;
    let from = ["migrate-record", "--from", "sqlite://data/tollgate.db", "--to"];
    let url = server.url();
    let arguments = [&from[..], &[&url]].concat();
    let before = [
        gateway.cli(&["org", "list"]).await,
        gateway.cli(&["key", "list", "--org", "acme"]).await,
        gateway.cli(&["user", "list"]).await,
        gateway.cli(&["project", "list"]).await,
    ];
    let moved = gateway.cli(&arguments).await;
    let rows = |name: &str| tables(&moved).into_iter().find(|(table, _)| table == name).unwrap().1;
    assert_eq!((rows("requests"), rows("keys"), rows("key_usage")), (600, 2, 1), "{moved}");
    assert!(!moved.to_string().contains(super::support::PASSWORD), "{moved}");
    // Again: nothing is left to do, and nothing is done twice.
    let again = gateway.cli(&arguments).await;
    assert_eq!(tables(&again), tables(&moved));

    std::fs::write(gateway.config(), config(&server, upstream.address, "")).unwrap();
    gateway.start_again().await;
    let after = [
        gateway.cli(&["org", "list"]).await,
        gateway.cli(&["key", "list", "--org", "acme"]).await,
        gateway.cli(&["user", "list"]).await,
        gateway.cli(&["project", "list"]).await,
    ];
    assert_eq!(before, after);
    let reply = Kept::new().get(gateway.data, "/", &key).await.unwrap();
    assert_eq!(reply.status, 200);
    let left = format!("r={}", 1_000_000 - 300 - 1);
    assert!(reply.header("ratelimit").unwrap().contains(&left), "no {left} in {}", reply.head);
    wait_until("the next row comes in", SOON, async || {
        number(&server, "SELECT count(*) FROM requests").await == 601
    })
    .await;
    let drift = gateway.cli(&["key", "create", "--org", "acme", "--name", "next"]).await;
    assert!(drift["key"].is_string(), "numbers of changes and audit go on: {drift}");

    // What holds a record is not written over.
    let (elsewhere, _) = used(&upstream, 1).await;
    let refused = elsewhere.run(&arguments, "").await;
    assert!(refused.code == Some(1) && refused.stderr.contains("another record"), "{refused:?}");
    let fresh = Postgres::start();
    let _other = Gateway::start(&config(&fresh, upstream.address, "")).await;
    let url = fresh.url();
    let refused = elsewhere.run(&[&from[..], &[&url]].concat(), "").await;
    assert!(refused.code == Some(1) && refused.stderr.contains("a record of its own"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_broken_off_goes_on_where_it_was() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let mut server = Postgres::start();
    let (gateway, _) = used(&upstream, 50).await;
    let url = server.url();
    let arguments = ["migrate-record", "--from", "sqlite://data/tollgate.db", "--to", &url];
    let whole = gateway.cli(&arguments).await;
    // As a run leaves it that was ended before these two.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE migration SET whole = false").execute(&mut connection).await.unwrap();
    sqlx::query("DELETE FROM migration_steps WHERE name IN ('usage', 'requests')")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("TRUNCATE usage, requests").execute(&mut connection).await.unwrap();
    drop(connection);
    // Half of it is no record.
    std::fs::write(gateway.directory().join("half.toml"), config(&server, upstream.address, "")).unwrap();
    let half = super::support::run(&["org", "list", "--config", "half.toml"], gateway.directory()).await;
    assert!(half.code == Some(1) && half.stderr.contains("migrate-record"), "{half:?}");
    server.kill();
    let away = gateway.run(&arguments, "").await;
    assert_eq!(away.code, Some(1), "{away:?}");
    server.start_again();
    let again = gateway.cli(&arguments).await;
    assert_eq!(tables(&again), tables(&whole));
    let earlier = |name: &str| {
        let tables = again["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).unwrap()["earlier"] == true
    };
    assert!(earlier("keys") && !earlier("usage") && !earlier("requests"), "{again}");
    let listed = super::support::run(&["org", "list", "--config", "half.toml"], gateway.directory()).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    // A row that is not as it was sent is found.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE keys SET hint = 'xxxx' WHERE name = 'k'").execute(&mut connection).await.unwrap();
    let wrong = gateway.run(&arguments, "").await;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("`keys`"), "{wrong:?}");
}
