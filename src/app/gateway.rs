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

use crate::api::control::{self, Control};
use crate::api::data::Local;
use crate::api::own_usage;
use crate::api::system::System;
use crate::clock;
use crate::config::{Config, changes};
use crate::logs::{self, Shipper, Spool, retention};
use crate::metrics::Metrics;
use crate::pipeline::admit::Gate;
use crate::pipeline::guard::Guard;
use crate::proxy::core::{Live, Shared};
use crate::proxy::server::Drain;
use crate::proxy::thread;
use crate::proxy::tls::Acceptor;
use crate::proxy::upstream::balance::Balancers;
use crate::stores::counters::Counters;
use crate::stores::counters::memory::{HISTORY, MemoryCounters, RECENT};
use crate::stores::keyring::{Keyring, follow};
use crate::stores::record::{SharedRecord, open};

use super::listen;
use super::signals::{Asked, Signals};
use super::status::GatewayStatus;

/// Threads of the second runtime: the control plane, the record, shipping, probing.
const BACKGROUND_THREADS: usize = 2;

/// How long the log of this run may take to get into the record before the process ends all the same; what is
/// left is shipped at the next start.
const SHIP_AT_EXIT: Duration = Duration::from_millis(500);

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Counts that have gone idle are looked for once an hour.
const LOOKS_PER_SWEEP: u64 = 360;

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
    tls: Option<Arc<Acceptor>>,
    status: Arc<GatewayStatus>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Told to the I/O threads: take no more, finish what is there.
    drain: watch::Sender<Drain>,
    /// Told to the tasks of the second runtime.
    stop: watch::Sender<bool>,
    shipper: tokio::task::JoinHandle<()>,
}

/// Makes a [`Config`] anew for a reload, or says what is wrong with it.
pub type Reread<'a> = &'a dyn Fn() -> Result<Config, String>;

impl Gateway {
    /// Builds and starts everything; returns when both listeners are open and the gateway is ready.
    ///
    /// # Errors
    /// Whatever keeps it from serving, naming the setting to look at. Nothing is left running.
    pub fn start(config: Config) -> Result<Self> {
        let background = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(BACKGROUND_THREADS)
            .thread_name("tollgate-background")
            .enable_all()
            .build()
            .context("cannot start the background threads")?;
        let record = background.block_on(open_record(&config))?;
        let metrics = Arc::new(Metrics::new().context("cannot set up metrics")?);
        let spool = Spool::open(&config.logs).with_context(|| {
            format!("cannot use the log spool in {} (logs.dir)", config.logs.dir.display())
        })?;
        let counters = background.block_on(restore(&config, &spool, &record))?;
        let balancers = background.block_on(Balancers::start(&config.upstreams, None))?;
        let tls = config.data.tls.as_ref().map(Acceptor::load).transpose()?.map(Arc::new);
        let (data_addr, listeners) = listen::data(config.data.listen, config.data.threads)?;
        let control = listen::control(config.control.listen)?;
        let control_addr = control.local_addr()?;

        let keyring = Arc::new(Keyring::new(record.clone(), &config.keys));
        let guard = Guard::new(&config.ip_guard);
        let gate = Arc::new(Gate { keyring, counters: Arc::new(counters), guard });
        let shared = Arc::new(Shared {
            local: Local::new(
                data_systems(&gate, &record),
                background.handle().clone(),
                config.data.own_requests_max,
            ),
            gate: Arc::clone(&gate),
            live: ArcSwap::from_pointee(Live {
                config: Arc::new(config),
                balancers: Arc::new(balancers),
                generation: 1,
            }),
            metrics: Arc::clone(&metrics),
            spool: Arc::clone(&spool),
            connections: 0.into(),
            log_full_at: 0.into(),
        });
        let status = Arc::new(GatewayStatus::new(Arc::clone(&shared)));
        let (drain, draining) = watch::channel(Drain::No);
        let (stop, stopping) = watch::channel(false);

        background.spawn(follow_changes(Arc::clone(&shared), record.clone(), told(&stopping)));
        background.spawn(housekeeping(Arc::clone(&shared), told(&stopping)));
        background.spawn(retain(Arc::clone(&shared), record.clone(), told(&stopping)));
        let shipper = background.spawn(ship(Shipper::new(spool, record.clone()), told(&stopping)));
        let live = Arc::clone(&shared);
        let answering = Control {
            metrics,
            status: Arc::clone(&status) as _,
            config: Arc::new(move || Arc::clone(&live.live.load().config)),
            systems: control_systems(&gate, &record).into(),
            gate,
        };
        background.spawn(serve_control(control, control::router(answering), told(&stopping)));
        let threads = listeners
            .into_iter()
            .enumerate()
            .map(|(number, listener)| {
                let (shared, tls, draining) = (Arc::clone(&shared), tls.clone(), draining.clone());
                std::thread::Builder::new()
                    .name(format!("tollgate-io-{number}"))
                    .spawn(move || Ok(thread::run(shared, number, listener, tls, draining)?))
                    .context("cannot start an I/O thread")
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            data_addr,
            control_addr,
            record,
            background,
            shared,
            tls,
            status,
            threads,
            drain,
            stop,
            shipper,
        })
    }

