//! What operators watch (contract section 10).
//!
//! **Invariant:** no label by key, address or anything else a client can invent: routes, plans, codes,
//! upstreams and targets come from the configuration, so the number of series is bounded by it.

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::domain::refusal::Refusal;

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `tollgate_requests_total{route,plan,code}`
    pub requests: IntCounterVec,
    /// `tollgate_request_seconds`: from the complete head to the last byte of the answer.
    pub request_seconds: Histogram,
    /// `tollgate_overhead_seconds`: from the complete head to the request going upstream.
    pub overhead_seconds: Histogram,
    /// `tollgate_upstream_seconds`: from the request going upstream to the head of its answer.
    pub upstream_seconds: Histogram,
    /// `tollgate_refusals_total{code}`
    pub refusals: IntCounterVec,
    /// `tollgate_key_lookups_total{tier}`
    pub key_lookups: IntCounterVec,
    /// `tollgate_ledger_round_trips_total`
    pub ledger_round_trips: IntCounter,
    /// `tollgate_log_rows_total{state}`
    pub log_rows: IntCounterVec,
    /// `tollgate_log_lag_seconds`: age of the oldest row not yet in the record.
    pub log_lag_seconds: Gauge,
    /// `tollgate_revocation_lag_seconds`: from a change being written to its being in force here.
    pub revocation_lag_seconds: Histogram,
    /// `tollgate_upstream_healthy{upstream,target}`
    pub upstream_healthy: IntGaugeVec,
    /// `tollgate_dependency_up{name}`
    pub dependency_up: IntGaugeVec,
    /// `tollgate_in_flight`
    pub in_flight: IntGauge,
    /// `tollgate_connections`: open client connections.
    pub connections: IntGauge,
    /// `tollgate_overflows_total{bound}`: how often a bound was hit.
    pub overflows: IntCounterVec,
    /// `tollgate_panics_total`
    pub panics: IntCounter,
    build: GaugeVec,
}

impl Metrics {
    /// Every metric, registered and at zero.
    ///
    /// # Errors
    /// Never with the names in this file; the registry's signature says otherwise.
    pub fn new() -> Result<Self, prometheus::Error> {
        let seconds = vec![
            0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
            1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        let histogram = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(seconds.clone()))
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            registry: Registry::new(),
            requests: counters("tollgate_requests_total", "Requests answered.", &["route", "plan", "code"])?,
            request_seconds: histogram("tollgate_request_seconds", "Head complete to last byte answered.")?,
            overhead_seconds: histogram(
                "tollgate_overhead_seconds",
                "Head complete to request going upstream.",
            )?,
            upstream_seconds: histogram(
                "tollgate_upstream_seconds",
                "Request going upstream to head of answer.",
            )?,
            refusals: counters("tollgate_refusals_total", "Requests refused.", &["code"])?,
            key_lookups: counters("tollgate_key_lookups_total", "Key lookups by who answered.", &["tier"])?,
            ledger_round_trips: IntCounter::new(
                "tollgate_ledger_round_trips_total",
                "Calls to the counters' store; none with memory counters.",
            )?,
            log_rows: counters("tollgate_log_rows_total", "Rows of the request log by state.", &["state"])?,
            log_lag_seconds: Gauge::new(
                "tollgate_log_lag_seconds",
                "Age of the oldest row not in the record.",
            )?,
            revocation_lag_seconds: histogram(
                "tollgate_revocation_lag_seconds",
                "A change written to its being in force here.",
            )?,
            upstream_healthy: IntGaugeVec::new(
                Opts::new("tollgate_upstream_healthy", "Whether a target passes its health check."),
                &["upstream", "target"],
            )?,
            dependency_up: IntGaugeVec::new(
                Opts::new("tollgate_dependency_up", "Whether a store answers."),
                &["name"],
            )?,
            in_flight: IntGauge::new("tollgate_in_flight", "Admitted requests not yet finished.")?,
            connections: IntGauge::new("tollgate_connections", "Open client connections.")?,
            overflows: counters("tollgate_overflows_total", "How often a bound was hit.", &["bound"])?,
            panics: IntCounter::new("tollgate_panics_total", "Panics, each of which cost one connection.")?,
            build: GaugeVec::new(Opts::new("tollgate_build_info", "Always 1."), &["version"])?,
        };
        metrics.register()?;
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let all: [Box<dyn prometheus::core::Collector>; 17] = [
            Box::new(self.requests.clone()),
            Box::new(self.request_seconds.clone()),
            Box::new(self.overhead_seconds.clone()),
            Box::new(self.upstream_seconds.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.key_lookups.clone()),
            Box::new(self.ledger_round_trips.clone()),
            Box::new(self.log_rows.clone()),
            Box::new(self.log_lag_seconds.clone()),
            Box::new(self.revocation_lag_seconds.clone()),
            Box::new(self.upstream_healthy.clone()),
            Box::new(self.dependency_up.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.overflows.clone()),
            Box::new(self.panics.clone()),
            Box::new(self.build.clone()),
        ];
        all.into_iter().try_for_each(|metric| self.registry.register(metric))
    }

    /// Shows at zero what is to be counted of refusals, and of `answers`, each a route, a plan and a status: who watches
    /// a rate sees the first one, too, and an operator who has had no request yet sees what there will be.
    pub fn expect<'c>(&self, answers: impl Iterator<Item = [&'c str; 3]>) {
        for code in Refusal::CODES {
            self.refusals.with_label_values(&[code]);
        }
        for answer in answers {
            self.requests.with_label_values(&answer);
        }
    }

    /// The exposition in Prometheus's text format, version 0.0.4.
    ///
    /// # Errors
    /// Where a metric cannot be encoded, which is a bug of this program.
    pub fn exposition(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
