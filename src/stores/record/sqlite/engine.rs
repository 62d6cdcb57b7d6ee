//! What the statements in [`sql`](super::sql) call this engine by.

use sqlx::SqlitePool;
pub(super) use sqlx::sqlite::{SqliteConnection as Connection, SqliteRow as Row};

pub(super) use super::SqliteRecord as Record;
use super::sql::columns::Columns;
use super::sql::{grants, organizations};
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
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

    pub(super) async fn grant_of(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let row = sqlx::query(
            "SELECT k.*, s.valid_until FROM key_secrets s JOIN keys k ON k.id = s.key
             WHERE s.digest = $1 AND k.revoked_at IS NULL",
        );
        let row = row.bind(digest.0.as_slice()).fetch_optional(self.readers()).await?;
        row.map(|row| grants::grant(&Columns(&row))).transpose()
    }

    pub(super) async fn organization_of(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        organizations::find(&mut *self.readers().acquire().await?, id_or_name).await
    }
}
