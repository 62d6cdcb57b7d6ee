//! How fast a large request log answers: builds one through the record's own `ship`, then asks what people ask.
//!
//! `cargo bench --bench rows`, or `ROWS=1000000 ROWS_DIR=/disk cargo bench --bench rows`. 10 million rows over 90 days, 64
//! keys in 4 organizations, 5,000 domains of which few are frequent. A batch of 5,000 rows covers an hour and more here,
//! where a busy gateway's covers a fraction of a second, so that there are as many sums as 90 days have; for
//! what moving rows costs see `benches/ship.rs`.

use std::borrow::Cow;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tollgate::domain::cost::{Cost, CostSource, Outcome};
use tollgate::domain::id::{KeyId, OrgId, RequestId};
use tollgate::domain::row::Row;
use tollgate::domain::time::Timestamp;
use tollgate::logs::retention;
use tollgate::stores::record::reports::{
    LogFilter, Place, ReportRecord as _, Scope, Span, StatusFilter, Step,
};
use tollgate::stores::record::sqlite::SqliteRecord;
use tollgate::stores::record::upkeep::UpkeepRecord as _;
use tollgate::stores::record::{LogRecord as _, Shipment, UsageRecord as _};
use uuid::{Builder, Uuid};

const KEYS: u64 = 64;
const BATCH: u64 = 5_000;
const DAYS: u64 = 90;
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ORGANIZATIONS: [&str; 4] = ["acme", "globex-corporation", "initech", "umbrella"];
/// What an answer may take.
const AIM: Duration = Duration::from_millis(50);
const RUNS: usize = 7;

fn key(n: u64) -> KeyId {
    KeyId(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cd00 + u128::from(n)))
}

/// Bits that look random.
fn mixed(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn row(n: u64, rows: u64) -> Row<'static> {
    let random = mixed(n);
    let at = NOW.minus(DAY * DAYS as u32).plus(Duration::from_micros(
        (n as u128 * 86_400_000_000 * u128::from(DAYS) / u128::from(rows)) as u64,
    ));
    let bytes: [u8; 10] = std::array::from_fn(|i| (mixed(n ^ 0xabcd) >> (i % 8 * 8)) as u8);
    let of = random % KEYS;
    let refused = random >> 8 & 31 == 0;
    let failed = random >> 13 & 15 == 0;
    // The square of something even: few domains are frequent.
    let domain = (random >> 20 & 0xff) * (random >> 28 & 0xff) % 5_000;
    Row {
        id: RequestId(Builder::from_unix_timestamp_millis(at.micros() / 1_000, &bytes).into_uuid()),
        at,
        organization: Some(ORGANIZATIONS[of as usize % 4].into()),
        project: Some(format!("3f0c6f2e-9a52-4f0c-8d5e-{of:012x}").into()),
        key: Some(key(of)),
        admitted: !refused,
        method: "GET".into(),
        path: "/api/v1/scrape".into(),
        status: if refused {
            429
        } else if failed {
            502
        } else {
            200
        },
        code: if refused { "rate_limited_second" } else { "" }.into(),
        outcome: (!refused).then_some(if failed { Outcome::Failure } else { Outcome::Success }),
        first_byte_micros: 200_000 + random % 800_000,
        total_micros: 500_000 + random % 2_000_000,
        address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (random % 5_000) as u32)),
        cost: if refused || failed { Cost::default() } else { Cost { credits: 1, microcents: 300 } },
        cost_source: CostSource::Header,
        tier: Some(Cow::Borrowed(["1", "2", "3", "3.5"][(random >> 40) as usize % 4])),
        domain: Some(format!("www.shop-{domain}.example").into()),
        bytes_in: 0,
        bytes_out: random % 100_000,
        target: (!refused).then_some("127.0.0.1:3000".into()),
        user_agent: Some("python-httpx/0.28.1".into()),
        job: None,
    }
}

#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn build(runtime: &Runtime, record: &SqliteRecord, rows: u64, path: &Path) {
    let mut spent = Duration::ZERO;
    for first in (0..rows).step_by(BATCH as usize) {
        let shipment = Shipment {
            rows: (first..rows.min(first + BATCH)).map(|n| row(n, rows)).collect(),
            ..Shipment::default()
        };
        let began = Instant::now();
        runtime.block_on(record.ship(&shipment)).expect("a batch is taken");
        spent += began.elapsed();
    }
    let size = std::fs::metadata(path).expect("the record's file").len();
    println!(
        "{rows} rows in {:.0} s, {:.0} rows/s; {} MiB, {} bytes each",
        spent.as_secs_f64(),
        rows as f64 / spent.as_secs_f64(),
        size >> 20,
        size / rows
    );
}

