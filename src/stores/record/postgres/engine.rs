//! What the statements in [`sql`](super::sql) call this engine by.

use sqlx::PgPool;
pub(super) use sqlx::postgres::{PgConnection as Connection, PgRow as Row};

pub(super) use super::PostgresRecord as Record;
use crate::stores::record::RecordError;

/// The number of the last change, also of one that was pruned. Of what is committed: the sequence behind it is ahead.
pub(super) const LAST_CHANGE: &str =
    "SELECT greatest((SELECT max(sequence) FROM changes), changes) AS last FROM log_removed";

impl Record {
    /// Connections that read.
    pub(super) const fn readers(&self) -> &PgPool {
        &self.pool
    }

    /// What `work` answers, where the server was reached and does so in time.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        self.door.check()?;
        super::within(self.answer_timeout, work).await
    }
}
