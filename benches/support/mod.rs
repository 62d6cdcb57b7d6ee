//! A record for benchmarks: answers at once, and knows as many keys as are asked for.

use async_trait::async_trait;
use tollgate::domain::id::{KeyId, OrgId, ProjectId};
use tollgate::domain::key::{Grant, Key, Organization, Scopes};
use tollgate::domain::limit::{Caps, Quotas, SpendLimit};
use tollgate::domain::people::{Project, Session, User};
use tollgate::domain::row::Admission;
use tollgate::domain::secret::Digest;
use tollgate::domain::time::Timestamp;
use tollgate::stores::record::{
    Actor, AuditEntry, Change, KeyEdit, KeyFilter, NewKey, NewOrganization, NewUser, Record, RecordError,
    Shipment, UsageCell,
};
use uuid::Uuid;

/// Every digest whose last byte is even leads to a key of `acme`; each grant has texts of its own, as one read
/// from a database has.
pub struct Endless;

/// The digest of key `n`.
pub fn key(n: u64) -> Digest {
    let mut digest = Digest::of(&n.to_le_bytes());
    digest.0[31] &= 0xfe;
    digest
}

/// A digest that leads nowhere.
pub fn unknown(n: u64) -> Digest {
    let mut digest = key(n);
    digest.0[31] |= 1;
    digest
}

#[async_trait]
impl Record for Endless {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let id = u128::from_le_bytes(*digest.0.first_chunk().unwrap());
        Ok((digest.0[31] & 1 == 0).then(|| Grant {
            id: KeyId(Uuid::from_u128(id)),
            organization: OrgId::parse("acme").unwrap(),
            project: ProjectId::parse("3f0c7a52-5a0c-4a62-9f0e-1c37f3a0a111").unwrap(),
            scopes: Scopes::ALL,
            active: true,
            expires_at: None,
            secret_until: None,
            allowed_ips: Box::default(),
            quotas: Quotas { total: Some(1), daily: Some(1), weekly: Some(1), monthly: Some(1) },
            limit: None,
        }))
    }
    async fn organization(&self, id: &str) -> Result<Organization, RecordError> {
        Ok(Organization {
            id: OrgId::parse(id).unwrap(),
            name: id.to_owned(),
            plan: "free".to_owned(),
            negotiated: Caps::default(),
            limit: None,
            created_at: Timestamp::default(),
        })
    }
    async fn changes_after(&self, _: i64, _: usize) -> Result<Vec<Change>, RecordError> {
        Ok(Vec::new())
    }
    async fn last_change(&self) -> Result<i64, RecordError> {
        Ok(0)
    }

    // Never asked by a keyring.
    async fn create_organization(
        &self,
        _: &NewOrganization,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Organization, RecordError> {
        unimplemented!()
    }
    async fn organizations(&self) -> Result<Vec<Organization>, RecordError> {
        unimplemented!()
    }
    async fn set_plan(
        &self,
        _: &OrgId,
        _: &str,
        _: Caps,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Organization, RecordError> {
        unimplemented!()
    }
    async fn set_organization_limit(
        &self,
        _: &OrgId,
        _: Option<SpendLimit>,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Organization, RecordError> {
        unimplemented!()
    }
    async fn create_user(&self, _: &NewUser, _: &Actor, _: Timestamp) -> Result<User, RecordError> {
        unimplemented!()
    }
    async fn users(&self) -> Result<Vec<User>, RecordError> {
        unimplemented!()
    }
    async fn user(&self, _: &str) -> Result<User, RecordError> {
        unimplemented!()
    }
    async fn create_session(&self, _: &Session, _: &Actor, _: Timestamp) -> Result<(), RecordError> {
        unimplemented!()
    }
    async fn session(&self, _: Uuid) -> Result<Option<Session>, RecordError> {
        unimplemented!()
    }
    async fn audit_before(&self, _: Option<i64>, _: usize) -> Result<Vec<AuditEntry>, RecordError> {
        unimplemented!()
    }
    async fn create_project(
        &self,
        _: &ProjectId,
        _: &OrgId,
        _: &str,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Project, RecordError> {
        unimplemented!()
    }
    async fn projects(&self, _: Option<&OrgId>) -> Result<Vec<Project>, RecordError> {
        unimplemented!()
    }
    async fn create_key(&self, _: &NewKey, _: &Actor, _: Timestamp) -> Result<Key, RecordError> {
        unimplemented!()
    }
    async fn keys(&self, _: &KeyFilter) -> Result<Vec<Key>, RecordError> {
        unimplemented!()
    }
    async fn key(&self, _: KeyId) -> Result<Key, RecordError> {
        unimplemented!()
    }
    async fn key_named(&self, _: &OrgId, _: &str) -> Result<Key, RecordError> {
        unimplemented!()
    }
    async fn edit_key(&self, _: KeyId, _: &KeyEdit, _: &Actor, _: Timestamp) -> Result<Key, RecordError> {
        unimplemented!()
    }
    async fn rotate_key(
        &self,
        _: KeyId,
        _: Digest,
        _: &str,
        _: Option<Timestamp>,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Key, RecordError> {
        unimplemented!()
    }
    async fn delete_key(&self, _: KeyId, _: &Actor, _: Timestamp) -> Result<(), RecordError> {
        unimplemented!()
    }
    async fn ship(&self, _: &Shipment<'_>) -> Result<(), RecordError> {
        unimplemented!()
    }
    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        unimplemented!()
    }
    async fn carried(&self) -> Result<Vec<Admission<'static>>, RecordError> {
        unimplemented!()
    }
    async fn usage_since(
        &self,
        _: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError> {
        unimplemented!()
    }
    async fn admitted_since(
        &self,
        _: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError> {
        unimplemented!()
    }
}
