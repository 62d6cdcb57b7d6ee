//! `[record]`, `[counters]` and `[logs]`: where what must last is kept, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use super::masked::{Masked, RedisUrl};

/// `[record]`
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which, and where.
    pub url: RecordUrl,
    /// Connections to a server, at most; the log has one more.
    pub connections_max: u32,
    /// How long the making of a connection may take, and the waiting for one that is free.
    pub connect_timeout: Duration,
    /// How long a server may take over one question or change. Batches of the log have a bound of their own.
    pub answer_timeout: Duration,
}

/// Where the record is.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordUrl {
    /// A file; made where it does not exist.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by a URL that may hold a password.
    Postgres(Masked),
}

/// `[counters]`
#[derive(Debug)]
pub struct Counters {
    /// The engine.
    pub engine: CountersEngine,
    /// What happens while an engine outside of this process is out of reach.
    pub on_outage: OnOutage,
    /// Keys with live counts; a request of one more is refused as overloaded.
    pub keys_max: usize,
    /// How long a call to an engine outside of this process may take.
    pub timeout: Duration,
}

/// Where limits are counted.
#[derive(Debug, Clone, PartialEq)]
pub enum CountersEngine {
    /// In this process.
    Memory,
    /// In one Redis, at this URL.
    Redis(RedisUrl),
}

/// What happens while the counters are out of reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OnOutage {
    /// Limits are kept with this node's share.
    Local,
    /// Requests are refused with 503.
    Closed,
}

/// `[logs]`
#[derive(Debug)]
pub struct Logs {
    /// The spool's directory; made where it does not exist.
    pub dir: PathBuf,
    /// How long rows are kept.
    pub retention: Duration,
    /// The spool's size on disk, over all its segments.
    pub spool_bytes_max: u64,
    /// One segment's size.
    pub segment_bytes: u64,
    /// What happens to requests when the spool is full.
    pub when_full: WhenFull,
    /// How often the spool is forced to disk; what a power cut can lose.
    pub sync_every: Duration,
    /// How often rows are moved to the record.
    pub ship_every: Duration,
    /// Rows moved in one transaction.
    pub batch_rows_max: usize,
    /// Rows as JSON lines.
    pub export: Export,
}

/// `[logs.export]`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// Where lines go; `None` is nowhere.
    pub to: Option<ExportTo>,
    /// A file is rotated away when it has become this long.
    pub rotate_bytes: u64,
    /// Files kept, the present one and those rotated away.
    pub files_max: usize,
}

/// Where exported lines go.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportTo {
    /// A file, appended to.
    File(PathBuf),
    /// Standard output, behind the line that says that the gateway is ready.
    Stdout,
}

/// What happens to requests when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WhenFull {
    /// They are refused with 503 before anything is claimed.
    Refuse,
    /// They are served; their rows are dropped and counted as lost.
    Drop,
}
