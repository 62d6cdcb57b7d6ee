//! What requests of many keys and organizations ask of the record at once, asked together ([`Gather`]): a gateway that
//! meets thousands of them would take every connection for as many questions.

use std::collections::HashMap;
use std::time::Duration;

use super::columns::Columns;
use super::sql::{grants, organizations};
use super::usage::{self, Asked};
use super::{PostgresRecord, within};
use crate::domain::id::OrgId;
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::gather::Gather;
use crate::stores::record::{OrgUsage, RecordError};

/// Keys, or organizations, of which one statement asks at most.
const TOGETHER: usize = 128;

/// How long it is waited for keys or organizations, which are found by their index: one connection that leads nowhere keeps
/// the next of them waiting for as long.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

type Answer<T> = Result<T, RecordError>;

/// Who waits for what.
#[derive(Debug)]
pub(super) struct Together {
    grants: Gather<Digest, Answer<Option<Grant>>>,
    organizations: Gather<OrgId, Answer<Option<Organization>>>,
    usage: Gather<Asked, Answer<OrgUsage>>,
}

impl Together {
    pub fn new() -> Self {
        Self {
            grants: Gather::new(TOGETHER, 1),
            organizations: Gather::new(TOGETHER, 1),
            // One organization may have a month of rows: others do not wait for it.
            usage: Gather::new(TOGETHER, 2),
        }
    }
}

impl PostgresRecord {
    pub(super) async fn grant_of(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let record = self.clone();
        let ask = move |digests: Vec<Digest>| {
            let record = record.clone();
            async move {
                let found = within(record.found_within(), record.grants(&digests)).await;
                each(&digests, found, |found, digest| known(found.get(digest.0.as_slice())))
            }
        };
        self.together.grants.ask(*digest, ask).await.unwrap_or_else(|| Err(unasked()))
    }

    fn found_within(&self) -> Duration {
        self.answer_timeout.min(FOUND_WITHIN)
    }

    /// By their digests, those that there are.
    async fn grants(&self, digests: &[Digest]) -> Result<HashMap<Vec<u8>, Answer<Grant>>, RecordError> {
        let rows = sqlx::query(
            "SELECT k.*, s.digest, s.valid_until FROM key_secrets s JOIN keys k ON k.id = s.key
             WHERE s.digest = ANY ($1) AND k.revoked_at IS NULL",
        )
        .bind(digests.iter().map(|digest| digest.0.to_vec()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        let named = |row| {
            let row = Columns(row);
            Ok((sqlx::Row::try_get(row.0, "digest")?, grants::grant(&row)))
        };
        rows.iter().map(named).collect()
    }

    pub(super) async fn organization_of(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        if let Ok(id) = OrgId::parse(id_or_name) {
            let record = self.clone();
            let ask = move |ids: Vec<OrgId>| {
                let record = record.clone();
                async move {
                    let found = within(record.found_within(), record.organizations_of(&ids)).await;
                    each(&ids, found, |found, id| known(found.get(id.as_str())))
                }
            };
            let found = self.together.organizations.ask(id, ask).await.unwrap_or_else(|| Err(unasked()))?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        organizations::find(&mut *self.pool.acquire().await?, id_or_name).await
    }

    /// By their ids, those that there are.
    async fn organizations_of(
        &self,
        ids: &[OrgId],
    ) -> Result<HashMap<String, Answer<Organization>>, RecordError> {
        let rows = sqlx::query("SELECT * FROM organizations WHERE id = ANY ($1)")
            .bind(ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await?;
        let named = |row| {
            let row = Columns(row);
            Ok((row.text("id")?, organizations::organization(&row)))
        };
        rows.iter().map(named).collect()
    }

    pub(super) async fn usage_of(
        &self,
        org: &OrgId,
        since: Timestamp,
        recent: Timestamp,
    ) -> Result<OrgUsage, RecordError> {
        let record = self.clone();
        let ask = move |asked: Vec<Asked>| {
            let record = record.clone();
            async move {
                let found = usage::of_all(&record, &asked).await;
                each(&asked, found, |found, asked| {
                    Ok(found.get(&asked.org).map(|of| asked.only(of)).unwrap_or_default())
                })
            }
        };
        self.door.check()?;
        // Each part of the answer is bounded in time, and who waits for its turn does so for as long as others get theirs.
        let asked = Asked { org: org.clone(), since, recent };
        self.together.usage.ask(asked, ask).await.unwrap_or_else(|| Err(unasked()))
    }
}

/// What each of those who asked is told.
fn each<Q, F, T>(
    asked: &[Q],
    found: Result<F, RecordError>,
    answer: impl Fn(&F, &Q) -> Answer<T>,
) -> Vec<Answer<T>> {
    match found {
        Ok(found) => asked.iter().map(|question| answer(&found, question)).collect(),
        Err(error) => {
            let others: Vec<_> = asked.iter().skip(1).map(|_| Err(error.repeated())).collect();
            std::iter::once(Err(error)).chain(others).collect()
        }
    }
}

/// What was found, for one of those who asked for it.
fn known<T: Clone>(found: Option<&Answer<T>>) -> Answer<Option<T>> {
    match found {
        Some(Ok(found)) => Ok(Some(found.clone())),
        Some(Err(error)) => Err(error.repeated()),
        None => Ok(None),
    }
}

/// Nobody was there any more to ask.
fn unasked() -> RecordError {
    RecordError::Unavailable(sqlx::Error::WorkerCrashed)
}
