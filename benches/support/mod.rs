//! A record for benchmarks: answers at once, and knows as many keys as are asked for.

#![allow(dead_code, reason = "each benchmark uses the part it needs")]

use async_trait::async_trait;
use tollgate::domain::id::{KeyId, OrgId, ProjectId};
use tollgate::domain::key::{Grant, Organization, Scopes};
use tollgate::domain::limit::{Caps, Quotas};
use tollgate::domain::secret::{Digest, Secret};
use tollgate::domain::time::Timestamp;
use tollgate::stores::record::{Change, GrantRecord, RecordError};
use uuid::Uuid;

/// Every digest whose last byte is even leads to a key; each grant has texts of its own, as one read from a
/// database has.
pub struct Endless {
    /// The plan of every organization.
    pub plan: &'static str,
    /// The quotas of every key.
    pub quotas: Quotas,
    /// Over how many organizations the keys are spread.
    pub organizations: u128,
}

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

/// Well-formed secret `n`; every other one is known.
pub fn secret(n: u64) -> String {
    let halves = [0, 1].map(|half: u64| Digest::of(&[n.to_le_bytes(), half.to_le_bytes()].concat()).0);
    let entropy = std::array::from_fn(|at| halves[at / 32][at % 32]);
    Secret::from_entropy("sk_live_", &entropy).unwrap().expose().to_owned()
}

/// Whether `secret` leads to a key.
pub fn is_known(secret: &str) -> bool {
    leads_somewhere(&Digest::of(secret.as_bytes()))
}

fn leads_somewhere(digest: &Digest) -> bool {
    digest.0[31] & 1 == 0
}

#[async_trait]
impl GrantRecord for Endless {
    async fn grant(&self, digest: &Digest) -> Result<Option<Grant>, RecordError> {
        let id = u128::from_le_bytes(*digest.0.first_chunk().unwrap());
        Ok(leads_somewhere(digest).then(|| Grant {
            id: KeyId(Uuid::from_u128(id)),
            organization: OrgId::parse(&format!("acme-{}", id % self.organizations)).unwrap(),
            project: ProjectId::parse("3f0c7a52-5a0c-4a62-9f0e-1c37f3a0a111").unwrap(),
            scopes: Scopes::ALL,
            active: true,
            expires_at: None,
            secret_until: None,
            allowed_ips: Box::default(),
            quotas: self.quotas,
            limit: None,
        }))
    }
    async fn has_imported_keys(&self) -> Result<bool, RecordError> {
        Ok(false)
    }

    async fn organization(&self, id: &str) -> Result<Organization, RecordError> {
        Ok(Organization {
            id: OrgId::parse(id).unwrap(),
            name: id.to_owned(),
            plan: self.plan.to_owned(),
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
}
