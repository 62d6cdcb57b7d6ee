//! The export from outside: over a real record, interrupted anywhere.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::{SMALL, full, id, row, settings};
use crate::config::{self, Export, ExportTo};
use crate::logs::Exporter;
use crate::logs::export::ExportError;
use crate::metrics::Metrics;
use crate::stores::record::reports::ReportRecord as _;
use crate::stores::record::sqlite::SqliteRecord;
use crate::stores::record::{LogRecord as _, Shipment};

struct Bed {
    dir: TempDir,
    record: Arc<SqliteRecord>,
    metrics: Arc<Metrics>,
    shipped: u128,
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let record = Arc::new(SqliteRecord::open(&dir.path().join("record.db")).await.unwrap());
        Self { dir, record, metrics: Arc::new(Metrics::new().unwrap()), shipped: 0 }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("requests.jsonl")
    }

    fn cursor(&self) -> PathBuf {
        self.dir.path().join("log/export.json")
    }

    fn settings(&self, file: &Path, rotate_bytes: u64) -> config::Logs {
        let export = Export { to: Some(ExportTo::File(file.to_owned())), rotate_bytes, files_max: 3 };
        config::Logs { export, ..settings(&self.dir.path().join("log"), SMALL, 4) }
    }

    async fn exporter(&self) -> Exporter {
        self.exporter_to(&self.file(), u64::MAX).await
    }

    async fn exporter_to(&self, file: &Path, rotate_bytes: u64) -> Exporter {
        let settings = self.settings(file, rotate_bytes);
        let opened = Exporter::open(&settings, self.record.clone(), Arc::clone(&self.metrics)).await;
        opened.unwrap().unwrap()
    }

    /// Moves so many rows to the record, in one batch.
    async fn ship(&mut self, rows: u128) {
        let rows: Vec<_> = (self.shipped..self.shipped + rows).map(|number| row(id(number))).collect();
        self.shipped += rows.len() as u128;
        self.record.ship(&Shipment { rows: rows.into(), ..Shipment::default() }).await.unwrap();
    }

    /// Every line must be whole, and every row there once, in the order in which it was shipped.
    fn assert_all_in(&self, text: &str) {
        let ids: Vec<String> = ids(text).collect();
        let expected: Vec<String> = (0..self.shipped).map(|number| id(number).to_string()).collect();
        assert!(ids == expected, "{} lines of {} rows", ids.len(), expected.len());
    }

    fn exported(&self) -> u64 {
        self.metrics.log_rows.with_label_values(&["exported"]).get()
    }
}

fn ids(text: &str) -> impl Iterator<Item = String> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["id"].as_str().unwrap().to_owned()
    })
}

