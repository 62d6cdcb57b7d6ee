//! Rows as JSON lines, to a file or to standard output, for collectors such as Vector and Fluent Bit.
//!
//! The last stretch of the one delivery path: rows go from the spool to the record, and from the record, in the
//! order in which they came into it, to the export. So what is exported is what is in the record, crashed requests
//! too, and an export that stands still holds up nobody: rows wait in the record, not in the spool.
//!
//! **What holds.** A cursor beside the spool says how far the export has come; it is written after the lines are,
//! and both are forced to disk, the lines first.
//! - To a file: every row of the record once, in whole lines, across restarts, `kill -9` and loss of power. Lines
//!   behind the cursor are known by their ids and not written again; of one that was torn the rest is cut off.
//! - To standard output: every row at least once. What a reader had taken when this process was killed is not
//!   known, so that up to [`PAGE_ROWS_MAX`] lines may come again.
//! - Not exported: what came into the record before export was first switched on, and what `logs.retention` has
//!   dropped before it could be. Of a file that is rotated away (`files_max`), what no collector had read.
//!
//! | what fails | what happens |
//! |---|---|
//! | the disk is full, or the file cannot be written | tried again with growing pauses, counted and said once; traffic goes on |
//! | the reader of standard output stops reading | the export waits for it, and only the export |
//! | the record is away | as for the shipper: tried again |
//! | somebody moves or truncates the file | writing goes on in a new one, or behind what is left |
//!
//! **Deliberately absent:** more than one export, and other nodes: of gateways that share a record, one exports.

mod cursor;
mod file;

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::cursor::{Cursor, CursorFile};
use self::file::FileSink;
use super::line::Line;
use crate::config::{self, ExportTo};
use crate::domain::id::RequestId;
use crate::metrics::Metrics;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{Arrived, LogFilter, News, PAGE_ROWS_MAX, ReportRecord, Scope};

/// Longest wait between two attempts while lines cannot be written.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The task that exports rows. One per gateway.
pub struct Exporter {
    record: Arc<dyn ReportRecord>,
    sink: Sink,
    cursor: Cursor,
    cursors: CursorFile,
    /// Whether the file may hold more than the cursor says: after a start, and after an attempt that failed.
    unsure: bool,
    /// Rows behind the cursor that the file holds already.
    already: HashSet<RequestId>,
    every: Duration,
    /// [`Cursor::arrived`], for whoever prunes the record.
    reached: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    failing: Option<Failing>,
}

/// How far the export has come: what stands behind it must not be forgotten by the record.
#[derive(Debug, Clone)]
pub struct Reached(Arc<AtomicU64>);

impl Reached {
    /// What is before it is exported.
    pub fn at(&self) -> Arrived {
        Arrived(self.0.load(Ordering::Acquire))
    }
}

#[derive(Debug, Clone)]
enum Sink {
    File(FileSink),
    Stdout,
}

struct Failing {
    since: Instant,
    attempts: u32,
}

