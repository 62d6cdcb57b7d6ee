//! The spool from outside: what is written comes out once, whatever happens in between.

mod batch;
mod codec;
mod export;
mod full;
mod kill;
mod record;
mod reuse;
mod shapes;
mod ship;
mod torn;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::Spool;
use super::writer::SpoolWriter;
use crate::config::{self, WhenFull};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row::{Admission, Row};
use crate::domain::time::Timestamp;

const KIB: u64 = 1024;
/// A segment that rolls soon.
const SMALL: u64 = 64 * KIB;

fn settings(dir: &Path, segment_bytes: u64, segments_max: u64) -> config::Logs {
    config::Logs {
        dir: dir.to_path_buf(),
        retention: Duration::from_secs(3600),
        spool_bytes_max: segment_bytes * segments_max,
        segment_bytes,
        when_full: WhenFull::Refuse,
        sync_every: Duration::from_millis(50),
        ship_every: Duration::from_millis(5),
        batch_rows_max: 100,
        export: config::Export::default(),
    }
}

fn spool(dir: &TempDir, segments_max: u64) -> Arc<Spool> {
    Spool::open(&settings(dir.path(), SMALL, segments_max)).unwrap()
}

/// As the gateway makes them.
pub(super) fn id_at(at: Timestamp, number: u64) -> RequestId {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let random = [0, 0, a, b, c, d, e, f, g, h];
    RequestId(uuid::Builder::from_unix_timestamp_millis(at.micros() / 1_000, &random).into_uuid())
}

fn id(number: u128) -> RequestId {
    RequestId(Uuid::from_u128(number))
}

fn admission(id: RequestId) -> Admission<'static> {
    Admission {
        id,
        at: Timestamp::from_seconds(1_800_000_000),
        key: Some(KeyId(Uuid::from_u128(7))),
        organization: Some(Cow::Borrowed("acme")),
        project: Some(Cow::Borrowed("default")),
        estimate: Cost { credits: 1, microcents: 300 },
    }
}

pub(super) fn row(id: RequestId) -> Row<'static> {
    Row {
        id,
        at: Timestamp::from_seconds(1_800_000_000),
        organization: Some(Cow::Borrowed("acme")),
        project: Some(Cow::Borrowed("default")),
        key: Some(KeyId(Uuid::from_u128(7))),
        admitted: true,
        method: Cow::Borrowed("POST"),
        path: Cow::Borrowed("/api/v1/scrape"),
        status: 200,
        code: Cow::Borrowed(""),
        outcome: Some(Outcome::Success),
        first_byte_micros: 12_345,
        total_micros: 23_456,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        cost: Cost { credits: 1, microcents: 300 },
        cost_source: CostSource::Header,
        tier: Some(Cow::Borrowed("3.5")),
        domain: Some(Cow::Borrowed("example.com")),
        bytes_in: 64,
        bytes_out: 1024,
        target: Some(Cow::Borrowed("127.0.0.1:3000")),
        user_agent: Some(Cow::Borrowed("curl/8.0")),
        job: None,
    }
}

/// Waits for the keeper or the shipper to have done something, at most ten seconds.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Writes admission and row, waiting for room.
fn write_pair(writer: &mut SpoolWriter, number: u128) {
    until("room", || writer.has_room());
    let ticket = writer.admitted(&admission(id(number))).unwrap();
    writer.finished(Some(ticket), &row(id(number)).as_ref()).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap() != "lock");
    files.sort();
    files
}
