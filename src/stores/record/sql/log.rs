//! The request log and what was used, as each engine answers of itself.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::engine::Record;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::row::Admission;
use crate::domain::time::Timestamp;
use crate::stores::record::{LogRecord, OrgUsage, RecordError, Shipment, UsageCell, UsageRecord};

#[async_trait]
impl LogRecord for Record {
    async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError> {
        self.ship(shipment).await
    }
    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        self.cursors().await
    }
    async fn carried(&self, spool: Uuid) -> Result<Vec<Admission<'static>>, RecordError> {
        self.carried(spool).await
    }
}

#[async_trait]
impl UsageRecord for Record {
    async fn usage_since(
        &self,
        since: Timestamp,
    ) -> Result<(Vec<UsageCell>, Vec<(OrgId, KeyId, u64)>), RecordError> {
        self.usage_since(since).await
    }
    async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(OrgId, Option<KeyId>, Timestamp)>, RecordError> {
        self.admitted_since(since).await
    }
    async fn gateways_beside(&self, spool: Uuid, within: Duration) -> Result<u64, RecordError> {
        self.gateways_beside(spool, within).await
    }
    async fn usage_of(
        &self,
        org: &OrgId,
        since: Timestamp,
        recent: Timestamp,
    ) -> Result<OrgUsage, RecordError> {
        self.usage_of(org, since, recent).await
    }
}
