//! What `/readyz` and `/metrics` ask of the running gateway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use prometheus::IntCounter;

use crate::admin::Admin;
use crate::api::control::Status;
use crate::clock;
use crate::config::{Auth, Config};
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;
use crate::proxy::core::Shared;
use crate::proxy::upstream::balance::Target;

use super::beside::Beside;
use super::grants::Grants;

/// How long after a refusal for want of room in the log the gateway says that it is not ready: with no traffic
/// nobody would notice that there is room again.
const FULL_FOR: Duration = Duration::from_secs(5);

/// Readiness, and the metrics that are read from the parts when they are asked for.
pub struct GatewayStatus {
    grants: Grants,
    admin: Admin,
    /// The gateway answers `/health` by this, so this must not keep the gateway.
    shared: OnceLock<Weak<Shared>>,
    draining: AtomicBool,
    /// Other gateways, where they make limits larger than they are.
    pub beside: Beside,
}

impl GatewayStatus {
    /// Of a gateway that learns of keys from `grants`, in which people may do what `admin` does.
    pub fn new(grants: Grants, admin: Admin) -> Self {
        Self {
            grants,
            admin,
            shared: OnceLock::new(),
            draining: AtomicBool::new(false),
            beside: Beside::default(),
        }
    }

    /// From now on it is the status of this gateway.
    pub fn watch(&self, shared: &Arc<Shared>) {
        // Nobody tells it twice.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.get()?.upgrade()
    }

    /// From now on the gateway says that it wants no more requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

impl Status for GatewayStatus {
    fn refresh(&self) {
        let Some(shared) = self.shared() else { return };
        let metrics = &shared.metrics;
        let counts = shared.spool.counts();
        for (state, rows) in
            [("written", counts.left()), ("shipped", counts.shipped), ("lost", counts.lost())]
        {
            bring(&metrics.log_rows.with_label_values(&[state]), rows);
        }
        metrics.log_lag_seconds.set(shared.spool.lag().as_secs_f64());

        let keyring = &shared.gate.keyring;
        let lookups = keyring.lookups();
        for (tier, answered) in [("l1", lookups.l1), ("absent", lookups.absent), ("record", lookups.record)] {
            bring(&metrics.key_lookups.with_label_values(&[tier]), answered);
        }
        if let Some(index) = &self.grants.index {
            for (tier, count) in [("l2", index.answered()), ("l2_discarded", index.discarded())] {
                bring(&metrics.key_lookups.with_label_values(&[tier]), count);
            }
        }
        if let Some(journal) = &self.grants.remembered {
            for (tier, count) in [("journal", journal.lent()), ("journal_discarded", journal.discarded())] {
                bring(&metrics.key_lookups.with_label_values(&[tier]), count);
            }
            bring(&metrics.overflows.with_label_values(&["keys_journal"]), journal.overflown());
        }
        bring(&metrics.overflows.with_label_values(&["keyring"]), keyring.evicted());
        bring(&metrics.overflows.with_label_values(&["ip_guard"]), shared.gate.guard.evicted());
        bring(&metrics.overflows.with_label_values(&["ip_guard_told"]), shared.gate.guard.untold());
        bring(&metrics.overflows.with_label_values(&["jobs"]), shared.gate.jobs.evicted());
        bring(&metrics.overflows.with_label_values(&["log_spool"]), counts.dropped);
        for (bound, times) in self.admin.overflows() {
            bring(&metrics.overflows.with_label_values(&[bound]), times);
        }
        bring(&metrics.ledger_round_trips, shared.gate.counters.round_trips());
        if let Some((name, is_up)) = shared.gate.counters.dependency() {
            metrics.dependency_up.with_label_values(&[name]).set(is_up.into());
        }
        metrics.dependency_up.with_label_values(&["record"]).set(keyring.following().is_up().into());

        let live = shared.live.load();
        for (upstream, targets) in live.balancers.targets() {
            for target in targets {
                metrics
                    .upstream_healthy
                    .with_label_values(&[upstream, target.text()])
                    .set(target.is_healthy().into());
            }
        }
    }

    fn warnings(&self) -> Vec<(&'static str, String)> {
        self.beside.warning().map(|warning| ("counters", warning)).into_iter().collect()
    }

    fn unready(&self) -> Vec<(&'static str, String)> {
        let mut failing = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            failing.push(("gateway", "stopping".to_owned()));
        }
        let Some(shared) = self.shared() else {
            failing.push(("gateway", "not running".to_owned()));
            return failing;
        };
        // A record that is lost later does not keep known keys from being served, nor one that is away from the start
        // where keys are known without it.
        if shared.gate.keyring.following().read_at().is_none() && !self.grants.lends() {
            failing.push((
                "record",
                "has not been asked for changes yet, and no key is known without it".to_owned(),
            ));
        }
        if !shared.gate.counters.is_restored() {
            failing.push(("counters", "limits are not restored from the record yet".to_owned()));
        }
        if shared.gate.counters.refuses_all() {
            failing.push(("counters", "out of reach, and counters.on_outage is `closed`".to_owned()));
        }
        let full_at = Timestamp::from_micros(shared.log_full_at.load(Ordering::Relaxed));
        if clock::now().since(full_at) < FULL_FOR {
            failing.push(("logs", "the spool is full, and logs.when_full is `refuse`".to_owned()));
        }
        let live = shared.live.load();
        let serves = |targets: &[Arc<Target>]| targets.iter().any(|target| target.is_healthy());
        if !live.balancers.targets().any(|(_, targets)| serves(targets)) {
            failing.push(("upstreams", "no target of any upstream is healthy".to_owned()));
        }
        failing
    }
}

/// Shows at zero every answer that `config` lets callers hope for.
pub fn expect_answers(metrics: &Metrics, config: &Config) {
    let answers = config.routes.iter().flat_map(|route| {
        let (callers, nobody) = match route.auth {
            Auth::Key => (config.plans.as_slice(), None),
            Auth::None => (&[][..], Some("none")),
        };
        let plans = callers.iter().map(|plan| plan.name.as_str()).chain(nobody);
        plans.map(|plan| [route.path.as_str(), plan, "200"])
    });
    metrics.expect(answers);
}

/// Moves a counter on to a count that is kept elsewhere.
fn bring(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
