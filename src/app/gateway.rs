//! The composition root: builds every part from a checked configuration, binds, and runs until told to stop.
//! Commands and tests come in by the same door.
//!
//! The order of starting is a promise: nothing is served before the log of an earlier run is in the record,
//! limits are rebuilt from it, and the number of the last change has been read. The order of stopping is one
//! too: readiness falls, connections in the listeners' queues are still taken, requests in flight finish, the
//! log is shipped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::api::control;
use crate::clock;
use crate::config::{Config, RecordUrl};
use crate::logs::{self, Spool};
use crate::metrics::Metrics;
use crate::pipeline::admit::Gate;
use crate::pipeline::guard::Guard;
use crate::proxy::core::{Live, Shared};
use crate::proxy::tls::Acceptor;
use crate::proxy::upstream::balance::Balancers;
use crate::proxy::{server, thread};
use crate::stores::counters::Counters;
use crate::stores::counters::memory::{HISTORY, MemoryCounters, RECENT};
use crate::stores::keyring::{Keyring, follow};
use crate::stores::record::SharedRecord;
use crate::stores::record::sqlite::SqliteRecord;

use super::listen;
use super::status::GatewayStatus;

/// Threads of the second runtime: the control plane, the record, shipping, probing.
const BACKGROUND_THREADS: usize = 2;

/// How long the log of this run may take to get into the record before the process ends all the same; what is
/// left is shipped at the next start.
const SHIP_AT_EXIT: Duration = Duration::from_millis(500);

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub data_addr: SocketAddr,
    /// Where operators connect.
    pub control_addr: SocketAddr,
    /// The record, for callers that also manage it.
    pub record: SharedRecord,
    background: Runtime,
    shared: Arc<Shared>,
    status: Arc<GatewayStatus>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Told to the I/O threads: take no more, finish what is there.
    drain: watch::Sender<bool>,
    /// Told to the tasks of the second runtime.
    stop: watch::Sender<bool>,
    shipper: tokio::task::JoinHandle<()>,
}
