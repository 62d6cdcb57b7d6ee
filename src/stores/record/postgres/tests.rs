//! The conformance story over PostgreSQL, and the rows of this store's failure table.

#[path = "../../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "what only integration tests need")]
mod server;

use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use self::server::Postgres;
use super::*;
use crate::config::{Masked, Record, RecordUrl};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::places;
use crate::stores::record::reports::ReportRecord as _;
use crate::stores::record::story::{self, Handles};
use crate::stores::record::upkeep::{Keep, UpkeepRecord as _};
use crate::stores::record::{
    Actor, Change, GrantRecord as _, NewOrganization, OrganizationRecord as _, Shipment,
};

fn settings(url: &str) -> Record {
    Record {
        url: RecordUrl::Postgres(Masked(url.to_owned())),
        connections_max: 8,
        connect_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(20),
    }
}

async fn open(server: &Postgres) -> PostgresRecord {
    let url = server.url();
    PostgresRecord::open(&Masked(url.clone()), &settings(&url)).await.unwrap()
}

async fn two(server: &Postgres) -> Handles {
    // At once, as two processes would.
    let (one, two) = tokio::join!(open(server), open(server));
    [Arc::new(one), Arc::new(two)]
}

macro_rules! chapters {
    ($($chapter:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $chapter() {
            let server = Postgres::start();
            story::$chapter(two(&server).await).await;
        }
    )*};
}

story::every_chapter!(chapters);

fn actor() -> Actor {
    Actor { who: "test".into(), from: String::new() }
}

