//! Where the keyring learns of keys: the record, beside it the key index in Redis where the counters are there, and, where
//! the record is on a server, what this node remembers of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;

use crate::clock;
use crate::config::{Config, CountersEngine, RecordUrl};
use crate::stores::counters::Counters;
use crate::stores::counters::redis::Nodes;
use crate::stores::keyring::Keyring;
use crate::stores::keyring::index::{Index, IndexedRecord};
use crate::stores::keyring::remembered::{Remembered, RememberedRecord};
use crate::stores::record::{GrantRecord, SharedRecord, open};

/// How often it is looked at whether a gateway that has not reached its record yet may go on without, and how many nodes
/// there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the keyring asks, and what of it is known besides.
#[derive(Clone)]
pub struct Grants {
    pub record: Arc<dyn GrantRecord>,
    pub index: Option<Arc<Index>>,
    pub remembered: Option<Arc<Remembered>>,
    /// Whether keys are known here without the record, before it was ever asked.
    lends: Arc<AtomicBool>,
}

impl Grants {
    /// As the configuration wants it. The spool's directory must be this process's.
    pub fn new(config: &Config, record: &SharedRecord, background: &Handle) -> Result<Self> {
        let mut grants: Arc<dyn GrantRecord> = record.clone();
        let index = index(config, background)?;
        if let Some(index) = &index {
            grants = Arc::new(IndexedRecord::new(grants, Arc::clone(index)));
        }
        let remembered = remembered(config, index.clone());
        if let Some(remembered) = &remembered {
            grants = Arc::new(RememberedRecord::new(grants, Arc::clone(remembered)));
        }
        Ok(Self { record: grants, index, remembered, lends: Arc::default() })
    }

    /// How many nodes there were when this one was last there.
    pub fn nodes_before(&self) -> Nodes {
        self.remembered.as_ref().and_then(|remembered| remembered.nodes()).unwrap_or_default()
    }

    /// Whether keys are known here without the record, before it was ever asked.
    pub fn lends(&self) -> bool {
        self.lends.load(Ordering::Relaxed)
    }

    /// Until the record is asked for the first time: looks whether keys are known without it, and has the keyring forget
    /// them when they no longer may be.
    pub async fn lend(&self, keyring: &Keyring) {
        while keyring.following().read_at().is_none() {
            let lends = match (&self.remembered, &self.index) {
                (Some(remembered), _) if remembered.lends(clock::now()).await => true,
                (_, Some(index)) => index.followed().await.is_some(),
                _ => false,
            };
            let did = self.lends.swap(lends, Ordering::Relaxed);
            if !lends && !keyring.is_empty() {
                keyring.forget_all();
            }
            if did && !lends {
                tracing::warn!(
                    "the record has been away for too long: no key is known any more (keys.remember_for)"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Remembers how many nodes there are, again and again.
    pub async fn remember_nodes(&self, counters: &Counters) {
        let (Some(remembered), Counters::Redis(redis)) = (&self.remembered, counters) else { return };
        loop {
            if let Some(nodes) = redis.nodes() {
                remembered.nodes_are(nodes).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn index(config: &Config, background: &Handle) -> Result<Option<Arc<Index>>> {
    let CountersEngine::Redis(url) = &config.counters.engine else { return Ok(None) };
    let keys = &config.keys;
    if keys.index_for.is_zero() {
        return Ok(None);
    }
    let (timeout, good_for) = (config.counters.timeout, keys.remember_for);
    let index = Index::new(&url.0, timeout, keys.index_for, good_for, background.clone());
    Ok(Some(Arc::new(index.context("cannot use Redis (counters.url)")?)))
}

/// A record in a file of this machine is not away, and a disk that does not take the journal is no reason not to serve.
fn remembered(config: &Config, index: Option<Arc<Index>>) -> Option<Arc<Remembered>> {
    let keys = &config.keys;
    if keys.remember_for.is_zero() || matches!(config.record.url, RecordUrl::Sqlite(_)) {
        return None;
    }
    let place = open::place(&config.record.url);
    match Remembered::open(&config.logs.dir, &place, keys.cache_max, keys.remember_for, index) {
        Ok(remembered) => Some(Arc::new(remembered)),
        Err(error) => {
            tracing::warn!(%error, "keys cannot be remembered for a start without the record (logs.dir)");
            None
        }
    }
}
