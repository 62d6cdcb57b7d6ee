//! The request log as the record has it, and what `/metrics` says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::client::get;
use super::{Gateway, wait_until};

/// A row of the request log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The request's id, as in `X-Request-Id`.
    pub id: String,
    /// When it was admitted or refused, in microseconds.
    pub at: i64,
    /// The key's id.
    pub key: Option<String>,
    pub admitted: bool,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub code: String,
    pub outcome: Option<String>,
    pub credits: i64,
    pub microcents: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub user_agent: Option<String>,
}

/// The record of a gateway, read beside it.
pub struct Entries {
    pool: SqlitePool,
}

impl Entries {
    /// Opens the record of `gateway`, which must have the default address.
    pub async fn of(gateway: &Gateway) -> Self {
        let file = gateway.directory().join("data/tollgate.db");
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10));
        Self { pool: SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap() }
    }

    /// Every row, in the order of time.
    pub async fn all(&self) -> Vec<Entry> {
        let rows =
            sqlx::query("SELECT * FROM request_log ORDER BY at, id").fetch_all(&self.pool).await.unwrap();
        let id = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap().to_string();
        let entry = |row: &sqlx::sqlite::SqliteRow| Entry {
            id: id(row.get("id")),
            at: row.get("at"),
            key: row.get::<Option<&[u8]>, _>("key").map(id),
            admitted: row.get("admitted"),
            method: row.get("method"),
            path: row.get("path"),
            status: row.get("status"),
            code: row.get("code"),
            outcome: row.get("outcome"),
            credits: row.get("credits"),
            microcents: row.get("microcents"),
            bytes_in: row.get("bytes_in"),
            bytes_out: row.get("bytes_out"),
            user_agent: row.get("user_agent"),
        };
        rows.iter().map(entry).collect()
    }

    /// Waits until there are `count` rows or more, and reads them all.
    pub async fn at_least(&self, count: usize, within: Duration) -> Vec<Entry> {
        wait_until(&format!("{count} rows in the record"), within, async || {
            self.number("SELECT count(*) FROM requests").await >= count as i64
        })
        .await;
        self.all().await
    }

    /// The one number that `sql` asks for.
    pub async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    /// Keeps every other process from writing to the record until what is returned is dropped or released.
    pub async fn lock(gateway: &Gateway) -> Locked {
        let own = Self::of(gateway).await;
        sqlx::query("BEGIN IMMEDIATE").execute(&own.pool).await.unwrap();
        Locked { own }
    }
}

/// A record that only this test may write to.
pub struct Locked {
    own: Entries,
}

impl Locked {
    /// Lets the others write again.
    pub async fn release(self) {
        sqlx::query("ROLLBACK").execute(&self.own.pool).await.unwrap();
        self.own.pool.close().await;
    }
}

/// Every sample of `/metrics` by its name and labels.
pub async fn metrics(control: SocketAddr) -> BTreeMap<String, f64> {
    let text = get(control, "/metrics", &[]).await.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap_or_else(|why| panic!("{line}: {why}")))
        })
        .collect()
}

/// The sum of every sample whose name and labels begin with `name`.
pub fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    metrics.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
}
