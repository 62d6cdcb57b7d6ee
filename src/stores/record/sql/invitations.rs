//! Invitations: made, taken back, accepted.

use uuid::Uuid;

use super::columns::{Columns, int, micros};
use super::engine::{Connection, Record};
use super::trail::{Told, tell};
use super::{members, organizations, people};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Invitation, User};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, Joining, NewInvitation, Page, RecordError, snapshot};

impl Record {
    pub(super) async fn create_invitation(
        &self,
        new: &NewInvitation,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Invitation, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            organizations::find_id(&mut tx, &new.organization).await?;
            let invitation = Invitation {
                id: new.id,
                organization: new.organization.clone(),
                email: new.email.to_lowercase(),
                role: new.role,
                invited_by: new.invited_by,
                created_at: now,
                expires_at: new.expires_at,
            };
            let user = people::find(&mut tx, &invitation.email).await?;
            if user.is_some_and(|user| user.role_in(&new.organization).is_some()) {
                return Err(RecordError::Conflict(format!(
                    "`{}` is a member of `{}` already",
                    invitation.email, new.organization
                )));
            }
            sqlx::query(
                "DELETE FROM invitations WHERE organization = $1 AND email = $2 AND expires_at <= $3",
            )
            .bind(new.organization.as_str())
            .bind(&invitation.email)
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            insert(&mut tx, &invitation, &new.digest).await?;
            told(&mut tx, "invitation.create", None, Some(&invitation), actor, now).await?;
            tx.commit().await?;
            Ok(invitation)
        })
        .await
    }

    pub(super) async fn invitations(
        &self,
        org: &OrgId,
        page: &Page<Uuid>,
    ) -> Result<Vec<Invitation>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT * FROM invitations WHERE organization = $1 AND id > $2 ORDER BY id LIMIT $3",
            )
            .bind(org.as_str())
            .bind(page.after.unwrap_or_default())
            .bind(int(page.most as u64))
            .fetch_all(self.readers())
            .await?;
            rows.iter().map(|row| invitation(&Columns(row))).collect()
        })
        .await
    }

    pub(super) async fn invitation(&self, digest: &Digest) -> Result<Option<Invitation>, RecordError> {
        self.within(async { find(&mut *self.readers().acquire().await?, digest).await }).await
    }

    pub(super) async fn withdraw_invitation(
        &self,
        org: &OrgId,
        id: Uuid,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let row = sqlx::query("SELECT * FROM invitations WHERE organization = $1 AND id = $2")
                .bind(org.as_str())
                .bind(id)
                .fetch_optional(&mut *tx)
                .await?;
            let missing = || RecordError::NotFound(format!("`{org}` has no invitation `{id}`"));
            let before = invitation(&Columns(&row.ok_or_else(missing)?))?;
            delete(&mut tx, id).await?;
            told(&mut tx, "invitation.withdraw", Some(&before), None, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    pub(super) async fn accept_invitation(
        &self,
        digest: &Digest,
        joining: &Joining,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let gone = || RecordError::NotFound("there is no such invitation, or it has ended".into());
            let invitation =
                find(&mut tx, digest).await?.filter(|found| now < found.expires_at).ok_or_else(gone)?;
            let user = match joining {
                Joining::User(id) => people::find_id(&mut tx, *id).await?.ok_or_else(gone)?,
                Joining::New(new) => people::insert(&mut tx, new, actor, now).await?,
            };
            if user.email != invitation.email {
                return Err(RecordError::Conflict("this invitation is for another email".into()));
            }
            members::add(&mut tx, &invitation.organization, &user, invitation.role, actor, now).await?;
            delete(&mut tx, invitation.id).await?;
            told(&mut tx, "invitation.accept", Some(&invitation), None, actor, now).await?;
            let user = people::find_id(&mut tx, user.id).await?.ok_or_else(gone)?;
            tx.commit().await?;
            Ok(user)
        })
        .await
    }
}

async fn insert(tx: &mut Connection, invitation: &Invitation, digest: &Digest) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO invitations (id, digest, organization, email, role, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(invitation.id)
    .bind(digest.0.as_slice())
    .bind(invitation.organization.as_str())
    .bind(&invitation.email)
    .bind(invitation.role.name())
    .bind(invitation.invited_by.map(|user| user.0))
    .bind(micros(invitation.created_at))
    .bind(micros(invitation.expires_at))
    .execute(tx)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(cause) if cause.is_unique_violation() => RecordError::Conflict(format!(
            "`{}` is invited already: withdraw that invitation first",
            invitation.email
        )),
        _ => error.into(),
    })?;
    Ok(())
}

async fn find(tx: &mut Connection, digest: &Digest) -> Result<Option<Invitation>, RecordError> {
    let row = sqlx::query("SELECT * FROM invitations WHERE digest = $1").bind(digest.0.as_slice());
    row.fetch_optional(tx).await?.map(|row| invitation(&Columns(&row))).transpose()
}

async fn delete(tx: &mut Connection, id: Uuid) -> Result<(), RecordError> {
    sqlx::query("DELETE FROM invitations WHERE id = $1").bind(id).execute(tx).await?;
    Ok(())
}

async fn told(
    tx: &mut Connection,
    what: &'static str,
    before: Option<&Invitation>,
    after: Option<&Invitation>,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    let Some(either) = after.or(before) else { return Ok(()) };
    let told = Told {
        what,
        subject: &either.id.to_string(),
        organization: Some(&either.organization),
        before: before.map(snapshot::invitation),
        after: after.map(snapshot::invitation),
    };
    tell(tx, told, actor, now).await
}

fn invitation(row: &Columns<'_>) -> Result<Invitation, RecordError> {
    Ok(Invitation {
        id: row.uuid("id")?,
        organization: row.org("organization")?,
        email: row.text("email")?,
        role: row.role("role")?,
        invited_by: row.opt_uuid("invited_by")?.map(UserId),
        created_at: row.instant("created_at")?,
        expires_at: row.instant("expires_at")?,
    })
}
