//! `tollgate verify`: a drift is found, told and mended; where there is none, none is found.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::support::{Answer, Entries, Gateway, SOON, Upstream, get};
use super::{config, start};

/// The exit code, and what was said.
async fn verify(gateway: &Gateway, arguments: &[&str]) -> (i32, Value) {
    let finished = gateway.run(&[&["verify", "--json"], arguments].concat(), "").await;
    let said = serde_json::from_str(&finished.stdout).unwrap_or_else(|why| panic!("{why}: {finished:?}"));
    (finished.code.unwrap(), said)
}

async fn plant(gateway: &Gateway, sql: &str) {
    let file = gateway.directory().join("data/tollgate.db");
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let changed = connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap().rows_affected();
    assert!(changed > 0, "{sql}");
}

#[tokio::test]
async fn a_drift_planted_by_hand_is_found_and_mended() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let (mut gateway, id, key) = start(&config(upstream.address, "")).await;
    for _ in 0..20 {
        get(gateway.data, "/page", &[("x-api-key", &key)]).await;
    }
    get(gateway.data, "/page", &[("x-api-key", "wrong")]).await;
    Entries::of(&gateway).await.at_least(21, SOON).await;
    let (code, said) = verify(&gateway, &[]).await;
    assert_eq!(
        (code, &said["ok"], &said["rows"], &said["drifted"]),
        (0, &json!(true), &json!(21), &json!(0))
    );
    assert!(said["sums"].as_u64().unwrap() > 3, "{said}");

    for (sql, sum) in [
        ("UPDATE usage SET admitted = admitted + 3 WHERE width = 300", "5m"),
        ("UPDATE usage SET credits = credits + 7 WHERE width = 86400", "day"),
        ("DELETE FROM usage", "5m"),
        ("UPDATE key_usage SET requests = requests + 5", "total"),
    ] {
        plant(&gateway, sql).await;
        let (code, said) = verify(&gateway, &[]).await;
        assert_eq!((code, &said["ok"], &said["repaired"]), (1, &json!(false), &json!(0)), "{sql}: {said}");
        assert!(said["drifts"].as_array().unwrap().iter().any(|drift| drift["sum"] == sum), "{sql}: {said}");
        // For people, with what to do about it.
        let finished = gateway.run(&["verify"], "").await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stdout.contains("tollgate verify --repair"), "{}", finished.stdout);
        let (code, said) = verify(&gateway, &["--repair"]).await;
        assert_eq!((code, &said["ok"], &said["running"]), (0, &json!(true), &json!(false)), "{sql}: {said}");
        assert_eq!(said["drifted"], said["repaired"], "{sql}: {said}");
        assert_eq!(verify(&gateway, &[]).await.0, 0, "{sql}");
    }
    assert_eq!(gateway.cli(&["key", "show", &id]).await["requests"], 20);
    gateway.stop().await;
    assert_eq!(verify(&gateway, &[]).await.0, 0);
}
