//! Files of the version before sheets, and how rows are numbered.

use tempfile::TempDir;

use super::super::*;
use super::story;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::Shipment;
use crate::stores::record::reports::{LogFilter, ReportRecord as _, Scope, Span};
use crate::stores::record::upkeep::UpkeepRecord as _;

/// A file as the version before sheets left it: rows in a table, and the order of their arrival in another.
async fn older_file(path: &Path, rows: &[Row<'_>]) {
    drop(make_file(path).unwrap());
    let older = MIGRATIONS.iter().filter(|migration| migration.version < 3).cloned().collect::<Vec<_>>();
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    Migrator { migrations: older.into(), ..Migrator::DEFAULT }.run(&pool).await.unwrap();
    sqlx::query("INSERT INTO names VALUES (7, 1, 'GET')").execute(&pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    for (number, row) in rows.iter().enumerate() {
        let key = row.key.map_or(Vec::new(), |key| key.0.as_bytes().to_vec());
        sqlx::query("INSERT INTO scopes (kind, key, organization) VALUES (0, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&key)
            .bind(row.organization.as_deref().unwrap_or_default())
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO requests SELECT ?, ?, ?, number, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 7, ?, ?, ?, ?, ?, ?
             FROM scopes WHERE kind = 0 AND key = ? AND organization = ?",
        )
        .bind(log_rows::place_of(row.id) + i64::from(number == 5))
        .bind(row.id.0.as_bytes().to_vec())
        .bind(columns::micros(row.at))
        .bind(row.admitted)
        .bind(row.outcome.map(|outcome| outcome as i64))
        .bind(row.cost.credits as i64)
        .bind(row.cost.microcents as i64)
        .bind(row.cost_source as i64)
        .bind(row.status)
        .bind(row.first_byte_micros as i64)
        .bind(row.total_micros as i64)
        .bind(row.bytes_in as i64)
        .bind(row.bytes_out as i64)
        .bind(vec![127, 0, 0, 1])
        .bind(row.project.as_deref())
        .bind(row.path.as_ref())
        .bind(Some(row.code.as_ref()).filter(|code| !code.is_empty()))
        .bind(row.tier.as_deref())
        .bind(row.domain.as_deref())
        .bind(row.target.as_deref())
        .bind(row.user_agent.as_deref())
        .bind(&key)
        .bind(row.organization.as_deref().unwrap_or_default())
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    sqlx::query("INSERT INTO log_arrivals VALUES (41, 0, x'')").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn rows_of_an_older_version_are_taken_over() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let rows: Vec<_> = (0..700)
        .map(|n| Row {
            method: "GET".into(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            ..story::made_up(n)
        })
        .collect();
    older_file(&path, &rows).await;
    SqliteRecord::open(&path).await.unwrap().close().await;
    let record = SqliteRecord::open(&path).await.unwrap();
    let everything = LogFilter::all(Scope::Everything);
    let page = record.log_numbered(&everything, 1, 1_000).await.unwrap();
    assert_eq!(page.total, 700);
    assert!(page.rows.iter().rev().map(|found| &found.row).eq(&rows));
    assert_eq!(record.log_row(rows[5].id).await.unwrap().map(|found| found.row), Some(rows[5].clone()));
    let shown: i64 = sqlx::Row::get(
        &sqlx::query("SELECT count(*) FROM request_log WHERE method = 'GET'")
            .fetch_one(&record.readers)
            .await
            .unwrap(),
        0,
    );
    assert_eq!(shown, 700);
    // They were counted when they came, and are known when they come again; followers go on from where they were.
    let end = record.log_end().await.unwrap();
    assert!(end.0 >= 42 << 20);
    record.ship(&Shipment { rows: rows.clone().into(), ..Shipment::default() }).await.unwrap();
    let span = Span { since: Timestamp::default(), until: Timestamp::from_seconds(2_000_000_000) };
    assert_eq!(record.totals(&Scope::Everything, span).await.unwrap().requests(), 0);
    record.ship(&Shipment { rows: vec![story::made_up(700)].into(), ..Shipment::default() }).await.unwrap();
    assert_eq!(record.log_news(&everything, end, 10).await.unwrap().rows.len(), 1);
    assert_eq!(record.totals(&Scope::Everything, span).await.unwrap().requests(), 1);
}

#[tokio::test]
async fn numbers_go_on_where_every_row_was_dropped() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let rows = |from: u64| Shipment {
        rows: (from..from + 300).map(story::made_up).collect(),
        ..Shipment::default()
    };
    record.ship(&rows(0)).await.unwrap();
    let end = record.log_end().await.unwrap();
    let keep = story::keep_from(100 * 86_400);
    while record.prune(&keep).await.unwrap().more {}
    let shown = async || -> i64 {
        let count = sqlx::query("SELECT count(*) FROM requests").fetch_one(&record.readers).await.unwrap();
        sqlx::Row::get(&count, 0)
    };
    assert_eq!((shown().await, record.log_end().await.unwrap()), (0, end));
    record.ship(&rows(300)).await.unwrap();
    let news = record.log_news(&LogFilter::all(Scope::Everything), end, 1_000).await.unwrap();
    assert_eq!((shown().await, news.rows.len()), (300, 300));
}
