//! The operators' listener: `/metrics`, `/healthz`, `/readyz`, and the systems that the gateway answers itself.
//!
//! | what is too much | answer |
//! |---|---|
//! | `control.requests_max` are at work | 503 `overloaded`; metrics and health are answered all the same |
//! | an answer takes longer than `control.timeout` | 503 `overloaded`; what the handler had begun to write is written |
//! | a body is larger than `control.body_max` | reading it fails, which systems answer with 413 |
//!
//! No answer may be framed, sniffed, or read by a page of another origin (there is no CORS); those of systems are
//! not kept by caches unless they say so themselves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::Limited;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock;
use crate::config::{self, Config, Dialect};
use crate::domain::address::client_ip;
use crate::domain::id::RequestId;
use crate::domain::refusal::Refusal;
use crate::metrics::Metrics;
use crate::pipeline::admit::Gate;

use super::arrival::Arrival;
use super::system::{self, System};

/// What the endpoints ask; the wiring answers.
pub trait Status: Send + Sync + 'static {
    /// Brings metrics that are read from elsewhere up to date.
    fn refresh(&self);
    /// Why the gateway should be given no requests now: each part that fails, with its reason.
    fn unready(&self) -> Vec<(&'static str, String)>;
    /// What an operator should mend though the gateway serves, in the same way.
    fn warnings(&self) -> Vec<(&'static str, String)>;
}

/// The configuration in force at this moment.
pub type InForce = Arc<dyn Fn() -> Arc<Config> + Send + Sync>;

/// What the endpoints are made of.
#[derive(Clone)]
pub struct Control {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` asks.
    pub status: Arc<dyn Status>,
    /// What systems go by.
    pub config: InForce,
    /// Whose guard listens to callers of systems, or not.
    pub gate: Arc<Gate>,
    /// What is answered besides.
    pub systems: Arc<[System]>,
    /// How much at one time.
    pub limits: Limits,
}

/// What calls of systems may take.
#[derive(Debug, Clone)]
pub struct Limits {
    slots: Arc<Semaphore>,
    body_bytes_max: usize,
    timeout: Duration,
}

impl From<&config::Control> for Limits {
    fn from(settings: &config::Control) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.requests_max)),
            body_bytes_max: usize::try_from(settings.body_bytes_max).unwrap_or(usize::MAX),
            timeout: settings.timeout,
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("systems", &self.systems).finish_non_exhaustive()
    }
}

/// The control listener's routes. Served with the peer's address as [`ConnectInfo`].
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(system)
        .with_state(control)
        .layer(map_response(secured))
}

/// What browsers are told of every answer; a system that shows pages says more itself.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A system's answer, as on the data listener: an address that is blocked is refused, failed authentications
/// count, and the request has an id.
async fn system(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let config = (control.config)();
    let forwarded = request.headers().get_all("x-forwarded-for").into_iter();
    let forwarded: Vec<_> = forwarded.filter_map(|value| value.to_str().ok()).collect();
    let client = client_ip(peer.ip(), forwarded.into_iter(), &config.data.trusted_proxies);
    let (id, at) = (RequestId(Uuid::now_v7()), clock::now());
    let arrival = Arrival { config, client, id, at };
    let guard = &control.gate.guard;
    let mut response = match system::owner(&control.systems, request.method(), request.uri().path()) {
        None => arrival.refuse(Refusal::NoRoute, Dialect::Native),
        Some(system) if guard.check(client, at).is_err() => {
            arrival.refuse(Refusal::IpBlocked, system.dialect())
        }
        Some(system) => match Arc::clone(&control.limits.slots).try_acquire_owned() {
            Err(_) => arrival.refuse(Refusal::Overloaded, system.dialect()),
            Ok(slot) => {
                request.extensions_mut().insert(arrival.clone());
                let bounded = |body| Body::new(Limited::new(body, control.limits.body_bytes_max));
                // A task of its own: a client that goes away, or a clock, stops no handler between two writes.
                let dialect = system.dialect();
                let (system, request) = (system.clone(), request.map(bounded));
                let answering = tokio::spawn(async move {
                    let _slot = slot;
                    system.answer(request).await
                });
                match tokio::time::timeout(control.limits.timeout, answering).await {
                    Ok(Ok(response)) => response,
                    _ => arrival.refuse(Refusal::Overloaded, dialect),
                }
            }
        },
    };
    let refusal = response.extensions().get::<Refusal>();
    if refusal.is_some_and(|refusal| refusal.is_failed_authentication()) {
        guard.failed(client, at);
    }
    if let Ok(id) = id.to_string().parse() {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn exposition(State(control): State<Control>) -> Response {
    control.status.refresh();
    match control.metrics.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(control): State<Control>) -> Response {
    let (failing, warnings) = (control.status.unready(), control.status.warnings());
    let is_ready = failing.is_empty();
    let mut body = json!({ "ready": is_ready });
    for (name, parts) in [("failing", failing), ("warnings", warnings)] {
        if !parts.is_empty() {
            body[name] = parts.into_iter().map(|(part, why)| (part.to_owned(), Value::from(why))).collect();
        }
    }
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(body)).into_response()
}