    /// The second runtime, for what runs beside the gateway.
    pub fn background(&self) -> &tokio::runtime::Handle {
        self.background.handle()
    }

    /// Listens to signals from now on: call it before anyone is told that the gateway is ready, as what is not
    /// listened to ends the process on the spot.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn signals(&self) -> Result<Signals> {
        let _runtime = self.background.enter();
        Signals::listen()
    }

    /// Runs until SIGTERM or SIGINT; SIGHUP puts in force what `reread` makes, if it is valid. A second
    /// SIGTERM or SIGINT does not wait for what is in flight.
    ///
    /// # Errors
    /// Where an I/O thread had failed.
    pub fn run_until_told(self, mut signals: Signals, reread: Reread<'_>) -> Result<()> {
        let background = self.background.handle().clone();
        while background.block_on(signals.next()) == Asked::Reload {
            match reread() {
                Ok(config) => background.block_on(self.reload(config)),
                Err(problems) => {
                    tracing::error!(%problems, "the configuration was not reloaded; nothing has changed");
                }
            }
        }
        tracing::info!("stopping: requests in flight may finish");
        let drain = self.drain.clone();
        background.spawn(async move {
            while signals.next().await != Asked::Stop {}
            tracing::warn!("told twice: ending without waiting for what is in flight");
            drain.send_replace(Drain::Now);
        });
        self.stop()
    }

    /// Puts `config` in force in one step, where it can be.
    async fn reload(&self, config: Config) {
        let live = self.shared.live.load_full();
        for setting in changes::diff_needs_restart(&live.config, &config) {
            tracing::warn!(setting, "changed, but takes effect at the next start only");
        }
        let balancers = match Balancers::start(&config.upstreams, Some(&live.balancers)).await {
            Ok(balancers) => Arc::new(balancers),
            Err(error) => {
                return tracing::error!(%error, "the configuration was not reloaded; nothing has changed");
            }
        };
        if let (Some(acceptor), Some(files)) = (&self.tls, &config.data.tls)
            && let Err(error) = acceptor.reload(files)
        {
            return tracing::error!(%error, "the configuration was not reloaded; nothing has changed");
        }
        self.shared.gate.guard.reconfigure(&config.ip_guard);
        let generation = live.generation + 1;
        self.shared.live.store(Arc::new(Live { config: Arc::new(config), balancers, generation }));
        tracing::info!("the configuration was reloaded");
    }

    /// Drains and stops; returns when the last request has finished and the log is shipped.
    ///
    /// # Errors
    /// Where an I/O thread had failed.
    pub fn stop(self) -> Result<()> {
        self.status.drain();
        self.drain
            .send_if_modified(|drain| std::mem::replace(drain, (*drain).max(Drain::Gracefully)) == Drain::No);
        let mut ended = Ok(());
        for thread in self.threads {
            ended =
                ended.and(thread.join().map_err(|_| anyhow!("an I/O thread panicked")).and_then(|ran| ran));
        }
        self.stop.send_replace(true);
        if self.background.block_on(self.shipper).is_err() {
            tracing::error!("shipping the log panicked; the rest is shipped at the next start");
        }
        self.background.shutdown_timeout(SHIP_AT_EXIT);
        ended
    }
}

