//! What a gateway that died had admitted and not shipped: it comes to the record when its next start recovers the
//! spool. Organizations that were rebuilt in the meantime lack it, so they are rebuilt once more. Where Redis was away when
//! the next process began, nobody may have told it at all: then all of them are. So are those of requests that died with it:
//! Redis holds what was reserved for them, and nobody else knows how much that was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use super::Inner;
use super::shard::Shard;
use super::wire::WHOLE_MAX;
use crate::domain::cost::Outcome;
use crate::domain::id::OrgId;
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::{LogRecord, RecordError, Shipment};

/// Before anything was ever rebuilt.
const WHENEVER: Timestamp = Timestamp::from_micros(0);

/// Since when each organization is to be rebuilt: the first admission among its rows, or [`WHENEVER`].
pub type Recovered = BTreeMap<OrgId, Timestamp>;

/// A record that takes note of whose rows are recovered.
pub struct Noting {
    record: Arc<dyn LogRecord>,
    seen: Mutex<Recovered>,
}

impl Noting {
    /// Takes note of what is shipped to `record`.
    pub fn new(record: Arc<dyn LogRecord>) -> Self {
        Self { record, seen: Mutex::default() }
    }

    /// What was shipped.
    pub fn seen(self) -> Recovered {
        self.seen.into_inner()
    }
}

#[async_trait]
impl LogRecord for Noting {
    async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError> {
        self.record.ship(shipment).await?;
        let mut seen = self.seen.lock();
        for row in shipment.rows.iter().flatten().filter(|row| row.admitted) {
            let organization = row.organization.map(OrgId::parse);
            if let Some(Ok(organization)) = organization {
                let since = if row.outcome == Some(Outcome::Crashed) { WHENEVER } else { row.at };
                let first = seen.entry(organization).or_insert(since);
                *first = since.min(*first);
            }
        }
        Ok(())
    }

    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        self.record.cursors().await
    }

    async fn carried(&self, spool: Uuid) -> Result<Vec<Admission<'static>>, RecordError> {
        self.record.carried(spool).await
    }
}

impl Inner {
    /// Has Redis forget what was rebuilt after the first of it was admitted, of organizations that `shard` has.
    pub(super) async fn tell_recovered(self: &Arc<Self>, shard: &Arc<Shard>) {
        let is_here = |org: &OrgId| Arc::ptr_eq(shard, &self.link.shard(org));
        let here: Vec<_> = {
            let mut recovered = self.recovered.lock();
            recovered.extract_if(.., |org, _| is_here(org)).collect()
        };
        let all = self.began_alone.load(Ordering::Relaxed);
        for (org, since) in here {
            let epochs = if all { 0..=WHOLE_MAX } else { since.micros()..=WHOLE_MAX };
            if self.forget(&org, epochs).await.is_err() {
                self.recovered.lock().insert(org, since);
            }
        }
    }
}
