//! Drops what is older than it should be kept: rows by `logs.retention`, and what else of the record grows with time.
//!
//! In steps of some milliseconds with a pause behind each, so that rows, and changes of keys, go on being written. Where
//! there is more to drop than steps can, it is dropped later; nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::time::{Period, Timestamp};
use crate::stores::record::RecordError;
use crate::stores::record::reports::{Arrived, CELLS_KEPT};
use crate::stores::record::upkeep::{Keep, Pruned, UpkeepRecord};

/// How often what has become old is dropped.
const EVERY: Duration = Duration::from_secs(60);
/// Between two steps: ten times as long as one takes.
const PAUSE: Duration = Duration::from_millis(50);

/// Followers of the log that are away for longer miss rows.
const NEWS_KEPT: Duration = Duration::from_secs(600);
/// A gateway that cannot read the record for longer must be started anew.
const CHANGES_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// For so long a secret whose grace has ended is called expired; later it is unknown.
const ENDED_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What is kept at an instant, with rows kept for `retention`; and what an export has not read, where there is one.
pub fn keep_at(now: Timestamp, retention: Duration, exported: Option<Arrived>) -> Keep {
    // Whole days, so that no sum of a day lacks some of its cells.
    let (midnight, _) = Period::Daily.bounds(now.minus(CELLS_KEPT));
    Keep {
        rows_since: now.minus(retention),
        news_since: now.minus(NEWS_KEPT),
        news_read: exported,
        cells_since: midnight,
        changes_since: now.minus(CHANGES_KEPT),
        ended_since: now.minus(ENDED_KEPT),
    }
}

/// Drops everything that is not kept, step by step.
///
/// # Errors
/// What the record says; what was dropped until then is gone.
pub async fn drop_old(record: &dyn UpkeepRecord, keep: &Keep) -> Result<Pruned, RecordError> {
    let mut sum = Pruned::default();
    loop {
        let step = record.prune(keep).await?;
        sum.rows += step.rows;
        sum.news += step.news;
        sum.cells += step.cells;
        sum.changes += step.changes;
        sum.ended += step.ended;
        if !step.more {
            return Ok(sum);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Drops what is old every minute until `shutdown`; `keep` says what is kept by then.
pub async fn run(record: Arc<dyn UpkeepRecord>, keep: impl Fn() -> Keep, shutdown: impl Future<Output = ()>) {
    let rounds = async {
        let mut failing = false;
        loop {
            match drop_old(&*record, &keep()).await {
                Ok(pruned) => {
                    if pruned.rows > 0 {
                        tracing::debug!(?pruned, "dropped what is older than it is kept");
                    }
                    failing = false;
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(%error, "what is older than logs.retention cannot be dropped; trying on");
                }
                Err(_) => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = rounds => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::row::Row;
    use crate::logs::tests::{id_at, row};
    use crate::stores::record::reports::{LogFilter, ReportRecord, Scope};
    use crate::stores::record::sqlite::SqliteRecord;
    use crate::stores::record::{LogRecord, Shipment};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn what_limits_are_rebuilt_from_is_always_kept() {
        use crate::stores::counters::memory::HISTORY;
        for retention in [3_600, 90 * 86_400, 3_660 * 86_400].map(Duration::from_secs) {
            let keep = keep_at(NOW, retention, None);
            assert_eq!(keep.rows_since, NOW.minus(retention));
            assert!(
                keep.cells_since <= NOW.minus(HISTORY) && keep.cells_since.seconds().is_multiple_of(86_400)
            );
        }
    }

    #[tokio::test]
    async fn rows_older_than_the_retention_go() {
        let dir = tempfile::tempdir().unwrap();
        let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
        // One a second, up to now: more than one step takes.
        let row = |n: u64| {
            let at = NOW.minus(Duration::from_secs(5_000 - n));
            Row { at, ..row(id_at(at, n)) }
        };
        record.ship(&Shipment { rows: (0..5_000).map(row).collect(), ..Shipment::default() }).await.unwrap();
        let keep = keep_at(NOW, Duration::from_secs(3_600), None);
        assert_eq!(drop_old(&record, &keep).await.unwrap().rows, 1_400);
        assert_eq!(drop_old(&record, &keep).await.unwrap(), Pruned::default());
        let left = record.log_numbered(&LogFilter::all(Scope::Everything), 1, 1).await.unwrap();
        assert_eq!(left.total, 3_600);
    }
}
