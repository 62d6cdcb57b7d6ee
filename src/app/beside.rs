//! Other gateways on the record of one that counts limits in memory.
//!
//! Each of them admits all of a cap by itself, so together they exceed it, and nothing else would say so: requests are
//! served, rows are there. Who counts in Redis may be as many as they like, and is never asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uuid::Uuid;

use crate::stores::record::SharedRecord;

/// How often the record is asked.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Who was heard of so lately may well be there still: twice as long as one that lives is silent, and a little.
const LATELY: Duration = Duration::from_secs(150);

/// How many there are, as was seen last.
#[derive(Debug, Default)]
pub struct Beside(AtomicU64);

impl Beside {
    /// What is wrong with that; `None` where there is no other.
    pub fn warning(&self) -> Option<String> {
        let (others, verb) = match self.0.load(Ordering::Relaxed) {
            0 => return None,
            1 => ("another gateway".to_owned(), "uses"),
            more => (format!("{more} other gateways"), "use"),
        };
        Some(format!(
            "{others} {verb} this record, or did within the last {} seconds, and limits are counted in memory: each gateway admits all \
             of a plan, quota and spend limit by itself. Count them in Redis (counters.url)",
            LATELY.as_secs()
        ))
    }

    /// Looks for others than the gateway of `spool` again and again, and says so in the operational log when there are
    /// some where there were none.
    pub async fn watch(&self, record: SharedRecord, spool: Uuid) {
        loop {
            // A record that is away says nothing either way.
            if let Ok(others) = record.gateways_beside(spool, LATELY).await
                && self.0.swap(others, Ordering::Relaxed) == 0
                && let Some(warning) = self.warning()
            {
                tracing::warn!(others, "{warning}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
