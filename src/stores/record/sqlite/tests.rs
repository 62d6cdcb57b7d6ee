//! The conformance story over SQLite, and the rows of this store's failure table.

mod sheets;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::domain::id::{KeyId, OrgId, ProjectId};
use crate::domain::time::Timestamp;
use crate::stores::record::reports::{ReportRecord as _, Scope, Span};
use crate::stores::record::story::{self, Handles};
use crate::stores::record::upkeep::UpkeepRecord as _;
use crate::stores::record::{Actor, GrantRecord as _, NewOrganization, OrganizationRecord as _, Shipment};

async fn two(dir: &TempDir) -> Handles {
    let path = dir.path().join("deep/er/tollgate.db");
    // At once, as two processes would.
    let (one, two) = tokio::join!(SqliteRecord::open(&path), SqliteRecord::open(&path));
    [Arc::new(one.unwrap()), Arc::new(two.unwrap())]
}

macro_rules! chapters {
    ($($chapter:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $chapter() {
            let dir = TempDir::new().unwrap();
            story::$chapter(two(&dir).await).await;
        }
    )*};
}

story::every_chapter!(chapters);

fn actor() -> Actor {
    Actor { who: "test".into(), from: String::new() }
}

fn acme() -> NewOrganization {
    NewOrganization {
        id: OrgId::parse("acme").unwrap(),
        name: "acme".into(),
        plan: "free".into(),
        default_project: ProjectId::parse("p").unwrap(),
    }
}

#[tokio::test]
async fn the_file_is_made_for_its_owner_only_and_survives_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new/tollgate.db");
    let record = SqliteRecord::open(&path).await.unwrap();
    record.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await.unwrap();
    for entry in std::fs::read_dir(dir.path().join("new")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    record.close().await;
    let record = SqliteRecord::open(&path).await.unwrap();
    assert_eq!(record.organizations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = SqliteRecord::open(&dir.path().join("file/tollgate.db")).await.unwrap_err();
    assert!(matches!(error, RecordError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let record = SqliteRecord::open(&path).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&record.writer)
    .await
    .unwrap();
    record.close().await;
    let error = SqliteRecord::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let text = "not a database, but long enough to be taken for the head of one".repeat(20);
    std::fs::write(&path, &text).unwrap();
    assert!(SqliteRecord::open(&path).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_column_that_this_program_never_wrote_is_named() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    record.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await.unwrap();
    sqlx::query("UPDATE organizations SET per_second = -1").execute(&record.writer).await.unwrap();
    let error = record.organization("acme").await.unwrap_err();
    assert!(matches!(&error, RecordError::Corrupt(text) if text.contains("per_second")), "{error:?}");
}

#[tokio::test]
async fn the_audit_trail_cannot_be_rewritten() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    record.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await.unwrap();
    for sql in ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"] {
        let error = sqlx::query(sql).execute(&record.writer).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_write_waits_for_another_process_only_so_long() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let [one, two] = [
        SqliteRecord::open(&path).await.unwrap(),
        SqliteRecord::open_waiting(&path, Duration::from_millis(20)).await.unwrap(),
    ];
    let turn = one.write().await.unwrap();
    let late = two.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await;
    assert!(matches!(late, Err(RecordError::Unavailable(_))), "{late:?}");
    // Reading waits for nobody.
    assert!(two.organizations().await.unwrap().is_empty());
    turn.rollback().await.unwrap();
    two.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await.unwrap();
}

#[tokio::test]
async fn a_list_of_one_organizations_keys_does_not_read_all_keys() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {}", sql::keys::OF_ORGANIZATION);
    let plan = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(false)
        .bind("acme")
        .fetch_one(&record.readers)
        .await
        .unwrap();
    let detail: String = sqlx::Row::try_get(&plan, "detail").unwrap();
    assert!(detail.contains("keys_of_organization"), "{detail}");
}

#[tokio::test]
async fn a_write_that_is_abandoned_never_happened() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    {
        let mut tx = record.write().await.unwrap();
        sql::organizations::insert(&mut tx, &acme(), &actor(), Timestamp::from_seconds(1)).await.unwrap();
    }
    assert!(record.organizations().await.unwrap().is_empty());
    assert_eq!(record.last_change().await.unwrap(), 0);
    assert!(record.create_organization(&acme(), &actor(), Timestamp::from_seconds(1)).await.is_ok());
}

