//! What an earlier process of this gateway admitted, as its spool tells: for limits where the record that has all of it
//! is away. Rows that were shipped already are told too, where their segment is still there; so it is what was admitted
//! of late, or more.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::sync::Arc;

use super::batch::{Batch, Room, Stop, read_piece};
use super::frame;
use super::spool::Spool;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId, RequestId};
use crate::domain::ring::Window;
use crate::domain::time::Timestamp;
use crate::stores::record::{RowSource as _, UsageCell};

/// Admitted requests, as counters are restored from them.
#[derive(Debug, Default, PartialEq)]
pub struct Left {
    /// By five minutes, oldest first.
    pub cells: Vec<UsageCell>,
    /// Of every key, all there are.
    pub totals: Vec<(OrgId, KeyId, u64)>,
    /// One by one since the instant that was asked for, oldest first.
    pub recent: Vec<(OrgId, Option<KeyId>, Timestamp)>,
}

#[derive(Default)]
struct Sums {
    cells: BTreeMap<(Timestamp, OrgId, Option<KeyId>), (u64, Cost)>,
    totals: BTreeMap<(OrgId, KeyId), u64>,
    recent: Vec<(OrgId, Option<KeyId>, Timestamp)>,
}

/// Reads the segments of earlier processes, which stay as they are; requests one by one since `recent`.
///
/// # Errors
/// Where one cannot be read. What is damaged ends its segment, and is told when that is recovered.
pub async fn left(spool: &Spool, recent: Timestamp) -> io::Result<Left> {
    let segments = spool.shared.old.lock().clone();
    let mut sums = Sums::default();
    let mut open: HashMap<RequestId, (Option<OrgId>, Option<KeyId>, Timestamp, Cost)> = HashMap::new();
    let mut room = Room::default();
    for path in segments {
        let length = fs::metadata(&path)?.len();
        room = read_piece(path.clone(), 0, length.min(frame::FIRST), room).await?;
        let Ok(Some(checksum)) = frame::checksum_in(&room.bytes) else { continue };
        let (mut at, mut dictionary) = (frame::FIRST, Arc::default());
        while at < length {
            room = read_piece(path.clone(), at, length, room).await?;
            let batch = Batch::read(room, checksum, at, spool.shared.batch_rows_max, dictionary);
            let rows = &batch.rows;
            for row in (0..rows.count()).filter_map(|at| rows.row(at)).filter(|row| row.admitted) {
                sums.add(organization(row.organization), row.key, row.at, row.cost, recent);
            }
            batch.ended.iter().for_each(|id| drop(open.remove(id)));
            open.extend(
                batch.opened.into_iter().map(|it| {
                    (it.id, (organization(it.organization.as_deref()), it.key, it.at, it.estimate))
                }),
            );
            dictionary = Arc::clone(&batch.rows.dictionary);
            room = batch.rows.into_room();
            if !matches!(batch.stop, Stop::Full | Stop::Cut) || batch.next == at {
                break;
            }
            at = batch.next;
        }
    }
    for (organization, key, at, cost) in open.into_values() {
        sums.add(organization, key, at, cost, recent);
    }
    Ok(sums.into())
}

fn organization(text: Option<&str>) -> Option<OrgId> {
    text.and_then(|text| OrgId::parse(text).ok())
}

impl Sums {
    fn add(
        &mut self,
        organization: Option<OrgId>,
        key: Option<KeyId>,
        at: Timestamp,
        cost: Cost,
        recent: Timestamp,
    ) {
        let Some(organization) = organization else { return };
        let width = Window::DAY.cell().as_micros() as u64;
        let cell = Timestamp::from_micros(at.micros() / width * width);
        let (admitted, sum) = self.cells.entry((cell, organization.clone(), key)).or_default();
        *admitted += 1;
        sum.credits = sum.credits.saturating_add(cost.credits);
        sum.microcents = sum.microcents.saturating_add(cost.microcents);
        if let Some(key) = key {
            *self.totals.entry((organization.clone(), key)).or_default() += 1;
        }
        if at >= recent {
            self.recent.push((organization, key, at));
        }
    }
}

impl From<Sums> for Left {
    fn from(sums: Sums) -> Self {
        let cell =
            |((at, organization, key), (admitted, cost))| UsageCell { organization, key, at, admitted, cost };
        let mut recent = sums.recent;
        recent.sort_by_key(|(.., at)| *at);
        Self {
            cells: sums.cells.into_iter().map(cell).collect(),
            totals: sums.totals.into_iter().map(|((org, key), total)| (org, key, total)).collect(),
            recent,
        }
    }
}
