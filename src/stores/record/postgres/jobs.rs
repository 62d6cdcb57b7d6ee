//! Which project made what an answer named.
//!
//! Written with the rows of the log, so that whoever received an answer whole is remembered, whatever happens then.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::PostgresRecord;
use super::columns::{Columns, micros};
use super::log_copy::storable;
use crate::domain::id::ProjectId;
use crate::domain::row::RowRef;
use crate::stores::record::{JobRecord, RecordError};

/// Remembers jobs; one that is known stays with the project that has it.
pub(super) async fn take(tx: &mut PgConnection, rows: &[RowRef<'_>]) -> Result<(), RecordError> {
    let (mut jobs, mut projects, mut at) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        if let (Some(job), Some(project)) = (row.job, row.project) {
            jobs.push(storable(job).into_owned());
            projects.push(storable(project).into_owned());
            at.push(micros(row.at));
        }
    }
    if jobs.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO jobs (job, project, at) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
         ON CONFLICT DO NOTHING",
    )
    .bind(jobs)
    .bind(projects)
    .bind(at)
    .execute(tx)
    .await?;
    Ok(())
}

#[async_trait]
impl JobRecord for PostgresRecord {
    async fn job_owner(&self, job: &str) -> Result<Option<ProjectId>, RecordError> {
        self.within(async {
            let row = sqlx::query("SELECT project FROM jobs WHERE job = $1")
                .bind(job)
                .fetch_optional(&self.pool)
                .await?;
            let Some(row) = row else { return Ok(None) };
            ProjectId::parse(&Columns(&row).text("project")?).map(Some).map_err(RecordError::Corrupt)
        })
        .await
    }
}
