//! Finds out that the way to the server was lost in the midst of a batch, which may take long by itself.
//!
//! What a firewall or a dead router swallows, nobody says: the server waits for the rest of the batch and this process
//! for an answer, for as long as [`SHIP_TIMEOUT`](super::log). So a batch that takes long is looked at over another
//! connection: where the server has nothing to do but to wait for us, and that since the look before, it never will.
//! It is ended there too, as it may hold the turn ([`SHIPPERS`](super::log)) that others wait for.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::door::Door;
use crate::stores::record::RecordError;

/// How long a batch may take before it is looked at, and how often then. No batch that moves on has the server wait for
/// so long.
const LOOK_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// What the server calls the connection that is watched; 0 where it has not said.
#[derive(Debug, Default)]
pub(super) struct Watch(AtomicI32);

impl Watch {
    /// Asks the server what it calls a connection that is watched from now on.
    pub async fn begin(&self, connection: &mut PgConnection) -> Result<(), RecordError> {
        let asked = sqlx::query("SELECT pg_backend_pid()").fetch_one(connection).await?;
        self.0.store(asked.try_get(0)?, Ordering::Relaxed);
        Ok(())
    }

    /// Resolves when the connection is known to be cut. A server that cannot be asked either says nothing of it.
    pub async fn is_cut(&self, door: &Door) {
        let (mut before, mut pause) = (None, LOOK_AFTER);
        loop {
            tokio::time::sleep(std::mem::replace(&mut pause, LOOK_EVERY)).await;
            let process = self.0.load(Ordering::Relaxed);
            if process == 0 {
                continue;
            }
            match tokio::time::timeout(LOOK_TIMEOUT, look(door, process, before.as_deref())).await {
                Ok(Ok(Look::Cut)) => return,
                Ok(Ok(Look::WaitsSince(since))) => before = Some(since),
                Ok(Ok(Look::Works)) => before = None,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

enum Look {
    /// It is not there, or has waited for us since the look before, and was ended.
    Cut,
    /// It waits for us, since this instant.
    WaitsSince(String),
    Works,
}

async fn look(door: &Door, process: i32, before: Option<&str>) -> Result<Look, RecordError> {
    let mut connection = door.connect().await?;
    let found = sqlx::query(
        "SELECT wait_event IS NOT DISTINCT FROM 'ClientRead' OR wait_event IS NOT DISTINCT FROM 'ClientWrite',
                state_change::text
         FROM pg_stat_activity WHERE pid = $1",
    )
    .bind(process)
    .fetch_optional(&mut connection)
    .await?;
    let Some(found) = found else { return Ok(Look::Cut) };
    if !found.try_get::<bool, _>(0)? {
        return Ok(Look::Works);
    }
    let since: String = found.try_get(1)?;
    if before != Some(since.as_str()) {
        return Ok(Look::WaitsSince(since));
    }
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND state_change::text = $2",
    )
    .bind(process)
    .bind(&since)
    .fetch_optional(&mut connection)
    .await?;
    Ok(Look::Cut)
}
