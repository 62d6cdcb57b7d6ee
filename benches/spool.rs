//! What the request log costs an I/O thread: one admission and one row, into the spool.

#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::borrow::Cow;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::config::{Export, Logs, WhenFull};
use tollgate::domain::cost::{Cost, CostSource, Outcome};
use tollgate::domain::id::{KeyId, RequestId};
use tollgate::domain::row::{Admission, Row};
use tollgate::domain::time::Timestamp;
use tollgate::logs::Spool;
use uuid::Uuid;

fn settings(dir: &Path) -> Logs {
    Logs {
        dir: dir.to_path_buf(),
        retention: Duration::from_secs(3600),
        spool_bytes_max: 16 << 30,
        segment_bytes: 16 << 20,
        when_full: WhenFull::Refuse,
        sync_every: Duration::from_secs(1),
        ship_every: Duration::from_millis(200),
        batch_rows_max: 1000,
        export: Export::default(),
    }
}

fn admission(number: u128) -> Admission<'static> {
    Admission {
        id: RequestId(Uuid::from_u128(number)),
        at: Timestamp::from_seconds(1_800_000_000),
        key: Some(KeyId(Uuid::from_u128(7))),
        organization: Some(Cow::Borrowed("acme")),
        project: Some(Cow::Borrowed("3f0c6f2e-9a52-4f0c-8d5e-6f2e9a524f0c")),
        estimate: Cost { credits: 1, microcents: 300 },
    }
}

fn row(number: u128) -> Row<'static> {
    Row {
        id: RequestId(Uuid::from_u128(number)),
        at: Timestamp::from_seconds(1_800_000_000),
        organization: Some(Cow::Borrowed("acme")),
        project: Some(Cow::Borrowed("3f0c6f2e-9a52-4f0c-8d5e-6f2e9a524f0c")),
        key: Some(KeyId(Uuid::from_u128(7))),
        admitted: true,
        method: Cow::Borrowed("POST"),
        path: Cow::Borrowed("/api/v1/scrape"),
        status: 200,
        code: Cow::Borrowed(""),
        outcome: Some(Outcome::Success),
        first_byte_micros: 12_345,
        total_micros: 23_456,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        cost: Cost { credits: 1, microcents: 300 },
        cost_source: CostSource::Header,
        tier: Some(Cow::Borrowed("3.5")),
        domain: Some(Cow::Borrowed("example.com")),
        bytes_in: 64,
        bytes_out: 1024,
        target: Some(Cow::Borrowed("127.0.0.1:3000")),
        user_agent: Some(Cow::Borrowed("python-httpx/0.28.1")),
        job: None,
    }
}

/// Nothing is shipped, as the record is not what is measured: the spool may grow to 16 GiB.
fn pair(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(std::env::var_os("SPOOL_DIR").unwrap_or_else(|| "/tmp".into())).unwrap();
    let spool = Spool::open(&settings(dir.path())).unwrap();
    let mut writer = spool.writer(0).unwrap();
    let mut number = 0_u128;
    c.bench_function("spool/admitted+finished", |b| {
        b.iter_custom(|pairs| {
            let mut spent = Duration::ZERO;
            let mut left = pairs;
            while left > 0 {
                // A gateway serves some 50,000 requests a second at most: the keeper has time for its work there,
                // and is given it here, outside of what is timed.
                while !writer.has_room() {
                    std::thread::yield_now();
                }
                let began = Instant::now();
                for _ in 0..left.min(1000) {
                    if !black_box(writer.has_room()) {
                        break;
                    }
                    number += 1 << 70 | 0x9E37_79B9;
                    let ticket = black_box(writer.admitted(black_box(&admission(number))));
                    let _ = black_box(writer.finished(ticket.ok(), black_box(&row(number).as_ref())));
                    left -= 1;
                }
                spent += began.elapsed();
            }
            spent
        });
    });
    let counts = spool.counts();
    assert_eq!(counts.dropped, 0, "the keeper fell behind; what was measured is not writing");
}

criterion_group!(benches, pair);
criterion_main!(benches);
