//! The request log's way out of this process: shipped to the record, exported from there, and pruned in the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock;
use crate::logs::{Exporter, Reached, Shipper, retention};
use crate::proxy::core::Shared;
use crate::stores::record::SharedRecord;

/// How long the log of this run may take to get into the record before the process ends all the same; what is
/// left is shipped at the next start.
const SHIP_AT_EXIT: Duration = Duration::from_millis(500);
/// The same for what is exported of it.
const EXPORT_AT_EXIT: Duration = Duration::from_millis(300);

/// The tasks of the way, on the second runtime.
pub struct Delivery {
    shipper: JoinHandle<()>,
    /// Ends when its sender is dropped: after the shipper, so that it exports the last of it.
    exporter: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Delivery {
    /// Delivers until `stop` says so; `stop` makes a future for each task that resolves when it must.
    pub fn start<S: Future<Output = ()> + Send + 'static>(
        runtime: &Handle,
        shared: &Arc<Shared>,
        record: &SharedRecord,
        exporter: Option<Exporter>,
        stop: impl Fn() -> S,
    ) -> Self {
        let exported = exporter.as_ref().map(Exporter::reached);
        runtime.spawn(retain(Arc::clone(shared), record.clone(), exported, stop()));
        let shipper = Shipper::new(Arc::clone(&shared.spool), record.clone());
        let shipper = runtime.spawn(ship(shipper.telling(Arc::clone(&shared.gate.counters)), stop()));
        let exporter = exporter.map(|exporter| {
            let (stop, stopped) = oneshot::channel();
            (stop, runtime.spawn(export(exporter, stopped)))
        });
        Self { shipper, exporter }
    }

    /// Waits until what is there is delivered, for less than a second. Tell the tasks to stop before.
    pub async fn end(self) {
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
