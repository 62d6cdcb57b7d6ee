//! What the statements in [`sql`](super::sql) call this engine by.

use sqlx::SqlitePool;
pub(super) use sqlx::sqlite::{SqliteConnection as Connection, SqliteRow as Row};

pub(super) use super::SqliteRecord as Record;
use crate::stores::record::RecordError;

/// The number of the last change, also of one that was pruned.
pub(super) const LAST_CHANGE: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0) AS last";

impl Record {
    /// Connections that read.
    pub(super) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// What `work` answers: a local file answers, or fails, in its own time.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        work.await
    }
}
