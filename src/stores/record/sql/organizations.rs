//! Organizations and their caps.

use async_trait::async_trait;

use super::columns::{Columns, int, micros, opt_int};
use super::engine::{Connection, Record};
use super::projects;
use super::trail::{Told, organization_changed, tell};
use crate::domain::id::{OrgId, UserId};
use crate::domain::key::Organization;
use crate::domain::limit::Caps;
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::{
    Actor, NewOrganization, OrganizationEdit, OrganizationRecord, Page, RecordError, is_still,
    seen_organization, snapshot,
};

/// What the default project is called.
const DEFAULT_PROJECT: &str = "default";

#[async_trait]
impl OrganizationRecord for Record {
    async fn create_organization(
        &self,
        new: &NewOrganization,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let org = insert(&mut tx, new, actor, now).await?;
            tx.commit().await?;
            Ok(org)
        })
        .await
    }

    async fn organizations(&self) -> Result<Vec<Organization>, RecordError> {
        self.within(async {
            let rows =
                sqlx::query("SELECT * FROM organizations ORDER BY id").fetch_all(self.readers()).await?;
            rows.iter().map(|row| organization(&Columns(row))).collect()
        })
        .await
    }

    async fn organizations_page(
        &self,
        of: Option<UserId>,
        page: &Page<OrgId>,
    ) -> Result<Vec<Organization>, RecordError> {
        self.within(async {
            // Two statements, as one that covers both could use no index for either.
            let query = match of {
                None => sqlx::query("SELECT * FROM organizations WHERE id > $2 ORDER BY id LIMIT $3")
                    .bind(None::<i64>),
                Some(user) => sqlx::query(
                    "SELECT o.* FROM members m JOIN organizations o ON o.id = m.organization
                     WHERE m.user_id = $1 AND m.organization > $2 ORDER BY m.organization LIMIT $3",
                )
                .bind(user.0),
            };
            let rows = query
                .bind(page.after.as_ref().map_or("", OrgId::as_str))
                .bind(int(page.most as u64))
                .fetch_all(self.readers())
                .await?;
            rows.iter().map(|row| organization(&Columns(row))).collect()
        })
        .await
    }

    async fn edit_organization(
        &self,
        id: &OrgId,
        edit: &OrganizationEdit,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find_id(&mut tx, id).await?;
            is_still(edit.seen.as_ref(), &seen_organization(&before), || format!("the organization `{id}`"))?;
            let mut after = before.clone();
            if let Some(name) = edit.name.as_ref().filter(|name| **name != before.name) {
                name_is_free(&mut tx, name).await?;
                after.name.clone_from(name);
            }
            after.plan = edit.plan.clone().unwrap_or(after.plan);
            after.negotiated = edit.negotiated.unwrap_or(before.negotiated);
            after.limit = edit.limit.unwrap_or(before.limit);
            if after == before {
                return Ok(before);
            }
            update(&mut tx, &after).await?;
            let told = Told {
                what: verb(edit),
                subject: id.as_str(),
                organization: Some(id),
                before: Some(snapshot::organization(&before)),
                after: Some(snapshot::organization(&after)),
            };
            tell(&mut tx, told, actor, now).await?;
            organization_changed(&mut tx, id, now).await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }
}

/// What an edit is called in the audit trail: its gravest part.
fn verb(edit: &OrganizationEdit) -> &'static str {
    match edit {
        OrganizationEdit { plan: Some(_), .. } | OrganizationEdit { negotiated: Some(_), .. } => {
            "organization.set_plan"
        }
        OrganizationEdit { limit: Some(_), .. } => "organization.set_limit",
        _ => "organization.rename",
    }
}