async fn to_the_end(exporter: &mut Exporter) -> Result<(), ExportError> {
    while exporter.step().await? {}
    Ok(())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn every_row_is_a_line_with_the_names_of_the_contract() {
    let mut bed = Bed::new().await;
    let mut exporter = bed.exporter().await;
    bed.ship(1).await;
    to_the_end(&mut exporter).await.unwrap();
    let line: Value = serde_json::from_str(&read(&bed.file())).unwrap();
    let expected = serde_json::json!({
        "id": "00000000-0000-0000-0000-000000000000", "at": "2027-01-15T08:00:00Z",
        "organization": "acme", "project": "default", "key": "00000000-0000-0000-0000-000000000007",
        "admitted": true, "method": "POST", "path": "/api/v1/scrape", "status": 200, "code": "",
        "outcome": "success", "first_byte_micros": 12_345, "total_micros": 23_456, "address": "192.0.2.7",
        "credits": 1, "microcents": 300, "cost_source": "header", "tier": "3.5", "domain": "example.com",
        "bytes_in": 64, "bytes_out": 1024, "target": "127.0.0.1:3000", "user_agent": "curl/8.0",
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn it_begins_with_what_comes_and_goes_on_where_it_was() {
    let mut bed = Bed::new().await;
    bed.record.ship(&Shipment { rows: vec![row(id(1 << 80))].into(), ..Shipment::default() }).await.unwrap();
    for rows in [0, 1, 2_500, 0, 7] {
        let mut exporter = bed.exporter().await;
        bed.ship(rows).await;
        to_the_end(&mut exporter).await.unwrap();
        assert_eq!(exporter.reached().at(), bed.record.log_end().await.unwrap());
    }
    bed.assert_all_in(&read(&bed.file()));
    assert_eq!(u128::from(bed.exported()), bed.shipped);
}

#[tokio::test]
async fn stopped_at_any_byte_between_lines_and_cursor_it_ends_the_same() {
    let mut bed = Bed::new().await;
    bed.ship(0).await;
    let mut exporter = bed.exporter().await;
    bed.ship(3).await;
    to_the_end(&mut exporter).await.unwrap();
    let (cursor, before) = (read(&bed.cursor()), read(&bed.file()));
    bed.ship(5).await;
    to_the_end(&mut exporter).await.unwrap();
    let after = read(&bed.file());
    bed.assert_all_in(&after);
    let mut ends = 0;
    for end in (before.len()..=after.len()).filter(|end| end % 7 == 0 || after.as_bytes()[end - 1] == b'\n') {
        std::fs::write(bed.cursor(), &cursor).unwrap();
        std::fs::write(bed.file(), &after.as_bytes()[..end]).unwrap();
        to_the_end(&mut bed.exporter().await).await.unwrap();
        assert!(read(&bed.file()) == after, "stopped at byte {end}");
        ends += 1;
    }
    assert!(ends > 100, "{ends}");
}

#[tokio::test]
async fn files_are_rotated_and_the_oldest_go() {
    let mut bed = Bed::new().await;
    let file = bed.file();
    let line_bytes = 460;
    for _ in 0..8 {
        // Anew each time: the numbers go on.
        let mut exporter = bed.exporter_to(&file, 10 * line_bytes).await;
        bed.ship(15).await;
        to_the_end(&mut exporter).await.unwrap();
    }
    let rotated = |number: u32| PathBuf::from(format!("{}.{number}", file.display()));
    let mut names: Vec<_> =
        std::fs::read_dir(bed.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.to_string_lossy().contains("requests"));
    names.sort();
    assert_eq!(names, [file.clone(), rotated(6), rotated(7)]);
    let kept = [read(&rotated(6)), read(&rotated(7)), read(&file)].concat();
    let kept: Vec<String> = ids(&kept).collect();
    let newest: Vec<String> = (5 * 15..bed.shipped).map(|number| id(number).to_string()).collect();
    assert_eq!(kept, newest);
}

#[tokio::test]
async fn a_rotation_that_was_begun_is_finished() {
    let mut bed = Bed::new().await;
    let mut exporter = bed.exporter_to(&bed.file(), 1).await;
    bed.ship(4).await;
    to_the_end(&mut exporter).await.unwrap();
    let begun = read(&bed.cursor())
        .replace("\"rotations\":0", "\"rotations\":1")
        .replace("\"rotating\":false", "\"rotating\":true");
    let aside = PathBuf::from(format!("{}.1", bed.file().display()));
    // Before the file was moved, and behind that.
    for moved in [false, true] {
        std::fs::write(bed.cursor(), &begun).unwrap();
        if moved {
            std::fs::rename(bed.file(), &aside).unwrap();
        }
        let mut exporter = bed.exporter_to(&bed.file(), u64::MAX).await;
        to_the_end(&mut exporter).await.unwrap();
        assert_eq!(ids(&read(&aside)).count(), 4, "moved: {moved}");
        assert!(!bed.file().exists());
        std::fs::rename(&aside, bed.file()).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_costs_no_row() {
    let mut bed = Bed::new().await;
    let Some(disk) = full::SmallDisk::mount(&bed.dir.path().join("disk")) else {
        eprintln!("not run: mounting a tmpfs needs root");
        return;
    };
    let file = disk.0.join("requests.jsonl");
    let mut exporter = bed.exporter_to(&file, u64::MAX).await;
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 700 * 1024]).unwrap();
    bed.ship(2_000).await;
    let failed = to_the_end(&mut exporter).await.unwrap_err();
    assert!(failed.to_string().contains("requests.jsonl"), "{failed}");
    // Tried again while it is full, by this process and by another one.
    exporter.attempt().await;
    assert!(to_the_end(&mut bed.exporter_to(&file, u64::MAX).await).await.is_err());
    assert_eq!(bed.metrics.dependency_up.with_label_values(&["log_export"]).get(), 0);
    assert_eq!(bed.metrics.overflows.with_label_values(&["log_export"]).get(), 1);
    std::fs::remove_file(&ballast).unwrap();
    exporter.attempt().await;
    assert_eq!(bed.metrics.dependency_up.with_label_values(&["log_export"]).get(), 1);
    bed.assert_all_in(&read(&file));
}

#[tokio::test]
async fn a_file_that_is_taken_away_or_cut_is_begun_anew() {
    let mut bed = Bed::new().await;
    let mut exporter = bed.exporter().await;
    bed.ship(3).await;
    to_the_end(&mut exporter).await.unwrap();
    let taken = bed.dir.path().join("taken");
    std::fs::rename(bed.file(), &taken).unwrap();
    bed.ship(2).await;
    to_the_end(&mut exporter).await.unwrap();
    bed.assert_all_in(&(read(&taken) + &read(&bed.file())));
    std::fs::write(bed.file(), "").unwrap();
    let seen: HashSet<String> = (0..bed.shipped).map(|number| id(number).to_string()).collect();
    bed.ship(2).await;
    to_the_end(&mut exporter).await.unwrap();
    assert_eq!(ids(&read(&bed.file())).filter(|id| !seen.contains(id)).count(), 2);
    std::fs::write(bed.cursor(), "no cursor").unwrap();
    let settings = bed.settings(&bed.file(), u64::MAX);
    let refused = Exporter::open(&settings, bed.record.clone(), Arc::clone(&bed.metrics)).await.unwrap_err();
    assert!(
        refused.to_string().contains("export.json") && refused.to_string().contains("remove it"),
        "{refused}"
    );
}
