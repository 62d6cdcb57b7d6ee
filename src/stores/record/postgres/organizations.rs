//! Organizations and their caps.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::PostgresRecord;
use super::columns::{Columns, micros, opt_int};
use super::projects;
use super::trail::{Told, organization_changed, tell};
use crate::domain::id::OrgId;
use crate::domain::key::Organization;
use crate::domain::limit::{Caps, SpendLimit};
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, NewOrganization, OrganizationRecord, RecordError, snapshot};

/// What the default project is called.
const DEFAULT_PROJECT: &str = "default";

#[async_trait]
impl OrganizationRecord for PostgresRecord {
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
            let rows = sqlx::query("SELECT * FROM organizations ORDER BY id").fetch_all(&self.pool).await?;
            rows.iter().map(|row| organization(&Columns(row))).collect()
        })
        .await
    }

    async fn set_plan(
        &self,
        id: &OrgId,
        plan: &str,
        negotiated: Caps,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find_id(&mut tx, id).await?;
            sqlx::query(
                "UPDATE organizations SET plan = $1, per_second = $2, per_minute = $3, concurrency = $4 WHERE id = $5",
            )
            .bind(plan)
            .bind(opt_int(negotiated.per_second))
            .bind(opt_int(negotiated.per_minute))
            .bind(opt_int(negotiated.concurrency))
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
            let after = changed(&mut tx, "organization.set_plan", &before, actor, now).await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }

    async fn set_organization_limit(
        &self,
        id: &OrgId,
        limit: Option<SpendLimit>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find_id(&mut tx, id).await?;
            sqlx::query(
                "UPDATE organizations
                 SET limit_requests = $1, limit_microcents = $2, limit_period = $3, limit_enabled = $4
                 WHERE id = $5",
            )
            .bind(opt_int(limit.and_then(|limit| limit.requests)))
            .bind(opt_int(limit.and_then(|limit| limit.microcents)))
            .bind(limit.map(|limit| limit.period.name()))
            .bind(limit.is_some_and(|limit| limit.enabled))
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
            let after = changed(&mut tx, "organization.set_limit", &before, actor, now).await?;
            tx.commit().await?;
            Ok(after)
        })
        .await
    }
}

/// Makes an organization and its default project.
pub(super) async fn insert(
    tx: &mut PgConnection,
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
    if has_name(tx, &new.name).await? {
        return Err(RecordError::Conflict(format!(
            "there is an organization named `{}` already: choose another name",
            new.name
        )));
    }
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
        before: None,
        after: Some(snapshot::organization(&org)),
    };
    tell(tx, told, actor, now).await?;
    organization_changed(tx, &org.id, now).await?;
    Ok(org)
}

/// Whether the id is taken.
pub(super) async fn is_taken(tx: &mut PgConnection, id: &OrgId) -> Result<bool, RecordError> {
    let row = sqlx::query("SELECT 1 FROM organizations WHERE id = $1").bind(id.as_str()).fetch_optional(tx);
    Ok(row.await?.is_some())
}

async fn has_name(tx: &mut PgConnection, name: &str) -> Result<bool, RecordError> {
    let row = sqlx::query("SELECT 1 FROM organizations WHERE name = $1").bind(name).fetch_optional(tx);
    Ok(row.await?.is_some())
}

/// The organization with this id.
pub(super) async fn find_id(tx: &mut PgConnection, id: &OrgId) -> Result<Organization, RecordError> {
    let row = sqlx::query("SELECT * FROM organizations WHERE id = $1").bind(id.as_str());
    match row.fetch_optional(tx).await? {
        Some(row) => organization(&Columns(&row)),
        None => Err(unknown(id.as_str())),
    }
}

/// The organization with this id, or else with this name.
pub(super) async fn find(tx: &mut PgConnection, id_or_name: &str) -> Result<Organization, RecordError> {
    let row =
        sqlx::query("SELECT * FROM organizations WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC LIMIT 1")
            .bind(id_or_name)
            .fetch_optional(tx)
            .await?;
    row.map_or_else(|| Err(unknown(id_or_name)), |row| organization(&Columns(&row)))
}

async fn changed(
    tx: &mut PgConnection,
    what: &'static str,
    before: &Organization,
    actor: &Actor,
    now: Timestamp,
) -> Result<Organization, RecordError> {
    let after = find_id(tx, &before.id).await?;
    if after == *before {
        return Ok(after);
    }
    let told = Told {
        what,
        subject: after.id.as_str(),
        before: Some(snapshot::organization(before)),
        after: Some(snapshot::organization(&after)),
    };
    tell(tx, told, actor, now).await?;
    organization_changed(tx, &after.id, now).await?;
    Ok(after)
}

fn unknown(id_or_name: &str) -> RecordError {
    RecordError::NotFound(format!("there is no organization `{id_or_name}`"))
}

fn organization(row: &Columns<'_>) -> Result<Organization, RecordError> {
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
