//! Keeping the file in order.

mod actual;
mod compare;
mod prune;
mod verify;

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::Connection;

use super::SqliteRecord;
use crate::stores::record::RecordError;
use crate::stores::record::upkeep::{Keep, Pruned, UpkeepRecord, Verified};

/// The last place of which a row was removed: what stands up to it is gone for whoever asks, though its sheet may have
/// rows that are not.
pub(super) fn cutoff(db: &Connection) -> rusqlite::Result<i64> {
    let removed: Option<i64> = db.query_row("SELECT rows FROM log_removed", [], |row| row.get(0))?;
    Ok(removed.unwrap_or(i64::MIN))
}

#[async_trait]
impl UpkeepRecord for SqliteRecord {
    async fn prune(&self, keep: &Keep) -> Result<Pruned, RecordError> {
        let (keep, swept) = (*keep, self.swept.load(Ordering::Relaxed));
        let (pruned, swept) = self.transact(move |db| Ok(prune::step(db, &keep, swept)?)).await?;
        self.swept.store(swept, Ordering::Relaxed);
        Ok(pruned)
    }

    async fn verify(&self, repair: bool) -> Result<Verified, RecordError> {
        let mut verified = Verified::default();
        for level in verify::LEVELS {
            let found = self.log_readers.ask(move |db| verify::level(db, level)).await?;
            verified.rows += found.rows;
            verified.sums += found.sums;
            verified.drifted += found.drifted;
            let complete = found.drifts.len() as u64 == found.drifted;
            verified.drifts.extend(found.drifts.iter().map(|drift| drift.told.clone()));
            if found.drifts.is_empty() {
                continue;
            }
            let repaired = match repair {
                true => self.transact(move |db| verify::repair(db, &found.drifts)).await?,
                false => 0,
            };
            verified.repaired += repaired;
            if !complete || repaired < verified.drifted {
                break;
            }
        }
        Ok(verified)
    }
}
