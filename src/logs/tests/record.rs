//! A record in memory that can be told to fail, before or after it took a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::row::Admission;
use crate::stores::record::{LogRecord, RecordError, Shipment};

/// How the record answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Mood {
    #[default]
    Up,
    /// Takes nothing.
    Down,
    /// Takes every other batch, and says of every one that it did not.
    Mute,
}

#[derive(Debug, Default)]
pub(super) struct MemoryRecord {
    pub state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub mood: Mood,
    /// Request id to code: `gateway_crashed` marks what recovery made.
    pub rows: BTreeMap<Uuid, String>,
    pub carried: BTreeMap<Uuid, Admission<'static>>,
    pub ever_carried: BTreeSet<Uuid>,
    pub cursors: BTreeMap<String, u64>,
    pub refused: u64,
    pub largest_batch: usize,
    /// When it took rows, and how many.
    pub batches: Vec<(Instant, usize)>,
    /// Requests whose rows it refuses.
    pub poison: BTreeSet<Uuid>,
    /// Batches that it still takes; `None` is no bound.
    pub left: Option<u64>,
    calls: u64,
}

impl MemoryRecord {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn mood(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    pub fn rows(&self) -> usize {
        self.state.lock().rows.len()
    }

    pub fn crashed(&self) -> usize {
        self.state.lock().rows.values().filter(|code| *code == "gateway_crashed").count()
    }
}

fn away() -> RecordError {
    RecordError::Unavailable(sqlx::Error::PoolClosed)
}

#[async_trait]
impl LogRecord for MemoryRecord {
    async fn ship(&self, shipment: &Shipment) -> Result<(), RecordError> {
        let mut state = self.state.lock();
        state.calls += 1;
        if (0..shipment.rows.len())
            .filter_map(|at| shipment.rows.id(at))
            .any(|id| state.poison.contains(&id.0))
        {
            return Err(RecordError::Refused("poison".into()));
        }
        let take = match state.mood {
            Mood::Up => state.left != Some(0),
            Mood::Down => false,
            Mood::Mute => state.calls.is_multiple_of(2),
        };
        if take {
            state.left = state.left.map(|left| left - 1);
            state.largest_batch = state.largest_batch.max(shipment.rows.len());
            if !shipment.rows.is_empty() {
                state.batches.push((Instant::now(), shipment.rows.len()));
            }
            for row in shipment.rows.iter() {
                let row = row?;
                state.rows.entry(row.id.0).or_insert_with(|| row.code.to_owned());
            }
            for admission in &shipment.carried {
                if !state.rows.contains_key(&admission.id.0) {
                    state.ever_carried.insert(admission.id.0);
                    state.carried.insert(admission.id.0, admission.clone());
                }
            }
            for id in &shipment.finished {
                state.carried.remove(id);
            }
            if let Some((name, bytes)) = &shipment.cursor {
                state.cursors.insert(name.clone(), *bytes);
            }
            for name in &shipment.forgotten {
                state.cursors.remove(name);
            }
        }
        if take && state.mood == Mood::Up {
            return Ok(());
        }
        state.refused += 1;
        Err(away())
    }

    async fn cursors(&self) -> Result<Vec<(String, u64)>, RecordError> {
        let state = self.state.lock();
        if state.mood == Mood::Down {
            return Err(away());
        }
        Ok(state.cursors.clone().into_iter().collect())
    }

    async fn carried(&self, _: Uuid) -> Result<Vec<Admission<'static>>, RecordError> {
        Ok(self.state.lock().carried.values().cloned().collect())
    }
}
