//! Who belongs to an organization.
//!
//! **Invariant:** an organization that has an owner keeps one.

use uuid::Uuid;

use super::columns::{Columns, int, micros};
use super::engine::{Connection, Record};
use super::trail::{Told, tell};
use super::{organizations, people};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Member, Role, User};
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, Page, RecordError, snapshot};

impl Record {
    pub(super) async fn members(&self, org: &OrgId, page: &Page<UserId>) -> Result<Vec<Member>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT m.*, u.email FROM members m JOIN users u ON u.id = m.user_id
                 WHERE m.organization = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3",
            )
            .bind(org.as_str())
            .bind(page.after.map_or(Uuid::nil(), |user| user.0))
            .bind(int(page.most as u64))
            .fetch_all(self.readers())
            .await?;
            rows.iter().map(|row| member(&Columns(row))).collect()
        })
        .await
    }

    pub(super) async fn add_member(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            organizations::find_id(&mut tx, org).await?;
            let user = known(&mut tx, user).await?;
            let member = add(&mut tx, org, &user, role, actor, now).await?;
            tx.commit().await?;
            Ok(member)
        })
        .await
    }

    pub(super) async fn set_role(
        &self,
        org: &OrgId,
        user: UserId,
        role: Role,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Member, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find(&mut tx, org, user).await?;
            if before.role == role {
                return Ok(before);
            }
            if before.role == Role::Owner {
                another_owner(&mut tx, org, user).await?;
            }
            sqlx::query("UPDATE members SET role = $1 WHERE organization = $2 AND user_id = $3")
                .bind(role.name())
                .bind(org.as_str())
                .bind(user.0)
                .execute(&mut *tx)
                .await?;
            told(&mut tx, "member.set_role", org, user, [Some(before.role), Some(role)], actor, now).await?;
            tx.commit().await?;
            Ok(Member { role, ..before })
        })
        .await
    }

    pub(super) async fn remove_member(
        &self,
        org: &OrgId,
        user: UserId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find(&mut tx, org, user).await?;
            if before.role == Role::Owner {
                another_owner(&mut tx, org, user).await?;
            }
            sqlx::query("DELETE FROM members WHERE organization = $1 AND user_id = $2")
                .bind(org.as_str())
                .bind(user.0)
                .execute(&mut *tx)
                .await?;
            told(&mut tx, "member.remove", org, user, [Some(before.role), None], actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// Makes `user` a member, and tells of it.
pub(super) async fn add(
    tx: &mut Connection,
    org: &OrgId,
    user: &User,
    role: Role,
    actor: &Actor,
    now: Timestamp,
) -> Result<Member, RecordError> {
    if user.role_in(org).is_some() {
        return Err(RecordError::Conflict(format!("`{}` is a member of `{org}` already", user.email)));
    }
    insert(tx, user.id, org, role, now).await?;
    told(tx, "member.add", org, user.id, [None, Some(role)], actor, now).await?;
    Ok(Member { user: user.id, email: user.email.clone(), role, since: now })
}

/// Writes a membership down.
pub(super) async fn insert(
    tx: &mut Connection,
    user: UserId,
    org: &OrgId,
    role: Role,
    now: Timestamp,
) -> Result<(), RecordError> {
    sqlx::query("INSERT INTO members (user_id, organization, role, since) VALUES ($1, $2, $3, $4)")
        .bind(user.0)
        .bind(org.as_str())
        .bind(role.name())
        .bind(micros(now))
        .execute(tx)
        .await?;
    Ok(())
}

async fn find(tx: &mut Connection, org: &OrgId, user: UserId) -> Result<Member, RecordError> {
    let row = sqlx::query(
        "SELECT m.*, u.email FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.organization = $1 AND m.user_id = $2",
    )
    .bind(org.as_str())
    .bind(user.0)
    .fetch_optional(tx)
    .await?;
    row.map_or_else(
        || Err(RecordError::NotFound(format!("`{org}` has no member `{user}`"))),
        |row| member(&Columns(&row)),
    )
}

async fn another_owner(tx: &mut Connection, org: &OrgId, user: UserId) -> Result<(), RecordError> {
    let other =
        sqlx::query("SELECT 1 FROM members WHERE organization = $1 AND role = 'owner' AND user_id <> $2")
            .bind(org.as_str())
            .bind(user.0)
            .fetch_optional(tx)
            .await?;
    other.map(|_| ()).ok_or_else(|| {
        RecordError::Conflict(format!("this is the last owner of `{org}`: make someone else an owner first"))
    })
}

async fn known(tx: &mut Connection, user: UserId) -> Result<User, RecordError> {
    let missing = || RecordError::NotFound(format!("there is no user `{user}`"));
    people::find_id(tx, user).await?.ok_or_else(missing)
}

/// Tells of a role: what it was and what it is.
async fn told(
    tx: &mut Connection,
    what: &'static str,
    org: &OrgId,
    user: UserId,
    roles: [Option<Role>; 2],
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    let user = known(tx, user).await?;
    let [before, after] = roles.map(|role| role.map(|role| snapshot::member(&user, role)));
    let subject = user.id.to_string();
    tell(tx, Told { what, subject: &subject, organization: Some(org), before, after }, actor, now).await
}

fn member(row: &Columns<'_>) -> Result<Member, RecordError> {
    Ok(Member {
        user: UserId(row.uuid("user_id")?),
        email: row.text("email")?,
        role: row.role("role")?,
        since: row.instant("since")?,
    })
}
