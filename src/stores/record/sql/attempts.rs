//! Requests that name themselves, and what they were answered.

use async_trait::async_trait;

use super::columns::{Columns, int, micros};
use super::engine::Record;
use crate::domain::time::Timestamp;
use crate::stores::record::{Attempt, AttemptRecord, Attempted, RecordError};

/// Attempts that have ended and are cleared away with each new one.
const CLEARED: u64 = 8;

#[async_trait]
impl AttemptRecord for Record {
    async fn attempt(
        &self,
        attempt: &Attempt<'_>,
        lease: Timestamp,
        most: u64,
        now: Timestamp,
    ) -> Result<Attempted, RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let known =
                sqlx::query("SELECT * FROM idempotency WHERE caller = $1 AND key = $2 AND expires_at > $3")
                    .bind(attempt.caller)
                    .bind(attempt.name.0.as_slice())
                    .bind(micros(now))
                    .fetch_optional(&mut *tx)
                    .await?;
            if let Some(row) = known {
                let row = Columns(&row);
                if row.digest("request")? != attempt.request {
                    return Ok(Attempted::Another);
                }
                return Ok(row.opt_bytes("answer")?.map_or(Attempted::UnderWay, Attempted::Answered));
            }
            sqlx::query(
                "DELETE FROM idempotency WHERE (caller, key) IN
                 (SELECT caller, key FROM idempotency WHERE expires_at <= $1 LIMIT $2)",
            )
            .bind(micros(now))
            .bind(int(CLEARED))
            .execute(&mut *tx)
            .await?;
            let held =
                sqlx::query("SELECT count(*) AS held FROM idempotency WHERE caller = $1 AND expires_at > $2")
                    .bind(attempt.caller)
                    .bind(micros(now))
                    .fetch_one(&mut *tx)
                    .await?;
            if Columns(&held).count("held")? >= most {
                tx.commit().await?;
                return Ok(Attempted::TooMany);
            }
            sqlx::query(
                "INSERT INTO idempotency (caller, key, request, expires_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (caller, key) DO UPDATE
                 SET request = excluded.request, answer = NULL, expires_at = excluded.expires_at",
            )
            .bind(attempt.caller)
            .bind(attempt.name.0.as_slice())
            .bind(attempt.request.0.as_slice())
            .bind(micros(lease))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Attempted::First)
        })
        .await
    }

    async fn answered(
        &self,
        attempt: &Attempt<'_>,
        answer: Option<(&[u8], Timestamp)>,
    ) -> Result<(), RecordError> {
        self.within(async {
            let mut tx = self.write().await?;
            let statement = match answer {
                Some((sealed, until)) => sqlx::query(
                    "UPDATE idempotency SET answer = $1, expires_at = $2 WHERE caller = $3 AND key = $4",
                )
                .bind(sealed)
                .bind(micros(until)),
                None => sqlx::query("DELETE FROM idempotency WHERE caller = $1 AND key = $2"),
            };
            statement.bind(attempt.caller).bind(attempt.name.0.as_slice()).execute(&mut *tx).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}
