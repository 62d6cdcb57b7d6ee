//! Asking targets whether they are well, through pingora's health checks.
//!
//! One task per upstream probes all its targets at one time, every so often; it ends when its [`Probing`] is
//! dropped. pingora counts successes and failures in a row; a probe as a whole is held to the configured time,
//! by the runtime's timer, as pingora's own starts a thread of its own for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::{Error, ErrorType, Result};
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora_load_balancing::{Backend, Backends};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::Health;

use super::balance::{Target, backend};

/// A task that probes; dropping it ends the task.
#[derive(Debug)]
pub struct Probing(JoinHandle<()>);

impl Probing {
    /// Begins to probe `targets`, at once and then by the interval in `health`.
    pub async fn start(upstream: &str, health: &Health, targets: &[Arc<Target>]) -> Self {
        let probed: BTreeSet<Backend> = targets
            .iter()
            .map(|target| {
                let mut backend = backend(target.address(), 1);
                backend.ext.insert(Arc::new(Probe::of(Arc::clone(target), health.path.as_deref())));
                backend
            })
            .collect();
        let mut backends = Backends::new(Static::new(probed));
        backends.set_health_check(Box::new(Probes {
            upstream: upstream.to_owned(),
            timeout: health.timeout,
            rise: health.rise,
            fall: health.fall,
        }));
        // A fixed list is always found.
        let _ = backends.update(|_| {}).await;
        Self(tokio::spawn(run(backends, health.every)))
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(backends: Backends, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        backends.run_health_check(true).await;
    }
}

/// How one target is probed.
struct Probe {
    target: Arc<Target>,
    check: Box<dyn HealthCheck + Send + Sync>,
}

impl Probe {
    fn of(target: Arc<Target>, path: Option<&str>) -> Self {
        let check = path.map_or_else(connect, |path| get(&target, path));
        Self { target, check }
    }
}

fn connect() -> Box<dyn HealthCheck + Send + Sync> {
    let mut check = TcpHealthCheck::new();
    check.peer_template.options.connection_timeout = None;
    check
}

fn get(target: &Target, path: &str) -> Box<dyn HealthCheck + Send + Sync> {
    let mut check = HttpHealthCheck::new(target.text(), false);
    check.peer_template.options.connection_timeout = None;
    check.peer_template.options.read_timeout = None;
    // A path that is none was refused with the configuration.
    check.req.set_uri(path.parse().unwrap_or_default());
    let _ = check.req.insert_header("user-agent", "tollgate-probe");
    let _ = check.req.insert_header("connection", "close");
    check.validator = Some(Box::new(|answer| {
        if answer.status.is_success() {
            return Ok(());
        }
        Error::e_explain(ErrorType::HTTPStatus(answer.status.as_u16()), "the probe was not answered by a 2xx")
    }));
    Box::new(check)
}

/// The check of one upstream: each target's own, within the time given.
struct Probes {
    upstream: String,
    timeout: Duration,
    rise: usize,
    fall: usize,
}

#[async_trait]
impl HealthCheck for Probes {
    async fn check(&self, backend: &Backend) -> Result<()> {
        let Some(probe) = backend.ext.get::<Arc<Probe>>() else {
            return Error::e_explain(ErrorType::InternalError, "a target without a probe");
        };
        match tokio::time::timeout(self.timeout, probe.check.check(backend)).await {
            Ok(outcome) => outcome,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the probe took too long"),
        }
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let Some(probe) = backend.ext.get::<Arc<Probe>>() else { return };
        probe.target.set_healthy(healthy);
        let target = probe.target.text();
        if healthy {
            tracing::info!(upstream = self.upstream, target, "target is healthy again");
        } else {
            tracing::warn!(upstream = self.upstream, target, "target is unhealthy: it gets no requests");
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success { self.rise } else { self.fall }
    }
}
