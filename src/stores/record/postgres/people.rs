//! Users, what they belong to, and their sessions.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresRecord;
use super::columns::{Columns, micros, unreadable};
use super::organizations;
use super::trail::{Told, tell};
use crate::domain::id::{OrgId, UserId};
use crate::domain::people::{Role, Session, User};
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, NewUser, PeopleRecord, RecordError, snapshot};

#[async_trait]
impl PeopleRecord for PostgresRecord {
    async fn create_user(&self, new: &NewUser, actor: &Actor, now: Timestamp) -> Result<User, RecordError> {
        self.within(async {
            let email = new.email.to_lowercase();
            let mut tx = self.write().await?;
            if find(&mut tx, &email).await?.is_some() {
                return Err(RecordError::Conflict(format!("there is a user `{email}` already")));
            }
            sqlx::query(
                "INSERT INTO users (id, email, password, operator, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(new.id.0)
            .bind(&email)
            .bind(&new.password)
            .bind(new.operator)
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            let mut personal = new.personal.clone();
            if organizations::is_taken(&mut tx, &personal.id).await? {
                personal.id = new.personal_otherwise.clone();
            }
            let personal = organizations::insert(&mut tx, &personal, actor, now).await?;
            join(&mut tx, new.id, &personal.id, Role::Owner).await?;
            if let Some((org, role)) = &new.membership {
                organizations::find_id(&mut tx, org).await?;
                join(&mut tx, new.id, org, *role).await?;
            }
            let user = find(&mut tx, &email).await?.ok_or_else(|| unknown(&email))?;
            let id = user.id.to_string();
            let told =
                Told { what: "user.create", subject: &id, before: None, after: Some(snapshot::user(&user)) };
            tell(&mut tx, told, actor, now).await?;
            tx.commit().await?;
            Ok(user)
        })
        .await
    }

    async fn users(&self) -> Result<Vec<User>, RecordError> {
        self.within(async {
            let rows = sqlx::query(
                "SELECT u.*, m.organization, m.role
                 FROM users u LEFT JOIN members m ON m.user_id = u.id ORDER BY u.email, m.organization",
            )
            .fetch_all(&self.pool)
            .await?;
            let mut users: Vec<User> = Vec::new();
            for row in &rows {
                gather(&mut users, &Columns(row))?;
            }
            Ok(users)
        })
        .await
    }

    async fn user(&self, email: &str) -> Result<User, RecordError> {
        self.within(async {
            let email = email.to_lowercase();
            let mut reader = self.pool.acquire().await?;
            find(&mut reader, &email).await?.ok_or_else(|| unknown(&email))
        })
        .await
    }

    async fn create_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            sqlx::query(
                "INSERT INTO sessions (id, user_id, created_at, expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(session.id)
            .bind(session.user.0)
            .bind(micros(session.created_at))
            .bind(micros(session.expires_at))
            .bind(session.revoked_at.map(micros))
            .execute(&mut *tx)
            .await?;
            let id = session.id.to_string();
            let told = Told {
                what: "session.create",
                subject: &id,
                before: None,
                after: Some(snapshot::session(session)),
            };
            tell(&mut tx, told, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, RecordError> {
        self.within(async {
            let row = sqlx::query("SELECT * FROM sessions WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
            row.map(|row| session(&Columns(&row))).transpose()
        })
        .await
    }
}

async fn join(tx: &mut PgConnection, user: UserId, org: &OrgId, role: Role) -> Result<(), RecordError> {
    sqlx::query("INSERT INTO members (user_id, organization, role) VALUES ($1, $2, $3)")
        .bind(user.0)
        .bind(org.as_str())
        .bind(role.name())
        .execute(tx)
        .await?;
    Ok(())
}

async fn find(tx: &mut PgConnection, email: &str) -> Result<Option<User>, RecordError> {
    let rows = sqlx::query(
        "SELECT u.*, m.organization, m.role
         FROM users u LEFT JOIN members m ON m.user_id = u.id WHERE u.email = $1 ORDER BY m.organization",
    )
    .bind(email)
    .fetch_all(tx)
    .await?;
    let mut users = Vec::with_capacity(1);
    for row in &rows {
        gather(&mut users, &Columns(row))?;
    }
    Ok(users.pop())
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
            memberships: Vec::new(),
            created_at: row.instant("created_at")?,
        },
    };
    if let Some(role) = row.opt_text("role")? {
        let role = Role::named(&role).ok_or_else(|| unreadable("members.role"))?;
        user.memberships.push((row.org("organization")?, role));
    }
    users.push(user);
    Ok(())
}

fn session(row: &Columns<'_>) -> Result<Session, RecordError> {
    Ok(Session {
        id: row.uuid("id")?,
        user: UserId(row.uuid("user_id")?),
        created_at: row.instant("created_at")?,
        expires_at: row.instant("expires_at")?,
        revoked_at: row.opt_instant("revoked_at")?,
    })
}

fn unknown(email: &str) -> RecordError {
    RecordError::NotFound(format!("there is no user `{email}`"))
}
