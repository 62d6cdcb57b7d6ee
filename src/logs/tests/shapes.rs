//! What rows have in common is said once, and they are in the record as if it were said by each.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{SMALL, id_at, row, settings, until};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::KeyId;
use crate::domain::row::{Admission, Row, TEXT_BYTES_MAX};
use crate::domain::time::Timestamp;
use crate::logs::codec::SHAPES_MAX;
use crate::logs::writer::SpoolWriter;
use crate::logs::{Shipper, Spool, recover};
use crate::stores::record::reports::{LogFilter, ReportRecord as _, Scope};
use crate::stores::record::sqlite::SqliteRecord;
use crate::stores::record::upkeep::UpkeepRecord as _;

const LONG: Duration = Duration::from_secs(30);

/// A row that has each thing in common with some others and not with all of them; some have nothing.
fn various(n: u64) -> Row<'static> {
    let some = |every: u64, text: String| n.is_multiple_of(every).then_some(Cow::Owned(text));
    let at = Timestamp::from_micros(1_800_000_000_000_000 + n * 400);
    let (key, tenth) = (n * 7 % 5, n / 10 % 3);
    let refused = n % 9 == 4;
    let long = "x".repeat(if n % 31 == 3 { TEXT_BYTES_MAX - 8 } else { 0 });
    Row {
        at,
        organization: (n % 13 != 5).then(|| ["acme", "globex"][key as usize % 2].into()),
        project: (n % 13 != 5).then(|| ["p", "q", "r"][tenth as usize].into()),
        key: (n % 13 != 5).then(|| KeyId(Uuid::from_u128(100 + u128::from(key)))),
        admitted: !refused,
        method: ["GET", "POST"][(n % 6 / 5) as usize].into(),
        path: if n % 17 == 8 { format!("/{n}{long}").into() } else { format!("/{tenth}{long}").into() },
        status: if refused { 429 } else { 200 },
        code: if refused { "rate_limited_second" } else { "" }.into(),
        outcome: (!refused).then_some(if n % 8 == 1 { Outcome::Failure } else { Outcome::Success }),
        first_byte_micros: n * 3,
        total_micros: n << (n % 40),
        address: match n % 14 {
            0 => IpAddr::V6(Ipv6Addr::from_bits(u128::from(n))),
            1 => IpAddr::V4(Ipv4Addr::from_bits(n as u32)),
            _ => IpAddr::V4(Ipv4Addr::new(192, 0, 2, key as u8)),
        },
        cost: Cost { credits: n % 12 / 11, microcents: 300 * (n % 10 / 9) },
        cost_source: [CostSource::Header, CostSource::Status][(n % 4 / 3) as usize],
        tier: some(3, tenth.to_string()),
        domain: some(2, format!("{}.example", n % 7)),
        bytes_in: n % 3,
        bytes_out: n * 100,
        target: some(5, "127.0.0.1:3000".into()),
        // Too long, with some paths, to get a number.
        user_agent: some(4, format!("curl/8.0 {}", &long[..long.len().min(200)])),
        job: None,
        ..row(id_at(at, n))
    }
}

fn admission<'r>(row: &Row<'r>) -> Admission<'r> {
    let Row { id, at, key, .. } = *row;
    let (organization, project) = (row.organization.clone(), row.project.clone());
    Admission { id, at, key, organization, project, estimate: row.cost }
}

/// Writes rows down, each ended some requests after it was admitted.
fn write(writer: &mut SpoolWriter, rows: &[Row<'_>]) {
    for some in rows.chunks(8) {
        let mut begun: Vec<_> = some.iter().map(|row| (row, None)).collect();
        for (row, ticket) in begun.iter_mut().filter(|(row, _)| row.admitted) {
            until("room", || writer.has_room());
            *ticket = Some(writer.admitted(&admission(row)).unwrap());
        }
        for (row, ticket) in begun.into_iter().rev() {
            until("room", || row.admitted || writer.has_room());
            writer.finished(ticket, &row.as_ref()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_in_the_record_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let record = Arc::new(SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap());
    let open = || Spool::open(&settings(&dir.path().join("spool"), SMALL, 40)).unwrap();
    let rows: Vec<_> = (0..6_000).map(various).collect();
    let spool = open();
    let mut writer = spool.writer(0).unwrap();
    let mut shipper = Shipper::new(Arc::clone(&spool), record.clone());
    for some in rows[..4_000].chunks(700) {
        write(&mut writer, some);
        shipper.drain(LONG).await.unwrap();
    }
    // What the next process finds, which was in no hurry.
    write(&mut writer, &rows[4_000..]);
    drop((shipper, writer, spool));
    let found = recover(&open(), &*record).await.unwrap();
    assert_eq!((found.rows, found.crashed, found.damaged), (2_000, 0, Vec::new()));

    let mut logged = Vec::new();
    for page in 1..=6 {
        let page = record.log_numbered(&LogFilter::all(Scope::Everything), page, 1_000).await.unwrap();
        assert_eq!(page.total, 6_000);
        logged.extend(page.rows.into_iter().map(|logged| logged.row));
    }
    logged.sort_by_key(|row| row.id);
    assert_eq!(logged.len(), 6_000);
    for (logged, row) in logged.iter().zip(&rows) {
        assert_eq!(logged, row);
    }
    assert_eq!(record.verify(false).await.unwrap().drifted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_shapes_than_get_a_number_are_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let record = Arc::new(SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap());
    let spool = Spool::open(&settings(&dir.path().join("spool"), 64 * SMALL, 4)).unwrap();
    let mut writer = spool.writer(0).unwrap();
    let most = SHAPES_MAX as u64;
    let hostile = |n: u64| Row { path: format!("/{}", n % (most + 500)).into(), ..various(n) };
    let rows: Vec<_> = (0..2 * most + 1_000).map(hostile).collect();
    write(&mut writer, &rows);
    let mut shipper = Shipper::new(Arc::clone(&spool), record.clone());
    shipper.drain(LONG).await.unwrap();
    assert_eq!(spool.counts().lost(), 0);
    for row in rows.iter().step_by(97) {
        assert_eq!(record.log_row(row.id).await.unwrap().map(|logged| logged.row).as_ref(), Some(row));
    }
    assert_eq!(record.verify(false).await.unwrap().drifted, 0);
}
