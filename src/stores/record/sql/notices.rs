//! Notices that users have been shown.

use async_trait::async_trait;
use serde_json::json;

use super::columns::micros;
use super::engine::Record;
use super::trail::{Told, tell};
use crate::domain::id::UserId;
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, NoticeRecord, RecordError};

#[async_trait]
impl NoticeRecord for Record {
    async fn notice_shown(&self, user: UserId, notice: &str) -> Result<bool, RecordError> {
        self.within(async {
            let found = sqlx::query("SELECT 1 FROM notices WHERE user_id = $1 AND notice = $2")
                .bind(user.0)
                .bind(notice)
                .fetch_optional(self.readers())
                .await?;
            Ok(found.is_some())
        })
        .await
    }

    async fn show_notice(
        &self,
        user: UserId,
        notice: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let written = sqlx::query(
                "INSERT INTO notices (user_id, notice, shown_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(user.0)
            .bind(notice)
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
            if written.rows_affected() == 0 {
                return Ok(());
            }
            let told = Told {
                what: "user.show_notice",
                subject: &user.to_string(),
                organization: None,
                before: None,
                after: Some(json!({"notice": notice})),
            };
            tell(&mut tx, told, actor, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}