async fn update(tx: &mut Connection, org: &Organization) -> Result<(), RecordError> {
    sqlx::query(
        "UPDATE organizations SET name = $1, plan = $2, per_second = $3, per_minute = $4, concurrency = $5,
             limit_requests = $6, limit_microcents = $7, limit_period = $8, limit_enabled = $9
         WHERE id = $10",
    )
    .bind(&org.name)
    .bind(&org.plan)
    .bind(opt_int(org.negotiated.per_second))
    .bind(opt_int(org.negotiated.per_minute))
    .bind(opt_int(org.negotiated.concurrency))
    .bind(opt_int(org.limit.and_then(|limit| limit.requests)))
    .bind(opt_int(org.limit.and_then(|limit| limit.microcents)))
    .bind(org.limit.map(|limit| limit.period.name()))
    .bind(org.limit.is_some_and(|limit| limit.enabled))
    .bind(org.id.as_str())
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes an organization and its default project.
pub(in crate::stores::record) async fn insert(
    tx: &mut Connection,
    new: &NewOrganization,
    actor: &Actor,
    now: Timestamp,
) -> Result<Organization, RecordError> {
    if is_taken(tx, &new.id).await? {
        return Err(RecordError::Conflict(format!(
            "there is an organization `{}` already: choose another name",
            new.id
        )));
    }
    name_is_free(tx, &new.name).await?;
    sqlx::query("INSERT INTO organizations (id, name, plan, created_at) VALUES ($1, $2, $3, $4)")
        .bind(new.id.as_str())
        .bind(&new.name)
        .bind(&new.plan)
        .bind(micros(now))
        .execute(&mut *tx)
        .await?;
    let project = Project {
        id: new.default_project.clone(),
        organization: new.id.clone(),
        name: DEFAULT_PROJECT.to_owned(),
        created_at: now,
    };
    projects::insert(tx, &project, true).await?;
    let org = find_id(tx, &new.id).await?;
    let told = Told {
        what: "organization.create",
        subject: new.id.as_str(),
        organization: Some(&new.id),
        before: None,
        after: Some(snapshot::organization(&org)),
    };
    tell(tx, told, actor, now).await?;
    organization_changed(tx, &org.id, now).await?;
    Ok(org)
}

/// Whether the id is taken.
pub(in crate::stores::record) async fn is_taken(
    tx: &mut Connection,
    id: &OrgId,
) -> Result<bool, RecordError> {
    let row = sqlx::query("SELECT 1 FROM organizations WHERE id = $1").bind(id.as_str()).fetch_optional(tx);
    Ok(row.await?.is_some())
}

async fn name_is_free(tx: &mut Connection, name: &str) -> Result<(), RecordError> {
    let row = sqlx::query("SELECT 1 FROM organizations WHERE name = $1").bind(name).fetch_optional(tx);
    row.await?.map_or(Ok(()), |_| {
        Err(RecordError::Conflict(format!(
            "there is an organization named `{name}` already: choose another name"
        )))
    })
}

/// The organization with this id.
pub(in crate::stores::record) async fn find_id(
    tx: &mut Connection,
    id: &OrgId,
) -> Result<Organization, RecordError> {
    let row = sqlx::query("SELECT * FROM organizations WHERE id = $1").bind(id.as_str());
    match row.fetch_optional(tx).await? {
        Some(row) => organization(&Columns(&row)),
        None => Err(unknown(id.as_str())),
    }
}

/// The organization with this id, or else with this name.
pub(in crate::stores::record) async fn find(
    tx: &mut Connection,
    id_or_name: &str,
) -> Result<Organization, RecordError> {
    let row =
        sqlx::query("SELECT * FROM organizations WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC LIMIT 1")
            .bind(id_or_name)
            .fetch_optional(tx)
            .await?;
    row.map_or_else(|| Err(unknown(id_or_name)), |row| organization(&Columns(&row)))
}

fn unknown(id_or_name: &str) -> RecordError {
    RecordError::NotFound(format!("there is no organization `{id_or_name}`"))
}

/// A row of `organizations`.
pub(in crate::stores::record) fn organization(row: &Columns<'_>) -> Result<Organization, RecordError> {
    Ok(Organization {
        id: row.org("id")?,
        name: row.text("name")?,
        plan: row.text("plan")?,
        negotiated: Caps {
            per_second: row.opt_count("per_second")?,
            per_minute: row.opt_count("per_minute")?,
            concurrency: row.opt_count("concurrency")?,
        },
        limit: row.limit()?,
        created_at: row.instant("created_at")?,
    })
}
