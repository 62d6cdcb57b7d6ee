//! Who belongs to an organization.

use super::{Actor, Admin, AdminError};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Member, Role};
use crate::domain::time::Timestamp;

impl Admin {
    /// Makes the user with this email a member.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn add_member(
        &self,
        org: &OrgId,
        email: &str,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, AdminError> {
        let user = self.record.user(email.trim()).await?;
        Ok(self.record.add_member(org, user.id, role, actor, now).await?)
    }

    /// Gives a member another role. The last owner stays owner.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn set_role(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, AdminError> {
        Ok(self.record.set_role(org, user, role, actor, now).await?)
    }

    /// Ends a membership. The last owner stays.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn remove_member(
        &self,
        org: &OrgId,
        user: UserId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        Ok(self.record.remove_member(org, user, actor, now).await?)
    }
}
