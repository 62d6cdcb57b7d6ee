//! Users.

use super::organizations::project_id;
use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{OrgId, SLUG_BYTES_MAX, UserId};
use crate::domain::people::{Role, User};
use crate::domain::time::Timestamp;
use crate::stores::record::{NewOrganization, NewUser, RecordError};

/// A user to be made.
#[derive(Clone)]
pub struct UserOrder {
    /// The email, any case.
    pub email: String,
    /// The password itself.
    pub password: String,
    /// Whether the user runs the gateway.
    pub operator: bool,
    /// An organization (id or name) to join at once, and as what.
    pub membership: Option<(String, Role)>,
}

impl Admin {
    /// Makes a user and its personal organization, which is on the first plan of the configuration.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_user(
        &self,
        order: &UserOrder,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, AdminError> {
        let email = fields::email(&order.email)?;
        let membership = match &order.membership {
            Some((org, role)) => Some((self.record.organization(org).await?.id, *role)),
            None => None,
        };
        // Asked before the hash, which is the costly part; the record asks again.
        match self.record.user(&email).await {
            Err(RecordError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let text = format!("there is a user `{email}` already");
                return Err(RecordError::Conflict(text).into());
            }
        }
        let mut new = self.new_user(email, &order.password).await?;
        new.operator = order.operator;
        new.membership = membership;
        self.done(self.record.create_user(&new, actor, now).await).await
    }

    /// A user with this email and password, and nothing else.
    pub(super) async fn new_user(&self, email: String, password: &str) -> Result<NewUser, AdminError> {
        let password = self.hash("password", password).await?;
        let plan = self.settings.load().plans.first().cloned().unwrap_or_default();
        let (id, otherwise) = personal_ids(&email, &random::suffix()?)?;
        Ok(NewUser {
            id: UserId(random::uuid()?),
            personal: NewOrganization { id, name: email.clone(), plan, default_project: project_id()? },
            personal_otherwise: otherwise,
            email,
            password: Some(password),
            operator: false,
            membership: None,
        })
    }
}

/// The id of a personal organization, from the local part of the email, and the one for where it is taken.
fn personal_ids(email: &str, suffix: &str) -> Result<(OrgId, OrgId), AdminError> {
    let local = email.split_once('@').map_or(email, |(local, _)| local);
    let id = OrgId::from_name(local).or_else(|_| OrgId::parse("personal")).map_err(AdminError::Machine)?;
    // A slug is ASCII, so it can be cut anywhere.
    let head: String = id.as_str().chars().take(SLUG_BYTES_MAX - suffix.len() - 1).collect();
    let otherwise = OrgId::parse(&format!("{head}-{suffix}")).map_err(AdminError::Machine)?;
    Ok((id, otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_personal_organization_is_called_by_the_local_part() {
        for (email, id, otherwise) in [
            ("ann@example.com", "ann", "ann-0badcafe"),
            ("ann+x.y@example.com", "ann-x.y", "ann-x.y-0badcafe"),
            ("é@example.com", "personal", "personal-0badcafe"),
            (&format!("{}@x", "a".repeat(64)), &"a".repeat(64), &format!("{}-0badcafe", "a".repeat(55))),
        ] {
            let (first, second) = personal_ids(email, "0badcafe").unwrap();
            assert_eq!((first.as_str(), second.as_str()), (id, otherwise), "{email}");
        }
    }
}
