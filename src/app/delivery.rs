//! The request log's way out of this process: shipped to the record, exported from there, and pruned in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock;
use crate::logs::{Exporter, Reached, Shipper, retention};
use crate::proxy::core::Shared;
use crate::stores::record::SharedRecord;

use super::arrears::Arrears;
use super::upkeep::told;

/// How long the log of this run may take to get into the record before the process ends all the same; what is
/// left is shipped at the next start.
const SHIP_AT_EXIT: Duration = Duration::from_millis(500);
/// The same for what is exported of it.
const EXPORT_AT_EXIT: Duration = Duration::from_millis(300);

/// The way, on the second runtime. It opens when nothing is owed to the record any more.
pub struct Delivery(JoinHandle<Option<Tasks>>);

/// The tasks of the way.
struct Tasks {
    shipper: JoinHandle<()>,
    /// Ends when its sender is dropped: after the shipper, so that it exports the last of it.
    exporter: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Delivery {
    /// Delivers until `stopping` says so; `exporter` where the record was there from the start, and otherwise what
    /// settling the arrears leads to.
    pub fn start(
        runtime: &Handle,
        shared: &Arc<Shared>,
        arrears: Arrears,
        exporter: Option<Exporter>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (shared, record) = (Arc::clone(shared), arrears.stores.record.clone());
        if !arrears.stores.is_away {
            let tasks = Tasks::start(runtime, &shared, &record, exporter, &stopping);
            return Self(runtime.spawn(std::future::ready(Some(tasks))));
        }
        let on = runtime.clone();
        Self(runtime.spawn(async move {
            let settled = tokio::select! {
                () = told(&stopping) => None,
                exporter = arrears.settle() => Some(exporter),
            };
            settled.map(|exporter| Tasks::start(&on, &shared, &record, exporter, &stopping))
        }))
    }

    /// Waits until what is there is delivered, for less than a second. Tell the tasks to stop before.
    pub async fn end(self) {
        match self.0.await {
            Ok(Some(tasks)) => tasks.end().await,
            Ok(None) => tracing::warn!("the record was never reached: the log is shipped at the next start"),
            Err(_) => tracing::error!("shipping the log panicked; the rest is shipped at the next start"),
        }
    }
}

impl Tasks {
    fn start(
        runtime: &Handle,
        shared: &Arc<Shared>,
        record: &SharedRecord,
        exporter: Option<Exporter>,
        stopping: &watch::Receiver<bool>,
    ) -> Self {
        let exported = exporter.as_ref().map(Exporter::reached);
        runtime.spawn(retain(Arc::clone(shared), record.clone(), exported, told(stopping)));
        let shipper = Shipper::new(Arc::clone(&shared.spool), record.clone());
        let shipper = runtime.spawn(ship(shipper.telling(Arc::clone(&shared.gate.counters)), told(stopping)));
        let exporter = exporter.map(|exporter| {
            let (stop, stopped) = oneshot::channel();
            (stop, runtime.spawn(export(exporter, stopped)))
        });
        Self { shipper, exporter }
    }

    async fn end(self) {
        if self.shipper.await.is_err() {
            tracing::error!("shipping the log panicked; the rest is shipped at the next start");
        }
        if let Some((stop, exporter)) = self.exporter {
            drop(stop);
            if timeout(EXPORT_AT_EXIT, exporter).await.is_err() {
                tracing::warn!("the rest of the log is exported at the next start");
            }
        }
    }
}

async fn ship(mut shipper: Shipper, stop: impl Future<Output = ()>) {
    shipper.run(stop).await;
    if let Err(undrained) = shipper.drain(SHIP_AT_EXIT).await {
        tracing::warn!(%undrained, "the rest of the log is shipped at the next start");
    }
}

async fn export(mut exporter: Exporter, stopped: oneshot::Receiver<()>) {
    exporter
        .run(async {
            // Nothing is ever sent: that the sender is gone is the news.
            let _ = stopped.await;
        })
        .await;
}

/// Drops what is older than it is kept; `logs.retention` is read anew each time.
async fn retain(
    shared: Arc<Shared>,
    record: SharedRecord,
    exported: Option<Reached>,
    stop: impl Future<Output = ()>,
) {
    let keep = || {
        let retention = shared.live.load().config.logs.retention;
        retention::keep_at(clock::now(), retention, exported.as_ref().map(Reached::at))
    };
    retention::run(record, keep, stop).await;
}
