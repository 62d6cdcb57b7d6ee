//! Organizations, each in one slot that all its keys share.
//!
//! **Invariants.** A slot is held here weakly, by its keys' entries strongly: it lives as long as one of its
//! keys is cached, and there are never more slots than keys. A state that was read before a change and comes
//! in after it is not put into a shared slot: the generation from before the read must still be the current
//! one. Refreshes run one after the other, so that of two states the later read one stays.

use std::sync::{Arc, Weak};

use ahash::{AHashMap, AHashSet};
use parking_lot::Mutex;

use super::{OrgSlot, bounded};
use crate::domain::id::{OrgId, ProjectId};
use crate::domain::key::{Grant, Organization};
use crate::stores::record::{GrantRecord, RecordError};

/// Project ids per organization of which all keys share one text; further ones cost their own memory.
const PROJECTS_SHARED_MAX: usize = 256;
/// How often a state is read again that changed while it was read.
const ATTEMPTS: usize = 3;

#[derive(Default)]
pub(super) struct Organizations {
    places: Mutex<Places>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Places {
    slots: AHashMap<OrgId, Place>,
    /// Rises with every change of any organization.
    generation: u64,
    /// The number of places at which those without keys are next cleared away.
    prune_at: usize,
}

struct Place {
    slot: Weak<OrgSlot>,
    projects: AHashSet<ProjectId>,
}

impl Organizations {
    /// The slot of the grant's organization, read from the record where no cached key shares it yet. The
    /// grant's ids become those that its neighbours hold, so that a million keys hold one text each.
    ///
    /// With `false` comes a state that kept changing while it was read: it is good for once, not to be kept.
    ///
    /// # Errors
    /// [`RecordError`] where the record could not be asked or does not know the organization.
    pub async fn slot(
        &self,
        record: &dyn GrantRecord,
        grant: &mut Grant,
    ) -> Result<(Arc<OrgSlot>, bool), RecordError> {
        let mut attempts = ATTEMPTS;
        loop {
            let generation = {
                let mut places = self.places.lock();
                if let Some(slot) = places.shared(grant) {
                    return Ok((slot, true));
                }
                places.generation
            };
            let organization = read(record, &grant.organization).await?;
            let slot = Arc::new(OrgSlot(arc_swap::ArcSwap::from_pointee(organization)));
            let mut places = self.places.lock();
            if let Some(slot) = places.shared(grant) {
                return Ok((slot, true));
            }
            if places.generation == generation {
                places.insert(grant.organization.clone(), &slot);
                places.shared(grant);
                return Ok((slot, true));
            }
            attempts -= 1;
            if attempts == 0 {
                return Ok((slot, false));
            }
        }
    }

    /// Reads the organization anew, if a cached key shares it.
    pub async fn refresh(&self, record: &dyn GrantRecord, id: &OrgId) -> Result<(), RecordError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let slot = {
            let mut places = self.places.lock();
            places.generation += 1;
            places.slots.get(id).and_then(|place| place.slot.upgrade())
        };
        if let Some(slot) = slot {
            slot.0.store(Arc::new(read(record, id).await?));
        }
        Ok(())
    }

    /// Forgets every slot; keys found from now on share new ones.
    pub fn clear(&self) {
        let mut places = self.places.lock();
        places.generation += 1;
        places.slots.clear();
    }

    /// Slots that are held.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.lock().slots.len()
    }
}

impl Places {
    fn shared(&mut self, grant: &mut Grant) -> Option<Arc<OrgSlot>> {
        let place = self.slots.get_mut(&grant.organization)?;
        let slot = place.slot.upgrade()?;
        grant.organization = slot.0.load().id.clone();
        match place.projects.get(&grant.project) {
            Some(project) => grant.project = project.clone(),
            None if place.projects.len() < PROJECTS_SHARED_MAX => {
                place.projects.insert(grant.project.clone());
            }
            None => {}
        }
        Some(slot)
    }

    fn insert(&mut self, id: OrgId, slot: &Arc<OrgSlot>) {
        if self.slots.len() >= self.prune_at {
            self.slots.retain(|_, place| place.slot.strong_count() > 0);
            // Twice what is alive: clearing away costs each newcomer a constant.
            self.prune_at = (2 * self.slots.len()).max(64);
        }
        self.slots.insert(id, Place { slot: Arc::downgrade(slot), projects: AHashSet::new() });
    }
}

/// The record finds organizations by id or else by name; only the id will do here.
async fn read(record: &dyn GrantRecord, id: &OrgId) -> Result<Organization, RecordError> {
    let organization = bounded(record.organization(id.as_str())).await?;
    if organization.id == *id {
        Ok(organization)
    } else {
        Err(RecordError::NotFound(format!("no organization {id}")))
    }
}
