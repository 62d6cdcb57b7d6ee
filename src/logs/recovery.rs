//! What an earlier process left in the spool, moved to the record before this one serves.
//!
//! Every segment is read from its beginning: what lies before the record's cursor is not sent again, but tells
//! which admissions ended. Admissions without a row, from segments or carried by the record, become rows of
//! their own: admitted, and crashed. So received = admitted = logged, and quotas count them.
//!
//! Nothing is deleted before everything is in the record, and everything may be sent twice: recovery that is
//! itself interrupted is simply begun again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{Batch, Piece, Room, Stop, read_piece};
use super::deliver::deliver;
use super::frame::{self, Damage};
use super::segment;
use super::spool::Spool;
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::row::{Admission, Row};
use crate::stores::record::{LogRecord, RecordError, Rows, Shipment};

/// The code of a row that stands for a request this gateway died with.
pub const CRASHED_CODE: &str = "gateway_crashed";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments of earlier processes.
    pub segments: usize,
    /// Rows sent to the record; it may have known some.
    pub rows: u64,
    /// Admissions that never ended, each now a row.
    pub crashed: u64,
    /// Places behind which a segment could not be read. These files are set aside.
    pub damaged: Vec<Damage>,
}

/// Why recovery could not be completed. Begin it again: nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The record did not take it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A segment could not be read or deleted.
    #[error("the log spool's segment {0} cannot be recovered: {1}")]
    Segment(PathBuf, #[source] io::Error),
}

/// Moves everything of earlier processes to the record and clears the spool of it.
///
/// # Errors
/// [`RecoveryError`]; the gateway should not serve before it is gone.
pub async fn recover(spool: &Spool, record: &dyn LogRecord) -> Result<Recovered, RecoveryError> {
    let old = spool.shared.old.lock().clone();
    let mut work = Work {
        spool,
        record,
        cursors: record.cursors().await?.into_iter().collect(),
        open: HashMap::new(),
        carried: HashSet::new(),
        room: Room::default(),
        found: Recovered { segments: old.len(), ..Recovered::default() },
    };
    for admission in record.carried(spool.shared.id).await? {
        work.carried.insert(admission.id);
        work.open.insert(admission.id, admission);
    }
    let mut whole = Vec::new();
    for path in &old {
        let damage = work.segment(path).await.map_err(|error| match error {
            RecoveryError::Segment(_, error) => RecoveryError::Segment(path.clone(), error),
            other => other,
        })?;
        whole.push(damage.is_none());
        work.found.damaged.extend(damage);
    }
    work.end_open(old.iter().map(|path| name_of(path)).collect()).await?;
    for (path, whole) in old.iter().zip(whole) {
        let gone = if whole { spool.shared.remove_file(path) } else { segment::set_aside(path).map(drop) };
        gone.map_err(|error| RecoveryError::Segment(path.clone(), error))?;
    }
    spool.shared.old.lock().clear();
    let found = work.found;
    for damage in &found.damaged {
        tracing::error!(%damage, "rows of the request log are lost behind this place; the file is kept as *.damaged");
    }
    if found.segments > 0 || found.crashed > 0 {
        tracing::info!(
            segments = found.segments,
            rows = found.rows,
            crashed = found.crashed,
            "the log spool of an earlier run was moved to the record"
        );
    }
    Ok(found)
}

struct Work<'a> {
    spool: &'a Spool,
    record: &'a dyn LogRecord,
    cursors: HashMap<String, u64>,
    /// Admissions without a row so far: as many as were in flight.
    open: HashMap<RequestId, Admission<'static>>,
    /// Those of them that the record carries.
    carried: HashSet<RequestId>,
    room: Room,
    found: Recovered,
}

