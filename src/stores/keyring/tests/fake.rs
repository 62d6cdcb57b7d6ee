//! A record in memory that can be held up in the middle of an answer, and switched off.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::domain::id::{KeyId, ProjectId};
use crate::domain::key::Scopes;
use crate::domain::limit::{Caps, Quotas};
use crate::stores::record::{Change, Changed, GrantRecord};

/// What it knows, and how it behaves.
#[derive(Default)]
pub struct Fake {
    grants: Mutex<AHashMap<Digest, Grant>>,
    organizations: Mutex<AHashMap<String, Organization>>,
    changes: Mutex<Vec<Change>>,
    pub down: AtomicBool,
    /// Whether it says that there are imported keys.
    pub imported: AtomicBool,
    /// Answers to `grant` and `organization` wait for a permit each, after they have been read.
    pub held: AtomicBool,
    pub gate: Gate,
    /// Questions that have read their answer.
    pub grants_read: AtomicUsize,
    pub organizations_read: AtomicUsize,
    /// Questions that found it down.
    pub refused: AtomicUsize,
}

pub struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    /// Lets `n` held answers go.
    pub fn open(&self, n: usize) {
        self.0.add_permits(n);
    }
}

impl Fake {
    pub fn put_key(&self, digest: Digest, grant: Grant) {
        self.grants.lock().insert(digest, grant);
        self.changed(Changed::Secret(digest));
    }

    pub fn revoke(&self, digest: &Digest) {
        self.grants.lock().remove(digest);
        self.changed(Changed::Secret(*digest));
    }

    pub fn put_organization(&self, organization: Organization) {
        let id = organization.id.clone();
        self.organizations.lock().insert(id.to_string(), organization);
        self.changed(Changed::Organization(id));
    }

    fn changed(&self, subject: Changed) {
        let mut changes = self.changes.lock();
        let sequence = changes.len() as i64 + 1;
        changes.push(Change { sequence, at: Timestamp::from_seconds(1), subject });
    }

    fn is_up(&self) -> Result<(), RecordError> {
        if self.down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(RecordError::Unavailable(sqlx::Error::PoolClosed));
        }
        Ok(())
    }

    async fn hold(&self) {
        if self.held.load(Ordering::SeqCst) {
            self.gate.0.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl GrantRecord for Fake {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let answer = self.is_up().map(|()| self.grants.lock().get(digest).cloned());
        self.grants_read.fetch_add(1, Ordering::SeqCst);
        self.hold().await;
        answer
    }
    async fn has_imported_keys(&self) -> Result<bool, RecordError> {
        self.is_up()?;
        Ok(self.imported.load(Ordering::SeqCst))
    }

    async fn organization(&self, id_or_name: &str) -> Result<Organization, RecordError> {
        self.is_up()?;
        let answer = self.organizations.lock().get(id_or_name).cloned();
        self.organizations_read.fetch_add(1, Ordering::SeqCst);
        self.hold().await;
        answer.ok_or_else(|| RecordError::NotFound(id_or_name.to_owned()))
    }
    async fn changes_after(&self, sequence: i64, most: usize) -> Result<Vec<Change>, RecordError> {
        self.is_up()?;
        let changes = self.changes.lock();
        Ok(changes.iter().filter(|change| change.sequence > sequence).take(most).cloned().collect())
    }
    async fn last_change(&self) -> Result<i64, RecordError> {
        self.is_up()?;
        Ok(self.changes.lock().len() as i64)
    }
}

pub fn digest(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

pub fn grant(n: u64, organization: &str) -> Grant {
    Grant {
        id: KeyId(Uuid::from_u128(n.into())),
        organization: OrgId::parse(organization).unwrap(),
        project: ProjectId::parse("default-project-of-acme").unwrap(),
        scopes: Scopes::ALL,
        active: true,
        expires_at: None,
        secret_until: None,
        allowed_ips: Box::default(),
        quotas: Quotas::default(),
        limit: None,
    }
}

pub fn organization(id: &str, plan: &str) -> Organization {
    Organization {
        id: OrgId::parse(id).unwrap(),
        name: id.to_owned(),
        plan: plan.to_owned(),
        negotiated: Caps::default(),
        limit: None,
        created_at: Timestamp::default(),
    }
}
