//! Digest to grant: found fast, gone at once (placeholder).

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config;
use crate::domain::id::OrgId;
use crate::domain::key::{Grant, Organization};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

use super::record::{RecordError, SharedRecord};

/// An organization as the keyring holds it: one place, shared by all its keys, so that an edited plan is in
/// force for all of them at once.
#[derive(Debug)]
pub struct OrgSlot(pub ArcSwap<Organization>);

/// A key that may be used, as far as the record knows.
#[derive(Debug)]
pub struct Entry {
    /// What the key may do.
    pub grant: Grant,
    /// Who pays.
    pub organization: Arc<OrgSlot>,
}

/// What the keyring knows of a digest without asking anyone.
#[derive(Debug, Clone)]
pub enum Known {
    /// It leads to this key.
    Key(Arc<Entry>),
    /// It leads nowhere.
    Absent,
}

/// The cache in front of the record.
#[derive(Debug)]
pub struct Keyring {}

impl Keyring {
    /// An empty keyring over `record`.
    pub fn new(_record: SharedRecord, _settings: &config::Keys) -> Self {
        todo!()
    }

    /// What is known without asking: no IO, no waiting.
    pub fn cached(&self, _digest: &Digest, _now: Timestamp) -> Option<Known> {
        todo!()
    }

    /// What the digest leads to, asking the record where it is not known here; one question per digest at a
    /// time.
    ///
    /// # Errors
    /// [`RecordError`] where it is not known here and the record could not be asked.
    pub async fn find(&self, _digest: &Digest, _now: Timestamp) -> Result<Known, RecordError> {
        todo!()
    }

    /// Forgets what `digest` leads to, also in fills under way.
    pub fn forget(&self, _digest: &Digest) {
        todo!()
    }

    /// Reads the organization anew, for all its keys.
    ///
    /// # Errors
    /// [`RecordError`] where the record could not be asked; the old state stays.
    pub async fn refresh(&self, _org: &OrgId) -> Result<(), RecordError> {
        todo!()
    }
}