/// Why rows cannot be exported now.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The record could not be asked.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Lines or the cursor could not be written, or read.
    #[error("{0}: {1}")]
    Write(String, #[source] io::Error),
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("sink", &self.sink)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter that goes on where an earlier process stopped, or begins with what comes from now on; `None` where
    /// none is wanted. Its cursor is kept in the spool's directory.
    ///
    /// # Errors
    /// [`ExportError`] where the cursor cannot be read or made; it names the file.
    pub async fn open(
        settings: &config::Logs,
        record: Arc<dyn ReportRecord>,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ExportError> {
        let config::Export { to: Some(to), rotate_bytes, files_max } = &settings.export else {
            return Ok(None);
        };
        let cursors = CursorFile::new(&settings.dir);
        let cursor = match cursors.read()? {
            Some(cursor) => cursor,
            None => {
                let cursor = Cursor { arrived: record.log_end().await?.0, ..Cursor::default() };
                cursors.write(&cursor)?;
                cursor
            }
        };
        let sink = match to {
            ExportTo::Stdout => Sink::Stdout,
            ExportTo::File(path) => {
                Sink::File(FileSink::new(path, *rotate_bytes, *files_max, cursors.clone()))
            }
        };
        Ok(Some(Self {
            record,
            sink,
            cursor,
            cursors,
            unsure: true,
            already: HashSet::new(),
            every: settings.ship_every,
            reached: Arc::new(AtomicU64::new(cursor.arrived)),
            metrics,
            failing: None,
        }))
    }

    /// How far it has come: for [`Keep::news_read`](crate::stores::record::upkeep::Keep).
    pub fn reached(&self) -> Reached {
        Reached(Arc::clone(&self.reached))
    }

    /// Exports what comes until `shutdown`, and then what is there by then.
    pub async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut stopping = false;
        // Never given up half way: an attempt that was dropped could be finished behind our back.
        while !stopping {
            tokio::select! {
                biased;
                () = &mut shutdown => stopping = true,
                () = tokio::time::sleep(self.wait()) => {}
            }
            self.attempt().await;
        }
    }

    /// The usual pause, or a growing one while nothing can be written.
    fn wait(&self) -> Duration {
        self.failing.as_ref().map_or(self.every, |failing| {
            self.every
                .saturating_mul(1 << failing.attempts.min(10))
                .clamp(self.every, RETRY_MAX.max(self.every))
        })
    }

    /// Exports what is there. Says once that it cannot, and once that it can again.
    pub(super) async fn attempt(&mut self) {
        let up = self.metrics.dependency_up.with_label_values(&["log_export"]);
        let exported = loop {
            match self.step().await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        up.set(exported.is_ok().into());
        match exported {
            Ok(()) => {
                if let Some(failing) = self.failing.take() {
                    let after = failing.since.elapsed().as_secs_f64();
                    tracing::info!(after_seconds = after, "the request log is exported again");
                }
            }
            Err(error) => {
                self.unsure = true;
                self.metrics.overflows.with_label_values(&["log_export"]).inc();
                let failing =
                    self.failing.get_or_insert_with(|| Failing { since: Instant::now(), attempts: 0 });
                failing.attempts = failing.attempts.saturating_add(1);
                if failing.attempts == 1 {
                    tracing::warn!(%error, "the request log cannot be exported; rows wait in the record");
                }
            }
        }
    }

    /// Exports one page; whether there is more.
    pub(super) async fn step(&mut self) -> Result<bool, ExportError> {
        if self.unsure {
            self.reconcile().await?;
            self.unsure = false;
        }
        let after = Arrived(self.cursor.arrived);
        let filter = LogFilter::all(Scope::Everything);
        let news = self.record.log_news(&filter, after, PAGE_ROWS_MAX).await?;
        if news.next == after {
            return Ok(false);
        }
        let (lines, count) = self.lines(&news);
        let (sink, cursors) = (self.sink.clone(), self.cursors.clone());
        let (cursor, arrived) = (self.cursor, news.next.0);
        self.cursor = on_disk(move || match &sink {
            Sink::File(file) => file.append(&lines, cursor, arrived),
            Sink::Stdout => {
                let next = Cursor { arrived, ..cursor };
                let mut out = io::stdout().lock();
                out.write_all(&lines)
                    .and_then(|()| out.flush())
                    .map_err(|error| ExportError::Write("standard output".to_owned(), error))?;
                cursors.write(&next)?;
                Ok(next)
            }
        })
        .await?;
        self.already.clear();
        self.reached.store(self.cursor.arrived, Ordering::Release);
        self.metrics.log_rows.with_label_values(&["exported"]).inc_by(count);
        Ok(news.more)
    }

    /// The lines that are not in the file yet, and how many they are.
    fn lines(&self, news: &News) -> (Vec<u8>, u64) {
        let (mut lines, mut count) = (Vec::new(), 0);
        for logged in news.rows.iter().filter(|logged| !self.already.contains(&logged.row.id)) {
            // Our own struct has string keys and no failing parts, and memory takes what it is given.
            if serde_json::to_writer(&mut lines, &Line::of(&logged.row)).is_ok() {
                lines.push(b'\n');
                count += 1;
            }
        }
        (lines, count)
    }

    /// Takes up what is on disk: an attempt that failed may have come any part of its way.
    async fn reconcile(&mut self) -> Result<(), ExportError> {
        let (sink, cursors, cursor) = (self.sink.clone(), self.cursors.clone(), self.cursor);
        (self.cursor, self.already) = on_disk(move || {
            let cursor = cursors.read()?.unwrap_or(cursor);
            match &sink {
                Sink::File(file) => file.reconcile(cursor),
                Sink::Stdout => Ok((cursor, HashSet::new())),
            }
        })
        .await?;
        Ok(())
    }
}

/// Does what may wait for a disk or a reader where that holds up nobody.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(ExportError::Write("the export".to_owned(), io::Error::other(panic))))
}
