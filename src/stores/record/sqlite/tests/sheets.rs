//! Files of the version before sheets, and how rows are numbered.

use tempfile::TempDir;

use super::super::*;
use super::story;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::Shipment;
use crate::stores::record::packed;
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

/// Makes a file what the version before shapes left: rows of sheets written out, and blocks of the first form, by scope.
fn without_shapes(path: &Path) {
    let mut db = rusqlite::Connection::open(path).unwrap();
    let tx = db.transaction().unwrap();
    let rows: Vec<(i64, Vec<u8>)> = tx
        .prepare(
            "SELECT r.sheet, jsonb_array(
                 r.at - s.base, r.scope, r.admitted + coalesce(r.outcome + 1, 0) * 2 + r.cost_source * 16 + r.status * 256,
                 r.credits, r.microcents, r.first_byte_micros, r.total_micros, r.bytes_in, r.bytes_out, lower(hex(r.address)),
                 r.project, r.method, r.path, r.code, r.tier, r.domain, r.target, r.user_agent, 0)
             FROM requests r JOIN log_sheets s ON s.first = r.sheet ORDER BY r.number",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for sheet in rows.chunk_by(|(one, _), (next, _)| one == next) {
        let elements: Vec<u8> = sheet.iter().flat_map(|(_, row)| row).copied().collect();
        // Of an array, with its length in four bytes.
        let array = [&[14 << 4 | 11][..], &(elements.len() as u32).to_be_bytes(), &elements].concat();
        let change = "UPDATE log_sheets SET shapes = NULL, rows = ? WHERE first = ?";
        tx.execute(change, (array, sheet[0].0)).unwrap();
    }
    let blocks: Vec<(u32, i64, Vec<u8>)> = tx
        .prepare("SELECT scope, first, entries FROM log_blocks")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (scope, first, bytes) in blocks {
        let mut entries = Vec::new();
        log_blocks::decode(&bytes, first, &mut entries).unwrap();
        let (mut out, mut place, mut number) = (Vec::new(), first, 0);
        for entry in entries {
            let further = entry.number - number;
            let numbers = [
                entry.place.abs_diff(place),
                packed::zigzag(further),
                u64::from(entry.status) << 1 | u64::from(entry.success),
                entry.tier.number(),
                entry.domain.number(),
            ];
            numbers.into_iter().for_each(|number| packed::put(&mut out, number));
            (place, number) = (entry.place, entry.number);
        }
        assert_eq!(out[0], 0, "what the form is known by");
        let change = "UPDATE log_blocks SET entries = ? WHERE scope = ? AND first = ?";
        tx.execute(change, (out, scope, first)).unwrap();
    }
    tx.execute_batch(
        "CREATE TABLE blocks (
             scope INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, size INTEGER NOT NULL,
             success INTEGER NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (scope, first)
         ) STRICT, WITHOUT ROWID;
         INSERT INTO blocks SELECT scope, first, last, size, success, entries FROM log_blocks;
         DROP TABLE log_blocks;
         ALTER TABLE blocks RENAME TO log_blocks;
         DELETE FROM _sqlx_migrations WHERE version >= 8;",
    )
    .unwrap();
    tx.commit().unwrap();
}

#[tokio::test]
async fn sheets_without_shapes_are_read_and_others_stand_behind_them() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let rows: Vec<_> = (0..1_400).map(story::made_up).collect();
    let ship = async |record: &SqliteRecord, rows: &[Row<'static>]| {
        record.ship(&Shipment { rows: rows.to_vec().into(), ..Shipment::default() }).await.unwrap();
    };
    let record = SqliteRecord::open(&path).await.unwrap();
    ship(&record, &rows[..700]).await;
    record.close().await;
    without_shapes(&path);
    let record = SqliteRecord::open(&path).await.unwrap();
    let everything = LogFilter::all(Scope::Everything);
    let shown = async |count: usize| {
        let (newer, older) =
            tokio::join!(record.log_numbered(&everything, 1, 800), record.log_numbered(&everything, 2, 800));
        let found = [newer.unwrap().rows, older.unwrap().rows].concat();
        assert!(found.iter().rev().map(|found| &found.row).eq(&rows[..count]), "{count} rows");
        let sql = "SELECT count(*) FROM request_log WHERE method = 'GET'";
        let named = sqlx::query(sql).fetch_one(&record.readers).await.unwrap();
        let expected = rows[..count].iter().filter(|row| row.method == "GET").count();
        assert_eq!(sqlx::Row::get::<i64, _>(&named, 0), expected as i64);
    };
    shown(700).await;
    // In two batches, of which the second goes on with the sheet of the first; and what is known comes again.
    ship(&record, &rows[600..900]).await;
    shown(900).await;
    ship(&record, &rows[800..]).await;
    shown(1_400).await;
    assert_eq!(record.verify(false).await.unwrap().drifted, 0);
}