impl Work<'_> {
    /// Ships one segment; where it could not be read to its end.
    async fn segment(&mut self, path: &Path) -> Result<Option<Damage>, RecoveryError> {
        let name = name_of(path);
        let failed = |error| RecoveryError::Segment(path.to_owned(), error);
        let length = fs::metadata(path).map_err(failed)?.len();
        let shipped = self.cursors.get(&name).copied().unwrap_or(0);
        let damage = |offset, reason| Ok(Some(Damage { segment: name.clone(), offset, reason }));
        let header = self.piece(path, 0, length.min(frame::FIRST)).await?;
        let checksum = match frame::checksum_in(&header.bytes) {
            Ok(Some(checksum)) => checksum,
            Ok(None) => return Ok(None),
            Err(reason) => return damage(0, reason),
        };
        self.room = header;
        let (mut at, mut dictionary) = (frame::FIRST, Arc::default());
        while at < length {
            let room = self.piece(path, at, length).await?;
            let batch = Batch::read(room, checksum, at, self.spool.shared.batch_rows_max, dictionary);
            let (next, stop) = (batch.next, batch.stop);
            dictionary = Arc::clone(&batch.rows.dictionary);
            self.send(&name, shipped, batch).await?;
            match stop {
                Stop::End => return Ok(None),
                Stop::Damaged(reason) => return damage(next, reason),
                Stop::Cut if next == at => return damage(next, "the file ends inside a frame"),
                Stop::Cut | Stop::Full => at = next,
            }
        }
        Ok(None)
    }

    async fn piece(&mut self, path: &Path, from: u64, to: u64) -> Result<Room, RecoveryError> {
        read_piece(path.to_owned(), from, to, std::mem::take(&mut self.room))
            .await
            .map_err(|error| RecoveryError::Segment(path.to_owned(), error))
    }

    async fn send(&mut self, name: &str, shipped: u64, batch: Batch) -> Result<(), RecordError> {
        let Batch { rows: piece, opened, ended, next, .. } = batch;
        let piece = Arc::new(piece);
        let rows = Rows::of(Arc::clone(&piece)).behind(piece.count_to(shipped));
        if !rows.is_empty() {
            let finished = ended.iter().filter(|id| self.carried.contains(id)).map(|id| id.0).collect();
            let cursor = Some((name.to_owned(), next));
            let spool = self.spool.shared.id;
            self.ship(Shipment { spool, rows, finished, cursor, ..Shipment::default() }).await?;
        }
        for id in &ended {
            self.open.remove(id);
            self.carried.remove(id);
        }
        self.open.extend(opened.into_iter().map(|admission| (admission.id, admission)));
        self.room = Arc::into_inner(piece).map(Piece::into_room).unwrap_or_default();
        Ok(())
    }

    /// Makes a row of every admission that is still open, and has the record forget the segments with the last.
    async fn end_open(&mut self, mut forgotten: Vec<String>) -> Result<(), RecordError> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_by_key(|admission| (admission.at, admission.id));
        self.found.crashed = open.len() as u64;
        let mut batches = open.chunks(self.spool.shared.batch_rows_max).peekable();
        while let Some(batch) = batches.next() {
            let ids = batch.iter().map(|admission| admission.id);
            let shipment = Shipment {
                spool: self.spool.shared.id,
                rows: batch.iter().map(crashed).collect(),
                finished: ids.filter(|id| self.carried.contains(id)).map(|id| id.0).collect(),
                forgotten: if batches.peek().is_none() { std::mem::take(&mut forgotten) } else { Vec::new() },
                ..Shipment::default()
            };
            self.ship(shipment).await?;
        }
        self.found.rows -= self.found.crashed;
        if !forgotten.is_empty() {
            let spool = self.spool.shared.id;
            self.record.ship(&Shipment { spool, forgotten, ..Shipment::default() }).await?;
        }
        Ok(())
    }

    async fn ship(&mut self, mut shipment: Shipment) -> Result<(), RecordError> {
        let rows = shipment.rows.len() as u64;
        let lost = deliver(self.record, &mut shipment).await?;
        self.found.rows += rows;
        let accounts = &self.spool.shared.accounts;
        accounts.recovered.fetch_add(rows, Ordering::Release);
        accounts.refused.fetch_add(lost, Ordering::Release);
        accounts.shipped.fetch_add(rows - lost, Ordering::Release);
        Ok(())
    }
}

/// The row of a request that this gateway died with: it counts, and costs nothing.
fn crashed(admission: &Admission<'static>) -> Row<'static> {
    Row {
        id: admission.id,
        at: admission.at,
        organization: admission.organization.clone(),
        project: admission.project.clone(),
        key: admission.key,
        admitted: true,
        method: Cow::Borrowed("-"),
        path: Cow::Borrowed(""),
        status: 0,
        code: Cow::Borrowed(CRASHED_CODE),
        outcome: Some(Outcome::Crashed),
        first_byte_micros: 0,
        total_micros: 0,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        cost: Cost::default(),
        cost_source: CostSource::Free,
        tier: None,
        domain: None,
        bytes_in: 0,
        bytes_out: 0,
        target: None,
        user_agent: None,
        job: None,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
