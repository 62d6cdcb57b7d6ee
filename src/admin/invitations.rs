//! Invitations: an owner's offer to join, made to an email, accepted with a token.
//!
//! Mail is not sent here: the token is given to whoever invites, once, to pass on.

use std::time::Duration;

use super::access::Caller;
use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Invitation, Role, User};
use crate::domain::secret::{Digest, Secret};
use crate::domain::time::Timestamp;
use crate::stores::record::{Joining, NewInvitation, RecordError};

/// The longest life of an invitation.
pub const INVITATION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// What every token of an invitation begins with, so that nobody takes one for a key.
const PREFIX: &str = "tgi_";

/// An invitation, and the token that accepts it: seen only now.
pub struct Invited {
    /// The invitation.
    pub invitation: Invitation,
    /// Its token.
    pub token: Secret,
}

impl Admin {
    /// Invites whoever has this email, for at most [`INVITATION_MAX`].
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn invite(
        &self,
        org: &OrgId,
        email: &str,
        role: Role,
        (ttl, invited_by): (Duration, Option<UserId>),
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Invited, AdminError> {
        if ttl < Duration::from_secs(60) || ttl > INVITATION_MAX {
            return Err(AdminError::invalid("ttl", "give a time from 1m to 30d"));
        }
        let token = random::secret(PREFIX)?;
        let new = NewInvitation {
            id: random::uuid()?,
            digest: Digest::of(token.expose().as_bytes()),
            organization: org.clone(),
            email: fields::email(email)?,
            role,
            invited_by,
            expires_at: now.plus(ttl),
        };
        let invitation = self.record.create_invitation(&new, actor, now).await?;
        Ok(Invited { invitation, token })
    }

    /// Joins as the caller, who must have the email that was invited.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn accept(
        &self,
        token: &str,
        caller: &Caller,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, AdminError> {
        let user = caller.person().ok_or(super::Denied::Keys)?;
        let digest = Digest::of(token.as_bytes());
        Ok(self.record.accept_invitation(&digest, &Joining::User(user.id), actor, now).await?)
    }

    /// Joins as a new user, under the email that was invited: holding the token shows that mail to it is read.
    ///
    /// # Errors
    /// [`AdminError`]; [`RecordError::Conflict`] where that email has a user, who has to log in first.
    pub async fn accept_as_new(
        &self,
        token: &str,
        password: &str,
        from: &str,
        now: Timestamp,
    ) -> Result<User, AdminError> {
        let digest = Digest::of(token.as_bytes());
        let gone = || RecordError::NotFound("there is no such invitation, or it has ended".into());
        let invitation = self.record.invitation(&digest).await?;
        let invitation = invitation.filter(|found| now < found.expires_at).ok_or_else(gone)?;
        let new = self.new_user(invitation.email, password).await?;
        let actor = Actor { who: new.id.to_string(), from: from.to_owned() };
        let joining = Joining::New(Box::new(new));
        self.done(self.record.accept_invitation(&digest, &joining, &actor, now).await).await
    }
}