/// What clients are answered by the gateway itself: the first system that owns a path has it, and routes come
/// after all of them.
fn data_systems(gate: &Arc<Gate>, record: &SharedRecord) -> Vec<System> {
    vec![own_usage::system(Arc::clone(gate), record.clone())]
}

/// What the operators' listener answers beside metrics and health.
fn control_systems(gate: &Arc<Gate>, record: &SharedRecord) -> Vec<System> {
    vec![own_usage::system(Arc::clone(gate), record.clone())]
}

async fn open_record(config: &Config) -> Result<SharedRecord> {
    let opened = open::open(&config.record)
        .await
        .with_context(|| format!("cannot use the record {} (record.url)", open::place(&config.record.url)))?;
    Ok(opened.shared())
}

/// Moves what an earlier process left in the spool to the record, and rebuilds the limits from it.
async fn restore(config: &Config, spool: &Spool, record: &SharedRecord) -> Result<Counters> {
    let recovered =
        logs::recover(spool, &**record).await.context("cannot recover the log of an earlier run")?;
    if recovered.segments > 0 {
        tracing::info!(?recovered, "recovered the log of an earlier run");
    }
    let now = clock::now();
    let counters = MemoryCounters::new(config.counters.keys_max);
    let (usage, totals) = record.usage_since(now.minus(HISTORY)).await?;
    let recent = record.admitted_since(now.minus(RECENT)).await?;
    counters.restore(&usage, &totals, &recent, now);
    Ok(Counters::Memory(counters))
}

/// Resolves when `stopping` turns true, or its sender is gone.
fn told(stopping: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopping = stopping.clone();
    async move {
        // An error means that the sender is gone, which means the same.
        let _ = stopping.wait_for(|stop| *stop).await;
    }
}

async fn ship(mut shipper: Shipper, stop: impl Future<Output = ()>) {
    shipper.run(stop).await;
    if let Err(undrained) = shipper.drain(SHIP_AT_EXIT).await {
        tracing::warn!(%undrained, "the rest of the log is shipped at the next start");
    }
}

/// Drops what is older than it is kept; `logs.retention` is read anew each time.
async fn retain(shared: Arc<Shared>, record: SharedRecord, stop: impl Future<Output = ()>) {
    let keep = || retention::keep_at(clock::now(), shared.live.load().config.logs.retention);
    retention::run(record, keep, stop).await;
}

/// Keeps the keyring up with what other processes change, and the metric up with how long that takes.
async fn follow_changes(shared: Arc<Shared>, record: SharedRecord, stop: impl Future<Output = ()>) {
    let every = shared.live.load().config.keys.follow_every;
    let noticed = |lag: Duration| shared.metrics.revocation_lag_seconds.observe(lag.as_secs_f64());
    follow::follow(Arc::clone(&shared.gate.keyring), record, every, noticed, stop).await;
}

/// What is looked after now and then: a stepped clock, counts that have gone idle.
async fn housekeeping(shared: Arc<Shared>, stop: impl Future<Output = ()>) {
    let look = async {
        let mut looks = 0_u64;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(micros) = clock::resync() {
                tracing::warn!(micros, "the clock was stepped; windows move with it");
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_SWEEP) {
                let Counters::Memory(memory) = &shared.gate.counters.as_ref();
                memory.sweep(clock::now());
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = look => {}
    }
}

async fn serve_control(
    listener: std::net::TcpListener,
    router: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let served = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).with_graceful_shutdown(stop).await
    };
    if let Err(error) = served.await {
        tracing::error!(%error, "the control listener failed");
    }
}
