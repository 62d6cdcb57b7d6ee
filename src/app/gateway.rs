//! The composition root: builds every part from a checked configuration, binds, and runs until told to stop.
//! Commands and tests come in by the same door.
//!
//! The order of starting is a promise: nothing is served before the log of an earlier run is in the record,
//! limits are rebuilt from it, and the number of the last change has been read. Where the record is away, these are
//! [owed](super::arrears) to it, and what is served meanwhile is as in any outage of it. The order of stopping is one
//! too: readiness falls, new connections are taken until load balancers can have seen that (`data.drain_delay`),
//! requests in flight finish, the log is shipped.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::admin::{Admin, Settings};
use crate::api::control::{self, Control, Limits};
use crate::api::data::Local;
use crate::api::desk::Desk;
use crate::api::native::Native;
use crate::api::system::System;
use crate::config::{Config, changes};
use crate::logs::{Exporter, Spool};
use crate::metrics::Metrics;
use crate::pipeline::admit::Gate;
use crate::pipeline::guard::Guard;
use crate::proxy::core::{Live, Shared};
use crate::proxy::server::{self, Drain};
use crate::proxy::thread;
use crate::proxy::tls::Acceptor;
use crate::proxy::upstream::balance::Balancers;
use crate::stores::counters::Counters;
use crate::stores::jobs::Jobs;
use crate::stores::keyring::Keyring;
use crate::stores::record::SharedRecord;

use super::arrears::Arrears;
use super::delivery::Delivery;
use super::grants::Grants;
use super::people::administration;
use super::signals::{Asked, Signals};
use super::status::{GatewayStatus, expect_answers};
use super::stores::Stores;
use super::systems::Systems;
use super::upkeep;
use super::{control as listener, listen};

/// Threads of the second runtime: the control plane, the record, shipping, probing.
const BACKGROUND_THREADS: usize = 2;

/// How long Redis may take to be told of what this gateway has leased and not used, and that it is gone.
const LEASES_AT_EXIT: Duration = Duration::from_millis(500);
/// How long blocking work of the second runtime may take before the process ends all the same.
const BLOCKING_AT_EXIT: Duration = Duration::from_millis(500);

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub data_addr: SocketAddr,
    /// Where operators connect.
    pub control_addr: SocketAddr,
    /// Whether the record was away when it started: `/readyz` says whether it can serve without.
    pub is_without_record: bool,
    /// The record, for callers that also manage it.
    pub record: SharedRecord,
    /// What people may do, for callers that do it beside the gateway.
    pub admin: Admin,
    background: Runtime,
    shared: Arc<Shared>,
    tls: Option<Arc<Acceptor>>,
    status: Arc<GatewayStatus>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Told to the I/O threads: take no more, finish what is there.
    drain: watch::Sender<Drain>,
    /// Told to the tasks of the second runtime.
    stop: watch::Sender<bool>,
    delivery: Option<Delivery>,
}

/// Makes a [`Config`] anew for a reload, or says what is wrong with it.
pub type Reread<'a> = &'a dyn Fn() -> Result<Config, String>;

impl Gateway {
    /// Builds and starts everything; returns when both listeners are open and the gateway is ready,
    /// or as ready as it can be without its record.
    ///
    /// # Errors
    /// Whatever keeps it from serving, naming the setting to look at. Nothing is left running.
    pub fn start(config: Config) -> Result<Self> {
        Self::start_with(config, true)
    }