/// Asks several times; prints the first and the median time, and whether that is too long.
#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn ask<T>(runtime: &Runtime, what: &str, mut question: impl AsyncFnMut() -> T) {
    let mut times: Vec<_> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            black_box(runtime.block_on(question()));
            began.elapsed()
        })
        .collect();
    let first = times[0];
    times.sort();
    let median = times[RUNS / 2];
    let late = if median > AIM { "  MISSED" } else { "" };
    println!("{what:<58} {:>8.2} ms first {:>8.2} ms median{late}", millis(first), millis(median));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() {
    let rows: u64 = std::env::var("ROWS").map_or(10_000_000, |text| text.parse().expect("a number"));
    let parent = std::env::var_os("ROWS_DIR").unwrap_or_else(|| "/tmp".into());
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    let path = dir.path().join("tollgate.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let record = runtime.block_on(SqliteRecord::open(&path)).expect("a record");
    build(&runtime, &record, rows, &path);
    let organization = || Scope::Organization(OrgId::parse("acme").expect("an id"));
    for (name, scope) in
        [("key", Scope::Key(key(5))), ("organization", organization()), ("all", Scope::Everything)]
    {
        sums(&runtime, &record, name, &scope);
        pages(&runtime, &record, name, &scope, rows);
    }
    start(&runtime, &record);
    upkeep(&runtime, &record);
    runtime.block_on(record.close());
}

fn sums(runtime: &Runtime, record: &SqliteRecord, name: &str, scope: &Scope) {
    // Neither end is a midnight.
    let until = NOW.minus(Duration::from_secs(40_000));
    for days in [30, 89] {
        let span = Span { since: until.minus(DAY * days), until };
        let about = |what: &str| format!("{name}, {days} days: {what}");
        ask(runtime, &about("totals"), async || record.totals(scope, span).await.expect("an answer"));
        ask(runtime, &about("by tier"), async || record.by_tier(scope, span).await.expect("an answer"));
        ask(runtime, &about("errors"), async || record.errors(scope, span).await.expect("an answer"));
        ask(runtime, &about("top 20 domains"), async || {
            record.top_domains(scope, span, 20).await.expect("an answer")
        });
        ask(runtime, &about("series by day"), async || {
            record.series(scope, span, Step::Day).await.expect("an answer")
        });
        ask(runtime, &about("series by hour"), async || {
            record.series(scope, span, Step::Hour).await.expect("an answer")
        });
    }
    let span = Span { since: until.minus(DAY * 7), until };
    ask(runtime, &format!("{name}, 7 days: series by 5 minutes"), async || {
        record.series(scope, span, Step::FiveMinutes).await.expect("an answer")
    });
}

fn pages(runtime: &Runtime, record: &SqliteRecord, name: &str, scope: &Scope, rows: u64) {
    let all = || LogFilter::all(scope.clone());
    let about = |what: &str| format!("{name}, page of 50: {what}");
    let middle = Place(((NOW.minus(DAY * 45).micros() / 1_000) << 21) as i64);
    let keyset = |what: &str, filter: LogFilter, before: Option<Place>| {
        ask(runtime, &about(what), async || record.log_page(&filter, before, 50).await.expect("an answer"));
    };
    keyset("first", all(), None);
    keyset("45 days back", all(), Some(middle));
    keyset("failed", LogFilter { status: Some(StatusFilter::Failed), ..all() }, None);
    keyset("domain, rare", LogFilter { domain: Some("shop-4801.".into()), ..all() }, None);
    keyset("domain, none", LogFilter { domain: Some("nowhere".into()), ..all() }, None);
    let numbered = |what: &str, filter: LogFilter, page: u64| {
        ask(runtime, &about(what), async || record.log_numbered(&filter, page, 50).await.expect("an answer"));
    };
    let last_month = || LogFilter { since: Some(NOW.minus(DAY * 30)), ..all() };
    numbered("number 1 of 30 days", last_month(), 1);
    numbered("number 500 of 30 days", last_month(), 500);
    numbered("the last but few", all(), rows / KEYS / 50);
    numbered(
        "number 1 of 30 days, failed",
        LogFilter { status: Some(StatusFilter::Failed), ..last_month() },
        1,
    );
    numbered("number 20 of 30 days, tier", LogFilter { tier: Some("3.5".into()), ..last_month() }, 20);
    numbered("number 1 of 30 days, domain", LogFilter { domain: Some("SHOP-12".into()), ..last_month() }, 1);
    numbered("number 1 of all, domain", LogFilter { domain: Some("SHOP-12".into()), ..all() }, 1);
}

/// What a gateway asks before it serves.
#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn start(runtime: &Runtime, record: &SqliteRecord) {
    let began = Instant::now();
    let (cells, _) = runtime.block_on(record.usage_since(NOW.minus(DAY * 32))).expect("an answer");
    println!("restoring counters: {} cells of 32 days in {:.0} ms", cells.len(), millis(began.elapsed()));
}

#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn upkeep(runtime: &Runtime, record: &SqliteRecord) {
    let began = Instant::now();
    let verified = runtime.block_on(record.verify(false)).expect("an answer");
    println!(
        "verify: {} rows and {} sums in {:.1} s, {} drifted",
        verified.rows,
        verified.sums,
        began.elapsed().as_secs_f64(),
        verified.drifted
    );
    let keep = retention::keep_at(NOW, DAY * (DAYS as u32 - 1), None);
    let mut steps = Vec::new();
    loop {
        let began = Instant::now();
        let step = runtime.block_on(record.prune(&keep)).expect("a step");
        steps.push(began.elapsed());
        if !step.more {
            break;
        }
    }
    steps.sort();
    let (median, longest) = (steps[steps.len() / 2], steps[steps.len() - 1]);
    println!(
        "dropping a day: {} steps, each {:.2} ms in the median and {:.2} ms at most",
        steps.len(),
        millis(median),
        millis(longest)
    );
}
