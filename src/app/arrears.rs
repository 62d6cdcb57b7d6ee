//! What a gateway that started while its record was away owes it, in this order: to reach it, to move there what an
//! earlier process left in the spool, and to restore from there the limits that are counted in memory. Only then is its
//! own log shipped: admissions that the record carries for this spool are taken for those of a process that died.
//!
//! Each is tried until it succeeds, as often as a running gateway asks for changes whose record has gone away later.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::logs::{Exporter, Spool};
use crate::metrics::Metrics;
use crate::stores::counters::Counters;
use crate::stores::keyring::follow::BACK_OFF_MAX;

use super::stores::{Stores, recover, restore};

/// The first pause; each is twice as long as the one before, up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(50);

/// All that it takes to settle them.
pub struct Arrears {
    pub stores: Stores,
    pub spool: Arc<Spool>,
    pub counters: Arc<Counters>,
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
}

impl Arrears {
    /// Settles them, however long that takes; the export of the log, where one is wanted. May be dropped at any point.
    pub async fn settle(self) -> Option<Exporter> {
        let Self { stores, spool, counters, config, metrics } = self;
        let mut patience = Patience::default();
        while let Err(error) = stores.opened.reach().await {
            if !error.is_away() && patience.is_news(&error) {
                tracing::error!(%error, "the record was reached, and cannot be used (record.url)");
            }
            patience.wait("the record is away", &error).await;
        }
        tracing::info!("the record is reached");
        let recovered = loop {
            match recover(&spool, &stores.record).await {
                Ok(recovered) => break recovered,
                Err(error) => {
                    patience.wait("the log of an earlier run is not in the record yet", &error).await;
                }
            }
        };
        match &*counters {
            Counters::Memory(memory) => {
                while let Err(error) = restore(&stores.record, memory).await {
                    patience.wait("limits are not restored yet", &error).await;
                }
                tracing::info!("limits are restored from the record");
            }
            Counters::Redis(redis) => redis.recovered(recovered),
        }
        loop {
            match Exporter::open(&config.logs, stores.record.clone(), Arc::clone(&metrics)).await {
                Ok(exporter) => return exporter,
                Err(error) => {
                    patience.wait("the request log is not exported yet (logs.export)", &error).await;
                }
            }
        }
    }
}

/// Pauses between attempts, and says why one failed whenever that is something else than before.
#[derive(Default)]
struct Patience {
    pause: Option<Duration>,
    said: String,
}

impl Patience {
    /// Whether this is something else than what failed before.
    fn is_news(&mut self, error: &(dyn Display + Sync)) -> bool {
        let why = error.to_string();
        let is_news = why != self.said;
        self.said = why;
        is_news
    }

    async fn wait(&mut self, failed: &str, error: &(dyn Display + Sync)) {
        if self.is_news(error) {
            tracing::warn!(%error, "{failed}: trying on");
        }
        let pause = self.pause.map_or(BACK_OFF, |pause| (2 * pause).min(BACK_OFF_MAX));
        self.pause = Some(pause);
        tokio::time::sleep(pause).await;
    }
}
