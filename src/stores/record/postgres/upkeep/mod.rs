//! Keeping the record in order. Over a connection of its own, as some of it takes longer than an answer may.

mod prune;
mod verify;

use async_trait::async_trait;

use super::PostgresRecord;
use crate::stores::record::RecordError;
use crate::stores::record::upkeep::{Keep, Pruned, UpkeepRecord, Verified};

#[async_trait]
impl UpkeepRecord for PostgresRecord {
    async fn prune(&self, keep: &Keep) -> Result<Pruned, RecordError> {
        let mut connection = self.log.another().await?;
        prune::step(&mut connection, keep).await
    }

    async fn verify(&self, repair: bool) -> Result<Verified, RecordError> {
        let mut connection = self.log.another().await?;
        let mut verified = Verified::default();
        for level in verify::LEVELS {
            let found = verify::level(&mut connection, level).await?;
            verified.rows += found.rows;
            verified.sums += found.sums;
            verified.drifted += found.drifted;
            let complete = found.drifts.len() as u64 == found.drifted;
            verified.drifts.extend(found.drifts.iter().map(|wrong| wrong.told.clone()));
            if found.drifted == 0 {
                continue;
            }
            let repaired = if repair { verify::repair(&mut connection, &found.drifts).await? } else { 0 };
            verified.repaired += repaired;
            if !complete || repaired < found.drifted {
                break;
            }
        }
        Ok(verified)
    }
}
