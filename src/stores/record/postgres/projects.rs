//! Projects: what a key belongs to.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::PostgresRecord;
use super::columns::{Columns, micros};
use super::organizations;
use super::trail::{Told, tell};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, ProjectRecord, RecordError, snapshot};

#[async_trait]
impl ProjectRecord for PostgresRecord {
    async fn create_project(
        &self,
        id: &ProjectId,
        org: &OrgId,
        name: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            organizations::find_id(&mut tx, org).await?;
            let project =
                Project { id: id.clone(), organization: org.clone(), name: name.to_owned(), created_at: now };
            insert(&mut tx, &project, false).await?;
            let told = Told {
                what: "project.create",
                subject: id.as_str(),
                before: None,
                after: Some(snapshot::project(&project)),
            };
            tell(&mut tx, told, actor, now).await?;
            tx.commit().await?;
            Ok(project)
        })
        .await
    }

    async fn projects(&self, org: Option<&OrgId>) -> Result<Vec<Project>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT * FROM projects WHERE $1 IS NULL OR organization = $1 ORDER BY organization, name",
            )
            .bind(org.map(OrgId::as_str))
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(|row| project(&Columns(row))).collect()
        })
        .await
    }
}

/// Writes a project down; its organization has at most one that is the default.
pub(super) async fn insert(
    tx: &mut PgConnection,
    project: &Project,
    is_default: bool,
) -> Result<(), RecordError> {
    let taken = sqlx::query("SELECT id FROM projects WHERE id = $1 OR (organization = $2 AND name = $3)")
        .bind(project.id.as_str())
        .bind(project.organization.as_str())
        .bind(&project.name)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(row) = taken {
        let text = if Columns(&row).project("id")? == project.id {
            format!("there is a project `{}` already: choose another id", project.id)
        } else {
            format!(
                "`{}` has a project named `{}` already: choose another name",
                project.organization, project.name
            )
        };
        return Err(RecordError::Conflict(text));
    }
    sqlx::query(
        "INSERT INTO projects (id, organization, name, is_default, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(project.id.as_str())
    .bind(project.organization.as_str())
    .bind(&project.name)
    .bind(is_default)
    .bind(micros(project.created_at))
    .execute(tx)
    .await?;
    Ok(())
}

/// The project of this id in `org`, or `org`'s default project.
pub(super) async fn of_organization(
    tx: &mut PgConnection,
    org: &OrgId,
    id: Option<&ProjectId>,
) -> Result<ProjectId, RecordError> {
    let row = sqlx::query(
        "SELECT id FROM projects WHERE organization = $1 AND (id = $2 OR ($2 IS NULL AND is_default))",
    )
    .bind(org.as_str())
    .bind(id.map(ProjectId::as_str))
    .fetch_optional(tx)
    .await?;
    match (row, id) {
        (Some(row), _) => Columns(&row).project("id"),
        (None, Some(id)) => Err(RecordError::NotFound(format!("`{org}` has no project `{id}`"))),
        (None, None) => Err(RecordError::Corrupt(format!("`{org}` has no default project"))),
    }
}

fn project(row: &Columns<'_>) -> Result<Project, RecordError> {
    Ok(Project {
        id: row.project("id")?,
        organization: row.org("organization")?,
        name: row.text("name")?,
        created_at: row.instant("created_at")?,
    })
}
