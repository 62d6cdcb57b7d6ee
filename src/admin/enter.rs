//! Finding what a deed is about, and whether the caller may do it. What it may not see is not there.

use uuid::Uuid;

use super::access::{Caller, Deed, Denied, may};
use super::{Admin, AdminError};
use crate::domain::id::{KeyId, OrgId, ProjectId};
use crate::domain::key::{Key, Organization};
use crate::domain::people::Project;
use crate::stores::record::RecordError;

impl Admin {
    /// The organization `named` (id or name; the caller's own where none is named), where `caller` may do `deed`.
    ///
    /// # Errors
    /// [`AdminError::Denied`]; "not found" also where the caller does not belong to it.
    pub async fn enter(
        &self,
        caller: &Caller,
        deed: Deed,
        named: Option<&str>,
    ) -> Result<Organization, AdminError> {
        known(caller, deed)?;
        let named = named.unwrap_or_else(|| caller.home().as_str());
        let found = self.record.organization(named).await?;
        allowed(caller, deed, &found.id, || format!("there is no organization `{named}`"))?;
        Ok(found)
    }

    /// The key with this id, where `caller` may do `deed` to it.
    ///
    /// # Errors
    /// As [`Admin::enter`].
    pub async fn reach_key(&self, caller: &Caller, deed: Deed, id: &str) -> Result<Key, AdminError> {
        known(caller, deed)?;
        let missing = |id: &str| format!("there is no key `{}`", id.escape_debug());
        let id = Uuid::try_parse(id).map(KeyId).map_err(|_| RecordError::NotFound(missing(id)))?;
        let found = self.record.key(id).await?;
        // In the record's own words, whichever way the id was written.
        allowed(caller, deed, &found.organization, || missing(&id.to_string()))?;
        Ok(found)
    }

    /// The project with this id, where `caller` may do `deed` to it.
    ///
    /// # Errors
    /// As [`Admin::enter`].
    pub async fn reach_project(&self, caller: &Caller, deed: Deed, id: &str) -> Result<Project, AdminError> {
        known(caller, deed)?;
        let missing = || format!("there is no project `{}`", id.escape_debug());
        let parsed = ProjectId::parse(id).map_err(|_| RecordError::NotFound(missing()))?;
        let found = self.record.project(&parsed).await?;
        allowed(caller, deed, &found.organization, missing)?;
        Ok(found)
    }
}

/// Whether the caller is of a kind that may do it at all, so that nothing is looked up for one that may not.
fn known(caller: &Caller, deed: Deed) -> Result<(), AdminError> {
    match may(caller, deed, Some(caller.home())) {
        Err(denied @ (Denied::Keys | Denied::Scope)) => Err(denied.into()),
        // What a person may do depends on where.
        _ => Ok(()),
    }
}

fn allowed(
    caller: &Caller,
    deed: Deed,
    org: &OrgId,
    missing: impl FnOnce() -> String,
) -> Result<(), AdminError> {
    may(caller, deed, Some(org)).map_err(|denied| match denied {
        Denied::Unseen => RecordError::NotFound(missing()).into(),
        denied => denied.into(),
    })
}
