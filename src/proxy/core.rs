//! What one I/O thread works with, and what all of them share.
//!
//! **Invariant:** a [`Core`] never leaves its thread. Whatever crosses threads is in [`Shared`], and none of
//! it makes a request wait for another thread.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use ahash::AHashMap;
use arc_swap::ArcSwap;
use prometheus::IntCounter;

use crate::api::data::Local;
use crate::config::Config;
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;
use crate::logs::{Spool, SpoolWriter};
use crate::metrics::Metrics;
use crate::pipeline::admit::Gate;

use super::deadline::Deadlines;
use super::ids::RequestIds;
use super::upstream::balance::Balancers;
use super::upstream::pool::Pool;

/// What a reload replaces, in one step.
#[derive(Debug)]
pub struct Live {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Its upstreams' targets.
    pub balancers: Arc<Balancers>,
    /// Rises with each reload.
    pub generation: u64,
}

/// What every thread shares.
#[derive(Debug)]
pub struct Shared {
    /// Admission.
    pub gate: Arc<Gate>,
    /// What is answered here and not by an upstream.
    pub local: Local,
    /// The configuration in force.
    pub live: ArcSwap<Live>,
    /// What operators watch.
    pub metrics: Arc<Metrics>,
    /// The request log.
    pub spool: Arc<Spool>,
    /// Whether it is kept: false only where its cost is measured (`benches/log.rs`).
    pub logs: bool,
    /// Open client connections.
    pub connections: AtomicUsize,
    /// When a request was last refused because the log had no room, in microseconds of Unix time; 0 is never.
    pub log_full_at: AtomicU64,
}

/// One thread's own.
#[derive(Debug)]
pub struct Core {
    /// What every thread shares.
    pub shared: Arc<Shared>,
    /// Connections to upstreams.
    pub pool: Pool,
    /// Coarse timeouts.
    pub deadlines: Deadlines,
    log: Option<RefCell<SpoolWriter>>,
    ids: RefCell<RequestIds>,
    tally: RefCell<AHashMap<(usize, usize, u16), IntCounter>>,
    tally_generation: Cell<u64>,
}

impl Core {
    /// A thread's own, over `shared`.
    ///
    /// # Errors
    /// Where the spool's directory or the operating system's randomness cannot be used.
    pub fn new(
        shared: Arc<Shared>,
        thread: usize,
        pool: Pool,
        deadlines: Deadlines,
    ) -> std::io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            log: shared.logs.then(|| shared.spool.writer(thread)).transpose()?.map(RefCell::new),
            ids: RefCell::new(RequestIds::new().map_err(std::io::Error::other)?),
            tally: RefCell::default(),
            tally_generation: Cell::new(0),
            shared,
            pool,
            deadlines,
        }))
    }

    /// The id of a request that came at `now`.
    pub fn next_id(&self, now: Timestamp) -> RequestId {
        self.ids.borrow_mut().next(now)
    }

    /// This thread's writer of the request log; none where no log is kept, see [`Shared::logs`].
    pub fn log(&self) -> Option<RefMut<'_, SpoolWriter>> {
        self.log.as_ref().map(RefCell::borrow_mut)
    }

    /// Counts one answer. The counter behind the three labels is looked up once per thread and reload.
    pub fn count(&self, live: &Live, route: Option<usize>, plan: Option<&str>, status: u16) {
        let config = &live.config;
        let mut tally = self.tally.borrow_mut();
        if self.tally_generation.replace(live.generation) != live.generation {
            tally.clear();
        }
        let plan = plan.and_then(|name| config.plans.iter().position(|plan| plan.name == name));
        let key = (route.unwrap_or(usize::MAX), plan.unwrap_or(usize::MAX), status);
        tally
            .entry(key)
            .or_insert_with(|| {
                let route =
                    route.and_then(|at| config.routes.get(at)).map_or("none", |route| route.path.as_str());
                let plan = plan.and_then(|at| config.plans.get(at)).map_or("none", |plan| plan.name.as_str());
                self.shared.metrics.requests.with_label_values(&[route, plan, &status.to_string()])
            })
            .inc();
    }
}
