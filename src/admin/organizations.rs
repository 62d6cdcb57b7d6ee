//! Organizations and projects.

use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::key::Organization;
use crate::domain::limit::{Caps, SpendLimit};
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::{NewOrganization, OrganizationEdit, Seen};

/// A change to an organization. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct OrganizationChange {
    /// A new name; the id stays.
    pub name: Option<String>,
    /// Another plan.
    pub plan: Option<String>,
    /// Caps of its own, each in the place of the plan's.
    pub negotiated: Option<Caps>,
    /// A calendar cap, or none.
    pub limit: Option<Option<SpendLimit>>,
    /// Only where its settings are still these.
    pub seen: Option<Seen>,
}

impl Admin {
    /// Makes an organization, its id made of its name, with a default project.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_organization(
        &self,
        name: &str,
        plan: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, AdminError> {
        let name = fields::name("name", name)?;
        self.is_a_plan(plan)?;
        let new = NewOrganization {
            id: OrgId::from_name(&name).map_err(|advice| AdminError::invalid("name", advice))?,
            name,
            plan: plan.to_owned(),
            default_project: project_id()?,
        };
        self.done(self.record.create_organization(&new, actor, now).await).await
    }

    /// Sets an organization's plan and the caps of its own, each in the place of the plan's; a cap not named
    /// is the plan's again.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_plan(
        &self,
        org: &str,
        plan: &str,
        negotiated: Caps,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, AdminError> {
        let change = OrganizationChange {
            plan: Some(plan.to_owned()),
            negotiated: Some(negotiated),
            ..OrganizationChange::default()
        };
        self.edit_organization(org, &change, actor, now).await
    }

    /// Sets or removes an organization's calendar cap.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_organization_limit(
        &self,
        org: &str,
        limit: Option<SpendLimit>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, AdminError> {
        let change = OrganizationChange { limit: Some(limit), ..OrganizationChange::default() };
        self.edit_organization(org, &change, actor, now).await
    }

    /// Changes an organization.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn edit_organization(
        &self,
        org: &str,
        change: &OrganizationChange,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Organization, AdminError> {
        change.plan.as_deref().map_or(Ok(()), |plan| self.is_a_plan(plan))?;
        let edit = OrganizationEdit {
            name: change.name.as_deref().map(|name| fields::name("name", name)).transpose()?,
            plan: change.plan.clone(),
            negotiated: change.negotiated.map(fields::negotiated).transpose()?,
            limit: change.limit.map(fields::limit).transpose()?,
            seen: change.seen.clone(),
        };
        let id = self.record.organization(org).await?.id;
        self.done(self.record.edit_organization(&id, &edit, actor, now).await).await
    }

    /// Makes a project, with the operator's `id` or a random one.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_project(
        &self,
        org: &str,
        name: &str,
        id: Option<&str>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, AdminError> {
        let name = fields::name("name", name)?;
        let id = match id {
            Some(id) => ProjectId::parse(id).map_err(|advice| AdminError::invalid("id", advice))?,
            None => project_id()?,
        };
        let org = self.record.organization(org).await?.id;
        Ok(self.record.create_project(&id, &org, &name, actor, now).await?)
    }

    /// Gives a project another name, where it is still as `seen`.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn rename_project(
        &self,
        id: &ProjectId,
        name: &str,
        seen: Option<&Seen>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Project, AdminError> {
        let name = fields::name("name", name)?;
        Ok(self.record.rename_project(id, &name, seen, actor, now).await?)
    }

    fn is_a_plan(&self, plan: &str) -> Result<(), AdminError> {
        let settings = self.settings.load();
        if settings.plans.iter().any(|known| known == plan) {
            return Ok(());
        }
        let known = settings.plans.join(", ");
        let plan = plan.escape_debug();
        Err(AdminError::invalid(
            "plan",
            format!("`{plan}` is not in the configuration: use one of {known}, or add [plans.{plan}]"),
        ))
    }
}

/// A random id of a project.
pub(super) fn project_id() -> Result<ProjectId, AdminError> {
    ProjectId::parse(&random::uuid()?.to_string()).map_err(AdminError::Machine)
}
