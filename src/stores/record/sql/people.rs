//! Users, and what else is asked of people.

use async_trait::async_trait;
use uuid::Uuid;

use super::columns::{Columns, int, micros};
use super::engine::{Connection, Record, Row};
use super::trail::{Told, tell};
use super::{members, organizations, sessions};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Invitation, Member, Role, User};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::{
    Actor, Joining, NewInvitation, NewUser, Page, PeopleRecord, RecordError, snapshot,
};

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.*, m.organization, m.role, m.since FROM users u LEFT JOIN members m ON m.user_id = u.id ",
            $rest
        )
    };
}

#[async_trait]
impl PeopleRecord for Record {
    async fn create_user(&self, new: &NewUser, actor: &Actor, now: Timestamp) -> Result<User, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let user = insert(&mut tx, new, actor, now).await?;
            tx.commit().await?;
            Ok(user)
        })
        .await
    }

    async fn users(&self) -> Result<Vec<User>, RecordError> {
        self.within(async {
            let rows = sqlx::query(select_users!("ORDER BY u.email, m.organization"));
            all(&rows.fetch_all(self.readers()).await?)
        })
        .await
    }

    async fn users_page(&self, page: &Page<String>) -> Result<Vec<User>, RecordError> {
        self.within(async {
            let rows = sqlx::query(select_users!(
                "WHERE u.id IN (SELECT id FROM users WHERE email > $1 ORDER BY email LIMIT $2)
                 ORDER BY u.email, m.organization"
            ))
            .bind(page.after.as_deref().unwrap_or_default())
            .bind(int(page.most as u64));
            all(&rows.fetch_all(self.readers()).await?)
        })
        .await
    }

    async fn user(&self, email: &str) -> Result<User, RecordError> {
        self.within(async {
            let email = email.to_lowercase();
            let mut reader = self.readers().acquire().await?;
            find(&mut reader, &email).await?.ok_or_else(|| unknown(&email))
        })
        .await
    }

    async fn user_by_id(&self, id: UserId) -> Result<User, RecordError> {
        self.within(async {
            let mut reader = self.readers().acquire().await?;
            find_id(&mut reader, id).await?.ok_or_else(|| unknown(&id.to_string()))
        })
        .await
    }

    async fn user_of_subject(&self, subject: &str) -> Result<Option<User>, RecordError> {
        self.within(async {
            let mut reader = self.readers().acquire().await?;
            let row = sqlx::query("SELECT id FROM users WHERE subject = $1").bind(subject);
            match row.fetch_optional(&mut *reader).await? {
                Some(row) => find_id(&mut reader, UserId(Columns(&row).uuid("id")?)).await,
                None => Ok(None),
            }
        })
        .await
    }

    async fn link_subject(
        &self,
        id: UserId,
        subject: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let user = find_id(&mut tx, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
            let linked = sqlx::query(
                "UPDATE users SET subject = $1 WHERE id = $2 AND subject IS NULL
                 AND NOT EXISTS (SELECT 1 FROM users WHERE subject = $1)",
            )
            .bind(subject)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
            if linked.rows_affected() == 0 {
                let text = format!("`{}` is somebody else to the outside issuer", user.email);
                return Err(RecordError::Conflict(text));
            }
            told(&mut tx, "user.link", Some(&user), &user, actor, now).await?;
            tx.commit().await?;
            Ok(user)
        })
        .await
    }

    async fn password(&self, email: &str) -> Result<Option<(UserId, Option<String>)>, RecordError> {
        self.within(async {
            let row = sqlx::query("SELECT id, password FROM users WHERE email = $1")
                .bind(email.to_lowercase())
                .fetch_optional(self.readers())
                .await?;
            row.map(|row| {
                let row = Columns(&row);
                Ok((UserId(row.uuid("id")?), row.opt_text("password")?))
            })
            .transpose()
        })
        .await
    }

    async fn set_password(
        &self,
        id: UserId,
        password: &str,
        keep: Option<Uuid>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let user = find_id(&mut tx, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
            sqlx::query("UPDATE users SET password = $1 WHERE id = $2")
                .bind(password)
                .bind(id.0)
                .execute(&mut *tx)
                .await?;
            sessions::revoke_others(&mut tx, id, keep, now).await?;
            told(&mut tx, "user.set_password", Some(&user), &user, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn members(&self, org: &OrgId, page: &Page<UserId>) -> Result<Vec<Member>, RecordError> {
        self.members(org, page).await
    }
    async fn add_member(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError> {
        self.add_member(org, user, role, actor, now).await
    }
    async fn set_role(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError> {
        self.set_role(org, user, role, actor, now).await
    }
    async fn remove_member(
        &self,
        org: &OrgId,
        user: UserId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.remove_member(org, user, actor, now).await
    }

    async fn create_invitation(
        &self,
        new: &NewInvitation,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Invitation, RecordError> {
        self.create_invitation(new, actor, now).await
    }
    async fn invitations(&self, org: &OrgId, page: &Page<Uuid>) -> Result<Vec<Invitation>, RecordError> {
        self.invitations(org, page).await
    }
    async fn invitation(&self, digest: &Digest) -> Result<Option<Invitation>, RecordError> {
        self.invitation(digest).await
    }
    async fn withdraw_invitation(
        &self,
        org: &OrgId,
        id: Uuid,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.withdraw_invitation(org, id, actor, now).await
    }
    async fn accept_invitation(
        &self,
        digest: &Digest,
        joining: &Joining,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<User, RecordError> {
        self.accept_invitation(digest, joining, actor, now).await
    }
}

/// Makes a user and its personal organization.
pub(super) async fn insert(
    tx: &mut Connection,
    new: &NewUser,
    actor: &Actor,
    now: Timestamp,
) -> Result<User, RecordError> {
    let email = new.email.to_lowercase();
    if find(tx, &email).await?.is_some() {
        return Err(RecordError::Conflict(format!("there is a user `{email}` already")));
    }
    let mut personal = new.personal.clone();
    if organizations::is_taken(tx, &personal.id).await? {
        personal.id = new.personal_otherwise.clone();
    }
    let personal = organizations::insert(tx, &personal, actor, now).await?;
    sqlx::query(
        "INSERT INTO users (id, email, password, operator, personal, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.id.0)
    .bind(&email)
    .bind(&new.password)
    .bind(new.operator)
    .bind(personal.id.as_str())
    .bind(micros(now))
    .execute(&mut *tx)
    .await?;
    members::insert(tx, new.id, &personal.id, Role::Owner, now).await?;
    if let Some((org, role)) = &new.membership {
        organizations::find_id(tx, org).await?;
        members::insert(tx, new.id, org, *role, now).await?;
    }
    let user = find(tx, &email).await?.ok_or_else(|| unknown(&email))?;
    told(tx, "user.create", None, &user, actor, now).await?;
    Ok(user)
}

/// The user with this email, which must be in lower case.
pub(super) async fn find(tx: &mut Connection, email: &str) -> Result<Option<User>, RecordError> {
    let rows = sqlx::query(select_users!("WHERE u.email = $1 ORDER BY m.organization")).bind(email);
    one(&rows.fetch_all(tx).await?)
}

/// The user with this id.
pub(super) async fn find_id(tx: &mut Connection, id: UserId) -> Result<Option<User>, RecordError> {
    let rows = sqlx::query(select_users!("WHERE u.id = $1 ORDER BY m.organization")).bind(id.0);
    one(&rows.fetch_all(tx).await?)
}

fn one(rows: &[Row]) -> Result<Option<User>, RecordError> {
    Ok(all(rows)?.pop())
}

fn all(rows: &[Row]) -> Result<Vec<User>, RecordError> {
    let mut users = Vec::new();
    for row in rows {
        gather(&mut users, &Columns(row))?;
    }
    Ok(users)
}

async fn told(
    tx: &mut Connection,
    what: &'static str,
    before: Option<&User>,
    after: &User,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    let told = Told {
        what,
        subject: &after.id.to_string(),
        organization: None,
        before: before.map(snapshot::user),
        after: Some(snapshot::user(after)),
    };
    tell(tx, told, actor, now).await
}

/// Adds one row of users and members, ordered by user, to `users`.
fn gather(users: &mut Vec<User>, row: &Columns<'_>) -> Result<(), RecordError> {
    let id = UserId(row.uuid("id")?);
    let mut user = match users.pop_if(|last| last.id == id) {
        Some(user) => user,
        None => User {
            id,
            email: row.text("email")?,
            operator: row.flag("operator")?,
            home: row.org("personal")?,
            memberships: Vec::new(),
            created_at: row.instant("created_at")?,
        },
    };
    if let Some(org) = row.opt_org("organization")? {
        // Whom it was made for it joined in the same transaction, and so at the same instant.
        if row.instant("since")? == user.created_at && org != row.org("personal")? {
            user.home = org.clone();
        }
        user.memberships.push((org, row.role("role")?));
    }
    users.push(user);
    Ok(())
}

fn unknown(email: &str) -> RecordError {
    RecordError::NotFound(format!("there is no user `{email}`"))
}
