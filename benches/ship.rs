//! What moving the request log costs: rows from the spool into a fresh SQLite file, in processor time of all
//! threads per row. `cargo bench --bench ship`, or `SHIP_ROWS=1000000 SHIP_DIR=/disk cargo bench --bench ship`. Rows end in
//! nearly the order in which they began; with `SHIP_IN_FLIGHT=65536` like those of requests that take some seconds.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::config::{Export, Logs, WhenFull};
use tollgate::domain::cost::{Cost, CostSource, Outcome};
use tollgate::domain::id::{KeyId, RequestId};
use tollgate::domain::row::{Admission, Row};
use tollgate::domain::time::Timestamp;
use tollgate::logs::{Shipper, Spool, SpoolWriter, Ticket};
use tollgate::stores::record::sqlite::SqliteRecord;
use uuid::{Builder, Uuid};

/// Microseconds between two arrivals: 25,000 requests a second.
const GAP_MICROS: u64 = 40;
const EPOCH_MICROS: u64 = 1_800_000_000_000_000;
const ORGANIZATIONS: [&str; 4] = ["acme", "globex-corporation", "initech", "umbrella"];

/// What the environment says, or `otherwise`.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn settings(dir: &Path) -> Logs {
    Logs {
        dir: dir.to_path_buf(),
        retention: Duration::from_secs(3600),
        spool_bytes_max: 4 << 30,
        segment_bytes: 16 << 20,
        when_full: WhenFull::Refuse,
        sync_every: Duration::from_secs(1),
        ship_every: Duration::from_millis(200),
        batch_rows_max: number("SHIP_BATCH", 50_000) as usize,
        export: Export::default(),
    }
}

/// Ids as the gateway makes them: time of arrival, then random bits.
fn id(number: u64) -> RequestId {
    let random = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, ..] = random;
    let millis = (EPOCH_MICROS + number * GAP_MICROS) / 1_000;
    RequestId(Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid())
}

fn owner(number: u64) -> (KeyId, &'static str, String) {
    let key = number.wrapping_mul(0x9E37_79B9) >> 7 & 63;
    let organization = ORGANIZATIONS[key as usize % ORGANIZATIONS.len()];
    let project = Uuid::from_u128(0x3f0c_6f2e_9a52_4f0c_8d5e_6f2e_9a52_4f00 + u128::from(key % 4));
    (
        KeyId(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cd00 + u128::from(key))),
        organization,
        project.to_string(),
    )
}

fn admission<'a>(number: u64, organization: &'a str, project: &'a str, key: KeyId) -> Admission<'a> {
    Admission {
        id: id(number),
        at: Timestamp::from_micros(EPOCH_MICROS + number * GAP_MICROS),
        key: Some(key),
        organization: Some(Cow::Borrowed(organization)),
        project: Some(Cow::Borrowed(project)),
        estimate: Cost { credits: 1, microcents: 300 },
    }
}

fn row<'a>(number: u64, organization: &'a str, project: &'a str, key: KeyId) -> Row<'a> {
    Row {
        id: id(number),
        at: Timestamp::from_micros(EPOCH_MICROS + number * GAP_MICROS),
        organization: Some(Cow::Borrowed(organization)),
        project: Some(Cow::Borrowed(project)),
        key: Some(key),
        admitted: true,
        method: Cow::Borrowed("GET"),
        path: Cow::Borrowed("/api/v1/scrape"),
        status: 200,
        code: Cow::Borrowed(""),
        outcome: Some(Outcome::Success),
        first_byte_micros: 12_345 + number % 1_000,
        total_micros: 23_456 + number % 10_000,
        address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (number % 5_000) as u32)),
        cost: Cost { credits: 1, microcents: 300 },
        cost_source: CostSource::Header,
        tier: number.is_multiple_of(4).then_some(Cow::Borrowed("3.5")),
        domain: Some(Cow::Borrowed("www.example.com")),
        bytes_in: 0,
        bytes_out: 1024,
        target: Some(Cow::Borrowed("127.0.0.1:3000")),
        user_agent: Some(Cow::Borrowed("python-httpx/0.28.1")),
        job: None,
    }
}

/// Writes `rows` requests down, each ended `in_flight` requests after it was admitted, give or take.
fn fill(spool: &Arc<Spool>, rows: u64, in_flight: u64) {
    let mut writer = spool.writer(0).expect("a writer");
    let finish = |writer: &mut SpoolWriter, (number, ticket): (u64, Option<Ticket>)| {
        let (key, organization, project) = owner(number);
        let row = row(number, organization, &project, key);
        writer.finished(ticket, &row.as_ref()).expect("room for a row");
    };
    let mut open = Vec::new();
    for number in 0..rows {
        while !writer.has_room() {
            std::thread::yield_now();
        }
        let (key, organization, project) = owner(number);
        let admission = admission(number, organization, &project, key);
        open.push((number, Some(writer.admitted(&admission).expect("room for an admission"))));
        if number % in_flight == in_flight - 1 {
            // 37 and a power of two have no common divisor: each once, in some order.
            for n in 0..in_flight {
                let (number, ticket) = &mut open[((n * 37 + 11) % in_flight) as usize];
                finish(&mut writer, (*number, ticket.take()));
            }
            open.clear();
        }
    }
    open.into_iter().for_each(|open| finish(&mut writer, open));
}

/// Processor time of every thread of this process, those that ended too: user and system, in clock ticks of
/// 10 ms (proc_pid_stat(5)).
fn processor() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |field: usize| fields[field].parse::<f64>().expect("a number") / 100.0;
    (seconds(11), seconds(12))
}

/// `VmHWM`: the most memory this process ever had, in MiB.
fn memory_max() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}

#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn main() {
    let rows = number("SHIP_ROWS", 500_000);
    // How far rows are out of the order of their ids.
    let in_flight = number("SHIP_IN_FLIGHT", 64).next_power_of_two();
    let parent = std::env::var_os("SHIP_DIR").unwrap_or_else(|| "/tmp".into());
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    let spool = Spool::open(&settings(&dir.path().join("spool"))).expect("a spool");
    fill(&spool, rows, in_flight);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = dir.path().join("tollgate.db");
    let record = runtime.block_on(SqliteRecord::open(&path)).expect("a record");
    let mut shipper = Shipper::new(Arc::clone(&spool), Arc::new(record.clone()));
    let (before, began) = (processor(), Instant::now());
    runtime.block_on(shipper.drain(Duration::from_secs(600))).expect("everything is shipped");
    let (after, spent) = (processor(), began.elapsed().as_secs_f64());
    runtime.block_on(record.close());
    assert_eq!(spool.counts().shipped, rows);
    let size = std::fs::metadata(&path).expect("the record's file").len();
    let micros = |seconds: f64| seconds * 1e6 / rows as f64;
    println!(
        "{rows} rows: {:.2} us of processor each ({:.2} user, {:.2} system), {:.0} rows/s, {} bytes each, {} MiB of memory",
        micros(after.0 - before.0 + after.1 - before.1),
        micros(after.0 - before.0),
        micros(after.1 - before.1),
        rows as f64 / spent,
        size / rows,
        memory_max(),
    );
}
