//! Which project made what an answer named.
//!
//! Written with the rows of the log, so that whoever received an answer whole is remembered, whatever happens then.

use async_trait::async_trait;
use rusqlite::Connection;

use super::SqliteRecord;
use super::columns::{Columns, micros};
use crate::domain::id::ProjectId;
use crate::domain::row::{Shape, Variables};
use crate::stores::record::{JobRecord, RecordError};

/// A job, its project, and when it was made.
pub(super) type Job = (String, String, i64);

/// What a row remembers.
pub(super) fn of(row: &Variables<'_>, shape: &Shape<&str>) -> Option<Job> {
    Some((row.job?.to_owned(), shape.project?.to_owned(), micros(row.at)))
}

/// Remembers jobs; one that is known stays with the project that has it.
pub(super) fn take(db: &Connection, jobs: &[Job]) -> rusqlite::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut insert =
        db.prepare("INSERT INTO jobs (job, project, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?;
    for (job, project, at) in jobs {
        insert.execute((job, project, at))?;
    }
    Ok(())
}

#[async_trait]
impl JobRecord for SqliteRecord {
    async fn job_owner(&self, job: &str) -> Result<Option<ProjectId>, RecordError> {
        let row = sqlx::query("SELECT project FROM jobs WHERE job = ?")
            .bind(job)
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        ProjectId::parse(&Columns(&row).text("project")?).map(Some).map_err(RecordError::Corrupt)
    }
}