fn org(id: &str) -> NewOrganization {
    NewOrganization {
        id: OrgId::parse(id).unwrap(),
        name: id.into(),
        plan: "free".into(),
        default_project: ProjectId::parse(&format!("{id}-p")).unwrap(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_at_once_make_the_tables_of_an_empty_database_once() {
    let server = Postgres::start();
    let records: Vec<_> = (0..12)
        .map(|n| {
            let url = server.url();
            tokio::spawn(async move {
                let record = PostgresRecord::open(&Masked(url.clone()), &settings(&url)).await.unwrap();
                record.create_organization(&org(&format!("org-{n}")), &actor(), now()).await.unwrap();
                record
            })
        })
        .collect();
    for record in records {
        let record = record.await.unwrap();
        assert!(record.organizations().await.unwrap().len() <= 12);
        record.close().await;
    }
    let record = open(&server).await;
    assert_eq!(record.organizations().await.unwrap().len(), 12);
    let applied = sqlx::query("SELECT count(*) FROM _sqlx_migrations").fetch_one(&record.pool).await.unwrap();
    assert_eq!(applied.get::<i64, _>(0), MIGRATIONS.iter().count() as i64);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let server = Postgres::start();
    let record = open(&server).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', true, '', 0)",
    )
    .execute(&record.pool)
    .await
    .unwrap();
    let url = server.url();
    let error = PostgresRecord::open(&Masked(url.clone()), &settings(&url)).await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// What a writer of its own would do who takes no turn: its change gets the lower number and is committed last.
#[tokio::test]
async fn a_change_committed_late_is_not_numbered_before_one_that_was_read() {
    let server = Postgres::start();
    let (one, two) = (open(&server).await, open(&server).await);
    let mut early = one.write().await.unwrap();
    sql::trail::organization_changed(&mut early, &OrgId::parse("early").unwrap(), now()).await.unwrap();
    let late = tokio::spawn({
        let two = two.clone();
        async move { two.create_organization(&org("late"), &actor(), now()).await.unwrap() }
    });
    // The second writer waits for its turn, which the server tells.
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    loop {
        let row = sqlx::query(waiting).fetch_one(&one.pool).await.unwrap();
        if row.get::<i64, _>(0) == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(two.changes_after(0, 10).await.unwrap(), [], "nothing is visible before it is its turn");
    assert_eq!(two.last_change().await.unwrap(), 0);
    early.commit().await.unwrap();
    late.await.unwrap();
    let seen: Vec<Change> = two.changes_after(0, 10).await.unwrap();
    let subjects: Vec<_> = seen.iter().map(|change| format!("{:?}", change.subject)).collect();
    assert_eq!(subjects.len(), 2, "{seen:?}");
    assert!(subjects[0].contains("early") && subjects[1].contains("late"), "{seen:?}");
}

#[tokio::test]
async fn a_column_that_this_program_never_wrote_is_named() {
    let server = Postgres::start();
    let record = open(&server).await;
    record.create_organization(&org("acme"), &actor(), now()).await.unwrap();
    sqlx::query("UPDATE organizations SET per_second = -1").execute(&record.pool).await.unwrap();
    let error = record.organization("acme").await.unwrap_err();
    assert!(matches!(&error, RecordError::Corrupt(text) if text.contains("per_second")), "{error:?}");
}

#[tokio::test]
async fn the_audit_trail_cannot_be_rewritten() {
    let server = Postgres::start();
    let record = open(&server).await;
    record.create_organization(&org("acme"), &actor(), now()).await.unwrap();
    for sql in ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"] {
        let error = sqlx::query(sql).execute(&record.pool).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_write_that_is_abandoned_never_happened() {
    let server = Postgres::start();
    let record = open(&server).await;
    {
        let mut tx = record.write().await.unwrap();
        sql::organizations::insert(&mut tx, &org("acme"), &actor(), now()).await.unwrap();
    }
    assert!(record.organizations().await.unwrap().is_empty());
    assert_eq!(record.last_change().await.unwrap(), 0);
    assert!(record.create_organization(&org("acme"), &actor(), now()).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_told() {
    let server = Postgres::start();
    let url = server.url().replace(server::PASSWORD, "not-the-password");
    let error = PostgresRecord::open(&Masked(url.clone()), &settings(&url)).await.unwrap_err();
    assert!(matches!(error, RecordError::Unavailable(_)) && !error.is_away(), "{error:?}");
    let told = format!("{error} {error:?} {:?}", settings(&url));
    assert!(told.contains("password authentication failed") && !told.contains("not-the-password"), "{told}");
    assert!(!format!("{:?}", open(&server).await).contains(server::PASSWORD));
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_nothing_until_it_is_reached() {
    let mut server = Postgres::start();
    let url = server.url();
    server.kill();
    let record = PostgresRecord::new(&Masked(url.clone()), &settings(&url)).unwrap();
    let error = record.reach().await.unwrap_err();
    assert!(error.is_away(), "{error:?}");
    let error = record.organization("acme").await.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("not reached since the start"), "{error}");
    server.start_again();
    // It is there, and nobody has looked at it yet.
    let made = Shipment::default();
    for error in [record.last_change().await.unwrap_err(), record.ship(&made).await.unwrap_err()] {
        assert!(error.to_string().contains("not reached"), "{error}");
    }
    record.reach().await.unwrap();
    assert_eq!(record.last_change().await.unwrap(), 0);
    record.ship(&made).await.unwrap();
    record.reach().await.unwrap();
}

#[tokio::test]
async fn a_server_of_a_newer_version_that_comes_later_is_left_alone() {
    let server = Postgres::start();
    let newer = open(&server).await;
    sqlx::query("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1")
        .execute(&newer.pool)
        .await
        .unwrap();
    let url = server.url();
    let record = PostgresRecord::new(&Masked(url.clone()), &settings(&url)).unwrap();
    let error = record.reach().await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("newer version"), "{error}");
    let error = record.last_change().await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_found_again() {
    let server = Postgres::start();
    let url = server.url();
    let settings = Record {
        connect_timeout: Duration::from_millis(500),
        answer_timeout: Duration::from_millis(500),
        ..settings(&url)
    };
    let record = PostgresRecord::open(&Masked(url), &settings).await.unwrap();
    record.create_organization(&org("acme"), &actor(), now()).await.unwrap();
    server.freeze();
    for _ in 0..20 {
        let error = record.organization("acme").await.unwrap_err();
        assert!(matches!(error, RecordError::Unavailable(_)), "{error:?}");
    }
    let error = record.create_organization(&org("lost"), &actor(), now()).await.unwrap_err();
    assert!(matches!(error, RecordError::Unavailable(_)), "{error:?}");
    server.thaw();
    let back = std::time::Instant::now();
    while record.organization("acme").await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10), "not found again");
    }
}

#[tokio::test]
async fn dead_connections_are_found_before_they_are_used() {
    let mut server = Postgres::start();
    let record = open(&server).await;
    record.create_organization(&org("acme"), &actor(), now()).await.unwrap();
    record.ship(&Shipment { rows: vec![story::written()].into(), ..Shipment::default() }).await.unwrap();
    for _ in 0..2 {
        server.kill();
        assert!(record.organization("acme").await.is_err());
        server.start_again();
        record.organization("acme").await.unwrap();
        // The log's own connection says so once, and is made anew.
        let twice = Shipment { rows: vec![story::written()].into(), ..Shipment::default() };
        let shipped = record.ship(&twice).await;
        assert!(shipped.is_err() && record.ship(&twice).await.is_ok(), "{shipped:?}");
    }
    assert_eq!(record.admitted_since(Timestamp::from_seconds(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_is_read_as_it_was_written() {
    let server = Postgres::start();
    let record = open(&server).await;
    let row = story::written();
    record.ship(&Shipment { rows: vec![row.clone()].into(), ..Shipment::default() }).await.unwrap();
    let seen =
        sqlx::query("SELECT *, host(address) AS host FROM requests").fetch_one(&record.pool).await.unwrap();
    let int = |name: &str| seen.try_get::<i64, _>(name).unwrap();
    let short = |name: &str| seen.try_get::<i16, _>(name).unwrap();
    let text = |name: &str| seen.try_get::<Option<String>, _>(name).unwrap();
    assert_eq!(seen.get::<Uuid, _>("id"), row.id.0);
    assert_eq!(seen.get::<Uuid, _>("key"), row.key.unwrap().0);
    assert!(seen.get::<bool, _>("admitted"));
    let numbers = [
        ("at", row.at.micros()),
        ("credits", row.cost.credits),
        ("microcents", row.cost.microcents),
        ("first_byte_micros", row.first_byte_micros),
        ("total_micros", row.total_micros),
        ("bytes_in", row.bytes_in),
        ("bytes_out", row.bytes_out),
    ];
    for (name, value) in numbers {
        assert_eq!(int(name) as u64, value, "{name}");
    }
    let shorts = [
        ("outcome", row.outcome.unwrap() as u16),
        ("cost_source", row.cost_source as u16),
        ("status", row.status),
    ];
    for (name, value) in shorts {
        assert_eq!(short(name) as u16, value, "{name}");
    }
    let texts = [
        ("organization", row.organization.clone()),
        ("project", row.project.clone()),
        ("method", Some(row.method.clone())),
        ("path", Some(row.path.clone())),
        ("code", None),
        ("tier", row.tier.clone()),
        ("domain", row.domain.clone()),
        ("target", row.target.clone()),
        ("user_agent", row.user_agent.clone()),
        ("host", Some(row.address.to_string().into())),
    ];
    for (name, value) in texts {
        assert_eq!(text(name).as_deref(), value.as_deref(), "{name}");
    }
    assert_eq!(int("place"), 1_800_000_001_000 << 21 | 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_shippers_add_to_the_same_sums() {
    const EACH: u64 = 20;
    let server = Postgres::start();
    let shippers: Vec<_> = (0..4)
        .map(|node: u64| {
            let url = server.url();
            tokio::spawn(async move {
                let record = PostgresRecord::open(&Masked(url.clone()), &settings(&url)).await.unwrap();
                for batch in 0..EACH {
                    let rows = (0..50).map(|n| story::numbered(node << 32 | batch << 16 | n)).collect();
                    let cursor = Some((format!("{node}"), batch));
                    let shipment = Shipment { rows, cursor, ..Shipment::default() };
                    record.ship(&shipment).await.unwrap();
                    record.ship(&shipment).await.unwrap();
                }
            })
        })
        .collect();
    for shipper in shippers {
        shipper.await.unwrap();
    }
    let record = open(&server).await;
    let (cells, totals) = record.usage_since(Timestamp::from_seconds(1)).await.unwrap();
    assert_eq!(cells.iter().map(|cell| cell.admitted).sum::<u64>(), 4 * EACH * 50);
    assert_eq!(totals.iter().map(|(.., total)| total).sum::<u64>(), 4 * EACH * 50);
    assert_eq!(record.cursors().await.unwrap().len(), 4);
    assert_eq!(record.verify(false).await.unwrap().drifted, 0);
}

#[tokio::test]
async fn a_day_that_is_older_than_the_retention_is_dropped_as_a_whole() {
    let server = Postgres::start();
    let record = open(&server).await;
    let rows: Vec<_> = (0..3_000).map(story::made_up).collect();
    record.ship(&Shipment { rows: rows.into(), ..Shipment::default() }).await.unwrap();
    let partitions = async || {
        let sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'requests'::regclass ORDER BY 1";
        let rows = sqlx::query(sql).fetch_all(&record.pool).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>()
    };
    let before = partitions().await;
    assert!(before.len() > 20, "{before:?}");
    let day = Duration::from_secs(86_400);
    let cutoff = now().plus(10 * day);
    let keep = Keep {
        rows_since: cutoff,
        news_since: now(),
        news_read: None,
        cells_since: now(),
        changes_since: now(),
        ended_since: now(),
    };
    record.prune(&keep).await.unwrap();
    let first = partitions::name_of(partitions::day_of(places::first_place(cutoff)));
    let kept: Vec<_> = before.into_iter().filter(|name| *name >= first).collect();
    assert_eq!(partitions().await, kept, "whole days go, and the one that the cut lies in stays");
}

#[tokio::test]
async fn what_a_gateway_left_open_that_never_came_back_is_ended_by_another() {
    let server = Postgres::start();
    let record = open(&server).await;
    let (gone, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let admission = Admission {
        id: story::written().id,
        at: now(),
        key: None,
        organization: None,
        project: None,
        estimate: crate::domain::cost::Cost::default(),
    };
    let left = Shipment { spool: gone, carried: vec![admission.clone()], ..Shipment::default() };
    record.ship(&left).await.unwrap();
    let silent = async |hours: i32| {
        let sql = "UPDATE spools SET seen_at = now() - make_interval(hours => $1)";
        sqlx::query(sql).bind(hours).execute(&record.pool).await.unwrap();
    };
    silent(23).await;
    assert_eq!(record.carried(other).await.unwrap(), []);
    silent(25).await;
    assert_eq!(record.carried(other).await.unwrap(), [admission]);
    assert_eq!(record.carried(gone).await.unwrap(), [], "it is the other's now");
}

#[tokio::test]
async fn what_postgresql_cannot_hold_is_kept_as_near_as_it_can() {
    let server = Postgres::start();
    let record = open(&server).await;
    let row = crate::domain::row::Row { path: "/a\0b".into(), ..story::written() };
    record.ship(&Shipment { rows: vec![row.clone()].into(), ..Shipment::default() }).await.unwrap();
    let seen = record.log_row(row.id).await.unwrap().unwrap();
    assert_eq!(seen.row.path, "/a\u{fffd}b");
}

#[tokio::test]
async fn the_sums_of_an_organization_are_found_without_reading_those_of_all() {
    let server = Postgres::start();
    let record = open(&server).await;
    let many = "INSERT INTO scopes (kind, key, organization)
                SELECT 0, gen_random_uuid(), 'o' || n % 500 FROM generate_series(1, 5000) n";
    sqlx::query(many).execute(&record.pool).await.unwrap();
    sqlx::query("ANALYZE scopes").execute(&record.pool).await.unwrap();
    let asked = "EXPLAIN SELECT number FROM scopes WHERE kind = 0 AND organization = 'o7'";
    let plan = sqlx::query(asked).fetch_all(&record.pool).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("scopes_of_organization")), "{plan:?}");
}