    /// The same without a request log: nothing is written down and nothing shipped. What the log costs is measured
    /// against this (`benches/log.rs`); no command and no setting leads here, as the log is a promise.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_without_log(config: Config) -> Result<Self> {
        Self::start_with(config, false)
    }

    fn start_with(config: Config, logs: bool) -> Result<Self> {
        let background = background_runtime()?;
        let stores = background.block_on(Stores::open(&config))?;
        let (record, is_without_record) = (stores.record.clone(), stores.is_away);
        let metrics = Arc::new(Metrics::new().context("cannot set up metrics")?);
        let spool = Spool::open(&config.logs).with_context(|| {
            format!("cannot use the log spool in {} (logs.dir)", config.logs.dir.display())
        })?;
        let grants = Grants::new(&config, &record, background.handle())?;
        let counters = background.block_on(stores.counters(&config, &spool, grants.nodes_before()))?;
        let exporter = background.block_on(exporter(&config, &stores, &metrics))?;
        let balancers = background.block_on(Balancers::start(&config.upstreams, None))?;
        let tls = config.data.tls.as_ref().map(Acceptor::load).transpose()?.map(Arc::new);
        let (data_addr, listeners) = listen::data(config.data.listen, config.data.threads)?;
        let control = listen::control(config.control.listen)?;
        let control_addr = control.local_addr()?;

        let keyring = Arc::new(Keyring::new(Arc::clone(&grants.record), &config.keys));
        let admin = administration(&record, &keyring, &config)?;
        let guard = Guard::new(&config.ip_guard);
        let gate = Arc::new(Gate {
            keyring,
            guard: if matches!(counters, Counters::Redis(_)) { guard.telling_others() } else { guard },
            counters: Arc::new(counters),
            jobs: Jobs::new(record.clone(), config.systems.jobs_max),
        });
        let (status, systems) = own_answers(&config, &record, &gate, &admin, &grants)?;
        let config = Arc::new(config);
        let handle = background.handle().clone();
        let shared = Arc::new(Shared {
            local: Local::new(systems.data, handle, &config.data),
            gate,
            live: ArcSwap::from_pointee(Live {
                config: Arc::clone(&config),
                balancers: Arc::new(balancers),
                generation: 1,
            }),
            metrics: Arc::clone(&metrics),
            spool: Arc::clone(&spool),
            logs,
            connections: 0.into(),
            log_full_at: 0.into(),
        });
        status.watch(&shared);
        expect_answers(&metrics, &config);
        let (drain, draining) = watch::channel(Drain::No);
        let (stop, stopping) = watch::channel(false);

        upkeep::start(background.handle(), &shared, grants, &stopping);
        upkeep::watch_others(background.handle(), &shared, &status, &record, &stopping);
        let counters = Arc::clone(&shared.gate.counters);
        let arrears = Arrears { stores, spool, counters, config: Arc::clone(&config), metrics };
        let delivery =
            logs.then(|| Delivery::start(background.handle(), &shared, arrears, exporter, stopping.clone()));
        let router = control_router(&shared, &status, systems.control);
        background.spawn(serve_control(control, router, config, upkeep::told(&stopping)));
        let threads = start_threads(listeners, &shared, tls.as_ref(), &draining)?;
        Ok(Self {
            data_addr,
            control_addr,
            is_without_record,
            record,
            admin,
            background,
            shared,
            tls,
            status,
            threads,
            drain,
            stop,
            delivery,
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
        self.admin.reconfigure(Settings::from(&config));
        expect_answers(&self.shared.metrics, &config);
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
        let delay = self.shared.live.load().config.data.drain_delay;
        let mut hurry = self.drain.subscribe();
        self.background.block_on(async {
            drop(tokio::time::timeout(delay, server::told(&mut hurry, Drain::Now)).await);
        });
        self.drain
            .send_if_modified(|drain| std::mem::replace(drain, (*drain).max(Drain::Gracefully)) == Drain::No);
        let mut ended = Ok(());
        for thread in self.threads {
            ended =
                ended.and(thread.join().map_err(|_| anyhow!("an I/O thread panicked")).and_then(|ran| ran));
        }
        self.stop.send_replace(true);
        let counters = Arc::clone(&self.shared.gate.counters);
        self.background.block_on(async {
            if tokio::time::timeout(LEASES_AT_EXIT, counters.close()).await.is_err() {
                tracing::warn!(
                    "Redis was not told in time what this gateway had leased; it counts until its windows end"
                );
            }
            if let Some(delivery) = self.delivery {
                delivery.end().await;
            }
            drop(tokio::time::timeout(LEASES_AT_EXIT, counters.leave()).await);
        });
        self.background.shutdown_timeout(BLOCKING_AT_EXIT);
        ended
    }
}

fn background_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("tollgate-background")
        .enable_all()
        .build()
        .context("cannot start the background threads")
}

/// What the gateway answers itself, and the status that some of it tells, which is of no gateway yet.
fn own_answers(
    config: &Config,
    record: &SharedRecord,
    gate: &Arc<Gate>,
    admin: &Admin,
    grants: &Grants,
) -> Result<(Arc<GatewayStatus>, Systems)> {
    let status = Arc::new(GatewayStatus::new(grants.clone(), admin.clone()));
    let desk = Desk {
        admin: admin.clone(),
        gate: Arc::clone(gate),
        record: record.clone(),
        status: Arc::clone(&status) as _,
    };
    let native = Native::new(admin.clone(), Arc::clone(gate), config)?;
    Ok((status, Systems::new(config, &desk, native)))
}

fn control_router(shared: &Arc<Shared>, status: &Arc<GatewayStatus>, systems: Vec<System>) -> axum::Router {
    let live = Arc::clone(shared);
    let in_force = move || Arc::clone(&live.live.load().config);
    control::router(Control {
        metrics: Arc::clone(&shared.metrics),
        status: Arc::clone(status) as _,
        limits: Limits::from(&in_force().control),
        config: Arc::new(in_force),
        systems: systems.into(),
        gate: Arc::clone(&shared.gate),
    })
}

/// Serves the operators' listener until it is told to stop.
async fn serve_control(
    listener: std::net::TcpListener,
    router: axum::Router,
    config: Arc<Config>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    if let Err(error) = listener::serve(listener, router, &config.control, stop).await {
        tracing::error!(%error, "the control listener failed");
    }
}

/// Starts an I/O thread for each listener.
fn start_threads(
    listeners: Vec<std::net::TcpListener>,
    shared: &Arc<Shared>,
    tls: Option<&Arc<Acceptor>>,
    draining: &watch::Receiver<Drain>,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let start = |(number, listener)| {
        let (shared, tls, draining) = (Arc::clone(shared), tls.cloned(), draining.clone());
        let (ready, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("tollgate-io-{number}"))
            .spawn(move || Ok(thread::run(shared, number, listener, tls, draining, ready)?))?;
        anyhow::Ok((thread, told))
    };
    let started = listeners.into_iter().enumerate().map(start).collect::<Result<Vec<_>>>();
    let ready = |(thread, told): (JoinHandle<Result<()>>, mpsc::Receiver<()>)| match told.recv() {
        Ok(()) => Ok(thread),
        // It has ended before it was ready, and its end says why. The others end when nobody can tell them anything.
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => bail!("it panicked"),
        },
    };
    started.and_then(|started| started.into_iter().map(ready).collect()).with_context(|| {
        let dir = shared.live.load().config.logs.dir.display().to_string();
        format!("cannot start an I/O thread, which needs room for its log in {dir} (logs.dir)")
    })
}

/// The export of the log, where one is wanted and the record is there to read it from.
async fn exporter(config: &Config, stores: &Stores, metrics: &Arc<Metrics>) -> Result<Option<Exporter>> {
    if stores.is_away {
        return Ok(None);
    }
    Exporter::open(&config.logs, stores.record.clone(), Arc::clone(metrics))
        .await
        .context("cannot export the request log (logs.export)")
}
