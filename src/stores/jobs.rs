//! Which project made what an answer named: a job, mostly.
//!
//! What this node has seen made it knows at once; the log carries it into the record, and so to other nodes and
//! through restarts. The first to make a job has it, and the record decides who that is.
//!
//! | what fails | what happens |
//! |---|---|
//! | the record cannot be asked | jobs made or asked for here lately are known; of others nothing is, which is an error |
//! | more jobs than are held | the older half is let go, counted, and asked of the record again |
//! | an answer whose job could not be read | nobody has it |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;

use super::keyring::bounded;
use super::record::{JobRecord, RecordError};
use crate::domain::id::ProjectId;

/// Jobs and their projects, in front of the record.
pub struct Jobs {
    record: Arc<dyn JobRecord>,
    /// Jobs in each of the two halves.
    half: usize,
    held: Mutex<Held>,
    let_go: AtomicU64,
}

/// Two halves: what was put or asked for lately is in the young one.
#[derive(Default)]
struct Held {
    young: AHashMap<Box<str>, Owner>,
    old: AHashMap<Box<str>, Owner>,
}

#[derive(Clone)]
struct Owner {
    project: ProjectId,
    /// Whether the record says so; else this node has seen it made, and somebody else may have been first.
    confirmed: bool,
}

impl Jobs {
    /// Over `record`, with at most `most` jobs in memory.
    pub fn new(record: Arc<dyn JobRecord>, most: usize) -> Self {
        Self { record, half: (most / 2).max(1), held: Mutex::default(), let_go: AtomicU64::new(0) }
    }

    /// An answer to a key of `project` has named `job`.
    pub fn made(&self, job: &str, project: &ProjectId) {
        let mut held = self.held.lock();
        if held.get(job).is_none() {
            self.put(&mut held, job, Owner { project: project.clone(), confirmed: false });
        }
    }

    /// The project that made `job`; `None` where nothing is known of it.
    ///
    /// # Errors
    /// [`RecordError`] where it is not known here and the record cannot be asked.
    pub async fn owner(&self, job: &str) -> Result<Option<ProjectId>, RecordError> {
        let here = {
            let mut held = self.held.lock();
            let here = held.get(job).cloned();
            if let Some(owner) = &here {
                // Used lately.
                self.put(&mut held, job, owner.clone());
            }
            here
        };
        if let Some(owner) = &here
            && owner.confirmed
        {
            return Ok(Some(owner.project.clone()));
        }
        match (bounded(self.record.job_owner(job)).await, here) {
            (Ok(Some(project)), _) => {
                let owner = Owner { project: project.clone(), confirmed: true };
                self.put(&mut self.held.lock(), job, owner);
                Ok(Some(project))
            }
            // On its way into the record, or the record is gone.
            (_, Some(owner)) => Ok(Some(owner.project)),
            (asked, None) => asked,
        }
    }

    /// Jobs let go for want of room, since the start.
    pub fn evicted(&self) -> u64 {
        self.let_go.load(Ordering::Relaxed)
    }

    fn put(&self, held: &mut Held, job: &str, owner: Owner) {
        if let Some(place) = held.young.get_mut(job) {
            *place = owner;
            return;
        }
        held.old.remove(job);
        if held.young.len() >= self.half {
            let gone = std::mem::replace(&mut held.old, std::mem::take(&mut held.young));
            self.let_go.fetch_add(gone.len() as u64, Ordering::Relaxed);
        }
        held.young.insert(job.into(), owner);
    }
}

impl Held {
    fn get(&self, job: &str) -> Option<&Owner> {
        self.young.get(job).or_else(|| self.old.get(job))
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("half", &self.half).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use async_trait::async_trait;

    use super::*;

    /// A record that holds what it is given, and can be out of reach.
    #[derive(Default)]
    struct Fake {
        jobs: Mutex<AHashMap<String, ProjectId>>,
        asked: AtomicU64,
        down: AtomicBool,
    }

    #[async_trait]
    impl JobRecord for Fake {
        async fn job_owner(&self, job: &str) -> Result<Option<ProjectId>, RecordError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.down.load(Ordering::Relaxed) {
                return Err(RecordError::Unavailable(sqlx::Error::PoolClosed));
            }
            Ok(self.jobs.lock().get(job).cloned())
        }
    }

    fn project(id: &str) -> ProjectId {
        ProjectId::parse(id).unwrap()
    }

    fn jobs(most: usize) -> (Arc<Fake>, Jobs) {
        let fake = Arc::new(Fake::default());
        (Arc::clone(&fake), Jobs::new(fake, most))
    }

    #[tokio::test]
    async fn what_was_made_here_is_known_at_once_and_asked_for_until_the_record_has_it() {
        let (record, jobs) = jobs(10);
        assert_eq!(jobs.owner("j").await.unwrap(), None);
        jobs.made("j", &project("a"));
        jobs.made("j", &project("b"));
        assert_eq!(jobs.owner("j").await.unwrap(), Some(project("a")), "the first has it");
        record.jobs.lock().insert("j".into(), project("a"));
        let before = record.asked.load(Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(jobs.owner("j").await.unwrap(), Some(project("a")));
        }
        assert_eq!(record.asked.load(Ordering::Relaxed) - before, 1, "then no more");
    }

    #[tokio::test]
    async fn the_record_decides_who_was_first() {
        let (record, jobs) = jobs(10);
        record.jobs.lock().insert("j".into(), project("a"));
        jobs.made("j", &project("b"));
        assert_eq!(jobs.owner("j").await.unwrap(), Some(project("a")));
        jobs.made("j", &project("b"));
        assert_eq!(jobs.owner("j").await.unwrap(), Some(project("a")));
    }

    #[tokio::test]
    async fn without_the_record_what_is_known_here_is_known() {
        let (record, jobs) = jobs(10);
        record.jobs.lock().insert("known".into(), project("a"));
        jobs.owner("known").await.unwrap();
        record.down.store(true, Ordering::Relaxed);
        jobs.made("made", &project("b"));
        assert_eq!(jobs.owner("known").await.unwrap(), Some(project("a")));
        assert_eq!(jobs.owner("made").await.unwrap(), Some(project("b")));
        assert!(jobs.owner("other").await.is_err());
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_held_and_those_asked_for_stay() {
        let (record, jobs) = jobs(100);
        jobs.made("asked for", &project("a"));
        for n in 0..1_000 {
            jobs.made(&format!("j{n}"), &project("b"));
            if n % 20 == 0 {
                jobs.owner("asked for").await.unwrap();
            }
            let held = jobs.held.lock();
            assert!(held.young.len() + held.old.len() <= 100);
        }
        assert_eq!(jobs.owner("asked for").await.unwrap(), Some(project("a")));
        assert!(jobs.evicted() >= 850, "{}", jobs.evicted());
        record.jobs.lock().insert("j0".into(), project("b"));
        assert_eq!(jobs.owner("j0").await.unwrap(), Some(project("b")), "it is asked of the record again");
    }
}
