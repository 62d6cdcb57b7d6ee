//! Organizations and projects.

use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::key::Organization;
use crate::domain::limit::{Caps, SpendLimit};
use crate::domain::people::Project;
use crate::domain::time::Timestamp;
use crate::stores::record::NewOrganization;

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
        Ok(self.record.create_organization(&new, actor, now).await?)
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
        self.is_a_plan(plan)?;
        let negotiated = fields::negotiated(negotiated)?;
        let id = self.record.organization(org).await?.id;
        Ok(self.record.set_plan(&id, plan, negotiated, actor, now).await?)
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
        let limit = fields::limit(limit)?;
        let id = self.record.organization(org).await?.id;
        Ok(self.record.set_organization_limit(&id, limit, actor, now).await?)
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

    fn is_a_plan(&self, plan: &str) -> Result<(), AdminError> {
        if self.settings.plans.iter().any(|known| known == plan) {
            return Ok(());
        }
        let known = self.settings.plans.join(", ");
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
