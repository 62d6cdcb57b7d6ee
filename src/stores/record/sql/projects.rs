//! Projects: what a key belongs to.

use async_trait::async_trait;

use super::columns::{Columns, int, micros};
use super::engine::{Connection, Record};
use super::organizations;
use super::trail::{Told, tell};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::{
    Actor, Page, ProjectRecord, RecordError, Seen, is_still, seen_project, snapshot,
};

#[async_trait]
impl ProjectRecord for Record {
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
                organization: Some(org),
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
            .fetch_all(self.readers())
            .await?;
            rows.iter().map(|row| project(&Columns(row))).collect()
        })
        .await
    }

    async fn projects_page(&self, org: &OrgId, page: &Page<ProjectId>) -> Result<Vec<Project>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT * FROM projects WHERE organization = $1 AND id > $2 ORDER BY id LIMIT $3",
            )
            .bind(org.as_str())
            .bind(page.after.as_ref().map_or("", ProjectId::as_str))
            .bind(int(page.most as u64))
            .fetch_all(self.readers())
            .await?;
            rows.iter().map(|row| project(&Columns(row))).collect()
        })
        .await
    }

    async fn project(&self, id: &ProjectId) -> Result<Project, RecordError> {
        self.within(async { find(&mut *self.readers().acquire().await?, id).await }).await
    }

    async fn rename_project(
        &self,
        id: &ProjectId,
        name: &str,
        seen: Option<&Seen>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find(&mut tx, id).await?;
            is_still(seen, &seen_project(&before), || format!("the project `{id}`"))?;
            if before.name == name {
                return Ok(before);
            }
            let after = Project { name: name.to_owned(), ..before.clone() };
            is_free(&mut tx, &after).await?;
            sqlx::query("UPDATE projects SET name = $1 WHERE id = $2")
                .bind(name)
                .bind(id.as_str())
                .execute(&mut *tx)
                .await?;
            let told = Told {
                what: "project.rename",
                subject: id.as_str(),
                organization: Some(&before.organization),
                before: Some(snapshot::project(&before)),
                after: Some(snapshot::project(&after)),
            };
            tell(&mut tx, told, actor, now).await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }
}

async fn find(tx: &mut Connection, id: &ProjectId) -> Result<Project, RecordError> {
    let row =
        sqlx::query("SELECT * FROM projects WHERE id = $1").bind(id.as_str()).fetch_optional(tx).await?;
    row.map_or_else(
        || Err(RecordError::NotFound(format!("there is no project `{id}`"))),
        |row| project(&Columns(&row)),
    )
}

/// Writes a project down; its organization has at most one that is the default.
pub(super) async fn insert(
    tx: &mut Connection,
    project: &Project,
    is_default: bool,
) -> Result<(), RecordError> {
    if is_taken(tx, &project.id).await? {
        return Err(RecordError::Conflict(format!(
            "there is a project `{}` already: choose another id",
            project.id
        )));
    }
    is_free(tx, project).await?;
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

async fn is_taken(tx: &mut Connection, id: &ProjectId) -> Result<bool, RecordError> {
    let row = sqlx::query("SELECT 1 FROM projects WHERE id = $1").bind(id.as_str()).fetch_optional(tx);
    Ok(row.await?.is_some())
}

/// Whether no other project of the organization has this name.
async fn is_free(tx: &mut Connection, project: &Project) -> Result<(), RecordError> {
    let taken = sqlx::query("SELECT 1 FROM projects WHERE organization = $1 AND name = $2 AND id <> $3")
        .bind(project.organization.as_str())
        .bind(&project.name)
        .bind(project.id.as_str())
        .fetch_optional(tx)
        .await?;
    taken.map_or(Ok(()), |_| {
        Err(RecordError::Conflict(format!(
            "`{}` has a project named `{}` already: choose another name",
            project.organization, project.name
        )))
    })
}

/// The project of this id in `org`, or `org`'s default project.
pub(super) async fn of_organization(
    tx: &mut Connection,
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
