//! Grants and organizations as the key index in Redis and the journal on disk hold them, under a name each:
//! `NUMBER VERSION CHECKSUM JSON`.
//!
//! The checksum is of the version, the name under which it lies, and the content: what was damaged, was written by
//! another version, or belongs to another name is not read. It keeps out accidents, not those who may write there:
//! they could as well reset the limits.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::domain::id::{KeyId, OrgId, ProjectId};
use crate::domain::key::{Grant, Organization, Scopes};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::secret::Digest;
use crate::domain::time::{Period, Timestamp};
use crate::stores::record::{Change, Changed};

/// To be raised with every change of the structures below.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredGrant {
    id: uuid::Uuid,
    organization: String,
    project: String,
    read: bool,
    write: bool,
    active: bool,
    expires_at: Option<u64>,
    secret_until: Option<u64>,
    allowed_ips: Vec<String>,
    quotas: [Option<u64>; 4],
    limit: Option<StoredLimit>,
}

#[derive(Serialize, Deserialize)]
struct StoredLimit {
    requests: Option<u64>,
    microcents: Option<u64>,
    period: String,
    enabled: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredOrganization {
    id: String,
    name: String,
    plan: String,
    caps: [Option<u64>; 3],
    limit: Option<StoredLimit>,
    created_at: u64,
}

/// An entry for `name`, read when change `seen` was the last that had been seen.
fn encode<T: Serialize>(name: &str, seen: i64, content: &T) -> Option<String> {
    let json = serde_json::to_string(content).ok()?;
    Some(format!("{seen} {VERSION} {} {json}", checksum(name, &json)))
}

/// What `name` holds, and the number it was read at. `None` where it must not be trusted.
fn decode<T: DeserializeOwned>(name: &str, entry: &str) -> Option<(i64, T)> {
    let seen = number_of(name, entry)?;
    Some((seen, serde_json::from_str(entry.splitn(4, ' ').nth(3)?).ok()?))
}

/// The number of an entry that is whole, whatever it holds.
pub(super) fn number_of(name: &str, entry: &str) -> Option<i64> {
    let mut parts = entry.splitn(4, ' ');
    let seen = parts.next()?.parse().ok()?;
    let (version, sum, json) = (parts.next()?, parts.next()?, parts.next()?);
    (version.parse() == Ok(VERSION) && sum == checksum(name, json)).then_some(seen)
}

/// The name of a key.
pub(super) fn key_name(digest: &Digest) -> String {
    let hex: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("tollgate:key:{hex}")
}

/// The name of an organization.
pub(super) fn organization_name(org: &OrgId) -> String {
    format!("tollgate:{{{org}}}:a")
}

/// What a change is about, and its number.
pub(super) fn changed(change: &Change) -> (String, i64) {
    let name = match &change.subject {
        Changed::Secret(digest) => key_name(digest),
        Changed::Organization(org) => organization_name(org),
    };
    (name, change.sequence)
}

pub(super) fn checksum(name: &str, json: &str) -> String {
    let hash = Sha256::new().chain_update(VERSION.to_be_bytes()).chain_update(name).chain_update([0]);
    let sum = hash.chain_update(json).finalize();
    sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn encode_grant(name: &str, seen: i64, grant: &Grant) -> Option<String> {
    let Quotas { total, daily, weekly, monthly } = grant.quotas;
    let stored = StoredGrant {
        id: grant.id.0,
        organization: grant.organization.to_string(),
        project: grant.project.to_string(),
        read: grant.scopes.read,
        write: grant.scopes.write,
        active: grant.active,
        expires_at: grant.expires_at.map(Timestamp::micros),
        secret_until: grant.secret_until.map(Timestamp::micros),
        allowed_ips: grant.allowed_ips.iter().map(ToString::to_string).collect(),
        quotas: [total, daily, weekly, monthly],
        limit: grant.limit.as_deref().map(store_limit),
    };
    encode(name, seen, &stored)
}

pub(super) fn decode_grant(name: &str, entry: &str) -> Option<(i64, Grant)> {
    let (seen, stored) = decode::<StoredGrant>(name, entry)?;
    let [total, daily, weekly, monthly] = stored.quotas;
    let grant = Grant {
        id: KeyId(stored.id),
        organization: OrgId::parse(&stored.organization).ok()?,
        project: ProjectId::parse(&stored.project).ok()?,
        scopes: Scopes { read: stored.read, write: stored.write },
        active: stored.active,
        expires_at: stored.expires_at.map(Timestamp::from_micros),
        secret_until: stored.secret_until.map(Timestamp::from_micros),
        allowed_ips: stored.allowed_ips.iter().map(|net| net.parse().ok()).collect::<Option<_>>()?,
        quotas: Quotas { total, daily, weekly, monthly },
        limit: read_limit(stored.limit)?.map(Box::new),
    };
    Some((seen, grant))
}

pub(super) fn encode_organization(name: &str, seen: i64, org: &Organization) -> Option<String> {
    let Caps { per_second, per_minute, concurrency } = org.negotiated;
    let stored = StoredOrganization {
        id: org.id.to_string(),
        name: org.name.clone(),
        plan: org.plan.clone(),
        caps: [per_second, per_minute, concurrency],
        limit: org.limit.as_ref().map(store_limit),
        created_at: org.created_at.micros(),
    };
    encode(name, seen, &stored)
}

pub(super) fn decode_organization(name: &str, entry: &str) -> Option<(i64, Organization)> {
    let (seen, stored) = decode::<StoredOrganization>(name, entry)?;
    let [per_second, per_minute, concurrency] = stored.caps;
    let organization = Organization {
        id: OrgId::parse(&stored.id).ok()?,
        name: stored.name,
        plan: stored.plan,
        negotiated: Caps { per_second, per_minute, concurrency },
        limit: read_limit(stored.limit)?,
        created_at: Timestamp::from_micros(stored.created_at),
    };
    Some((seen, organization))
}

fn store_limit(limit: &SpendLimit) -> StoredLimit {
    let SpendLimit { requests, microcents, period, enabled } = *limit;
    StoredLimit { requests, microcents, period: period.name().to_owned(), enabled }
}

/// A limit that cannot be read is not the same as none.
#[allow(clippy::option_option, reason = "unreadable, or no limit")]
fn read_limit(stored: Option<StoredLimit>) -> Option<Option<SpendLimit>> {
    let Some(StoredLimit { requests, microcents, period, enabled }) = stored else { return Some(None) };
    Some(Some(SpendLimit { requests, microcents, period: Period::named(&period)?, enabled }))
}
