//! Logins.

use async_trait::async_trait;
use uuid::Uuid;

use super::columns::{Columns, micros, opt_micros};
use super::engine::{Connection, Record};
use super::people;
use super::trail::{Told, tell};
use crate::domain::id::UserId;
use crate::domain::people::{Session, User};
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, RecordError, SessionRecord, snapshot};

#[async_trait]
impl SessionRecord for Record {
    async fn create_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            insert(&mut tx, session).await?;
            told(&mut tx, "session.create", None, session, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn session(&self, id: Uuid) -> Result<Option<(Session, User)>, RecordError> {
        self.within(async {
            let mut reader = self.readers().acquire().await?;
            let Some(session) = find(&mut reader, id).await? else { return Ok(None) };
            let user = people::find_id(&mut reader, session.user).await?;
            Ok(user.map(|user| (session, user)))
        })
        .await
    }

    async fn revoke_session(
        &self,
        session: &Session,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let before = find(&mut tx, session.id).await?;
            if before.is_some_and(|before| before.revoked_at.is_some()) {
                return Ok(());
            }
            let after = Session { revoked_at: Some(now), ..*session };
            if before.is_some() {
                sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE id = $2")
                    .bind(micros(now))
                    .bind(session.id)
                    .execute(&mut *tx)
                    .await?;
            } else {
                insert(&mut tx, &after).await?;
            }
            told(&mut tx, "session.revoke", before.as_ref(), &after, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// Ends every session of a user but `keep`.
pub(super) async fn revoke_others(
    tx: &mut Connection,
    user: UserId,
    keep: Option<Uuid>,
    now: Timestamp,
) -> Result<(), RecordError> {
    sqlx::query(
        "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL AND ($3 IS NULL OR id <> $3)",
    )
    .bind(micros(now))
    .bind(user.0)
    .bind(keep)
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert(tx: &mut Connection, session: &Session) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, created_at, expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(session.id)
    .bind(session.user.0)
    .bind(micros(session.created_at))
    .bind(micros(session.expires_at))
    .bind(opt_micros(session.revoked_at))
    .execute(tx)
    .await?;
    Ok(())
}

async fn find(tx: &mut Connection, id: Uuid) -> Result<Option<Session>, RecordError> {
    let row = sqlx::query("SELECT * FROM sessions WHERE id = $1").bind(id).fetch_optional(tx).await?;
    row.map(|row| session(&Columns(&row))).transpose()
}

async fn told(
    tx: &mut Connection,
    what: &'static str,
    before: Option<&Session>,
    after: &Session,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), RecordError> {
    let told = Told {
        what,
        subject: &after.id.to_string(),
        organization: None,
        before: before.map(snapshot::session),
        after: Some(snapshot::session(after)),
    };
    tell(tx, told, actor, now).await
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