/// How long a full batch takes: `cargo test --lib --release full_batch -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_full_batch_is_moved_quickly() {
    use crate::domain::cost::{Cost, CostSource};
    use crate::domain::id::RequestId;
    use crate::domain::row::Row;
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    for (batch, keys) in [1, 1, 100, 5_000, 5_000].into_iter().enumerate() {
        let row = |n: usize| Row {
            id: RequestId(Uuid::from_u128((batch * 5_000 + n) as u128)),
            at: Timestamp::from_seconds(1_800_000_000),
            organization: Some("acme".into()),
            project: Some("3f2b8c1e-7a4d-4a1e-9a57-0a8c5c2f9e11".into()),
            key: Some(KeyId(Uuid::from_u128((n % keys) as u128))),
            admitted: true,
            method: "POST".into(),
            path: "/api/v1/scrape".into(),
            status: 200,
            code: "".into(),
            outcome: None,
            first_byte_micros: 1_000,
            total_micros: 2_000,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            cost: Cost::default(),
            cost_source: CostSource::Json,
            tier: Some("3.5".into()),
            domain: Some("www.example.com".into()),
            bytes_in: 100,
            bytes_out: 1_000,
            target: Some("127.0.0.1:3000".into()),
            user_agent: Some("python-requests/2.31.0".into()),
            job: None,
        };
        let shipment = Shipment { rows: (0..5_000).map(row).collect(), ..Shipment::default() };
        let start = std::time::Instant::now();
        record.ship(&shipment).await.unwrap();
        println!("5,000 rows of {keys} keys: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_row_is_read_as_it_was_written() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let row = story::written();
    record.ship(&Shipment { rows: vec![row.clone()].into(), ..Shipment::default() }).await.unwrap();
    let logged = record.log_row(row.id).await.unwrap().unwrap();
    assert_eq!(logged.row, row);
    assert_eq!(logged.place.0, 1_800_000_001_000 << 21 | 5);
    for (outcome, number) in crate::domain::cost::Outcome::ALL.into_iter().zip(0..) {
        assert_eq!(outcome as i32, number, "the migration tells these numbers");
    }
    for (source, number) in crate::domain::cost::CostSource::ALL.into_iter().zip(0..) {
        assert_eq!(source as i32, number, "the migration tells these numbers");
    }
}

#[tokio::test]
async fn a_drift_planted_by_hand_is_found_and_repaired() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let rows: Vec<_> = (0..500).map(story::made_up).collect();
    record.ship(&Shipment { rows: rows.into(), ..Shipment::default() }).await.unwrap();
    let span = Span { since: Timestamp::default(), until: Timestamp::from_seconds(2_000_000_000) };
    let before = record.totals(&Scope::Everything, span).await.unwrap();
    let a_cell =
        "(scope, width, cell) IN (SELECT scope, width, cell FROM usage JOIN scopes ON number = scope";
    for (planted, drifted) in [
        (
            format!(
                "UPDATE usage SET admitted = admitted + 3 WHERE {a_cell} WHERE kind = 0 AND width = 300 LIMIT 1)"
            ),
            1,
        ),
        (
            format!(
                "UPDATE usage SET microcents = 0 WHERE {a_cell} WHERE kind = 0 AND width = 300 LIMIT 700)"
            ),
            2,
        ),
        (format!("DELETE FROM usage WHERE {a_cell} WHERE kind = 0 AND width = 300 LIMIT 2)"), 2),
        (format!("UPDATE usage SET parts = x'' WHERE {a_cell} WHERE kind = 1 AND width = 300 LIMIT 1)"), 1),
        (format!("UPDATE usage SET refused = 77 WHERE {a_cell} WHERE kind = 2 AND width = 300 LIMIT 1)"), 1),
        (format!("DELETE FROM usage WHERE {a_cell} WHERE width = 86400 LIMIT 3)"), 3),
        ("INSERT INTO usage VALUES (1, 300, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, x'')".into(), 1),
        ("UPDATE key_usage SET requests = requests + 1".into(), 3),
        ("DELETE FROM key_usage".into(), 3),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(planted.clone())).execute(&record.writer).await.unwrap();
        let found = record.verify(false).await.unwrap();
        assert!(found.drifted >= drifted && found.repaired == 0, "{planted}: {found:?}");
        assert!(found.drifts.len() as u64 == found.drifted, "{planted}");
        let repaired = record.verify(true).await.unwrap();
        assert!(
            repaired.repaired == repaired.drifted && repaired.repaired >= drifted,
            "{planted}: {repaired:?}"
        );
        assert_eq!(record.verify(false).await.unwrap().drifted, 0, "{planted}");
        assert_eq!(record.totals(&Scope::Everything, span).await.unwrap(), before, "{planted}");
    }
}

#[tokio::test]
async fn the_log_waits_for_another_process_only_so_long_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tollgate.db");
    let one = SqliteRecord::open(&path).await.unwrap();
    let two = SqliteRecord::open_waiting(&path, Duration::from_millis(20)).await.unwrap();
    let shipment = || Shipment { rows: vec![story::written()].into(), ..Shipment::default() };
    let turn = one.write().await.unwrap();
    let late = two.ship(&shipment()).await;
    assert!(matches!(late, Err(RecordError::Unavailable(_))), "{late:?}");
    turn.rollback().await.unwrap();
    two.ship(&shipment()).await.unwrap();
    assert_eq!(one.admitted_since(Timestamp::from_seconds(1)).await.unwrap().len(), 1);
    two.close().await;
    assert!(two.ship(&shipment()).await.is_err(), "closed is closed");
}

#[tokio::test]
async fn the_sums_of_an_organization_are_found_without_reading_those_of_all() {
    let dir = TempDir::new().unwrap();
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT key FROM usage_5m WHERE organization = 'o7' AND cell >= 1";
    let plan = sqlx::query(sql).fetch_all(&record.readers).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|line| sqlx::Row::get(line, "detail")).collect();
    assert!(plan.iter().any(|line| line.contains("INDEX scopes_of_organization")), "{plan:?}");
}
