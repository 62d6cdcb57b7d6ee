//! What a gateway serves from: its record, which need not be there yet, and its counters, restored from it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;

use crate::clock;
use crate::config::{Config, CountersEngine};
use crate::logs::{self, RecoveryError, Spool};
use crate::stores::counters::Counters;
use crate::stores::counters::memory::{HISTORY, MemoryCounters, RECENT};
use crate::stores::counters::redis::{Nodes, Noting, Recovered, RedisCounters, RedisSettings};
use crate::stores::record::open::{self, Opened};
use crate::stores::record::{RecordError, SharedRecord, UsageRecord};

/// The record, and whether it can be asked.
pub struct Stores {
    pub opened: Opened,
    pub record: SharedRecord,
    /// Whether it is away, and [`Opened::reach`] has still to succeed.
    pub is_away: bool,
}

impl Stores {
    /// Opens the record that the configuration names. One that is away, and can come back by itself, is no error.
    pub async fn open(config: &Config) -> Result<Self> {
        let place = open::place(&config.record.url);
        let opened = open::begin(&config.record).await;
        let (opened, why) = opened.with_context(|| format!("cannot use the record {place} (record.url)"))?;
        if let Some(error) = &why {
            tracing::warn!(
                record = place,
                %error,
                "the record is away: starting without it, and going on trying (record.url)"
            );
        }
        Ok(Self { record: opened.shared(), opened, is_away: why.is_some() })
    }

    /// Moves what an earlier process left in the spool to the record, and restores the limits from there. Without the
    /// record both are owed, and limits begin with what the spool says; `before` is how many nodes there were.
    pub async fn counters(&self, config: &Config, spool: &Spool, before: Nodes) -> Result<Counters> {
        let recovered = if self.is_away {
            Recovered::default()
        } else {
            recover(spool, &self.record).await.context("cannot recover the log of an earlier run")?
        };
        let keys_max = config.counters.keys_max;
        let CountersEngine::Redis(url) = &config.counters.engine else {
            let counters = MemoryCounters::unrestored(keys_max);
            if !self.is_away {
                restore(&self.record, &counters).await?;
            }
            return Ok(Counters::Memory(counters));
        };
        let settings = RedisSettings {
            url: url.0.clone(),
            timeout: config.counters.timeout,
            on_outage: config.counters.on_outage,
            keys_max,
            spool: spool.id(),
            before,
        };
        let usage: Arc<dyn UsageRecord> = self.record.clone();
        let counters = RedisCounters::start(&settings, usage, recovered, Handle::current()).await;
        let counters = counters.context("cannot use Redis (counters.url)")?;
        if self.is_away {
            let now = clock::now();
            let left = logs::left(spool, now.minus(RECENT)).await.with_context(|| {
                format!("cannot read the log spool in {} (logs.dir)", spool.dir().display())
            })?;
            counters.restore_share(&left.cells, &left.totals, &left.recent, now);
        }
        Ok(Counters::Redis(counters))
    }
}

/// Moves what an earlier process left in the spool to the record.
///
/// # Errors
/// As [`logs::recover`]; begin it again.
pub async fn recover(spool: &Spool, record: &SharedRecord) -> Result<Recovered, RecoveryError> {
    let noting = Noting::new(record.clone());
    logs::recover(spool, &noting).await?;
    Ok(noting.seen())
}

/// Restores counters in memory from the record.
///
/// # Errors
/// What the record says; nothing is restored then.
pub async fn restore(record: &SharedRecord, counters: &MemoryCounters) -> Result<(), RecordError> {
    let now = clock::now();
    let (usage, totals) = record.usage_since(now.minus(HISTORY)).await?;
    let recent = record.admitted_since(now.minus(RECENT)).await?;
    counters.restore(&usage, &totals, &recent, now);
    Ok(())
}
