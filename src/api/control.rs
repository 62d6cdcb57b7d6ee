//! The operators' listener: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::metrics::Metrics;

/// What the endpoints ask; the wiring answers.
pub trait Status: Send + Sync + 'static {
    /// Brings metrics that are read from elsewhere up to date.
    fn refresh(&self);
    /// Why the gateway should be given no requests now: each part that fails, with its reason.
    fn unready(&self) -> Vec<(&'static str, String)>;
}

/// What the endpoints are made of.
#[derive(Clone)]
struct Control {
    metrics: Arc<Metrics>,
    status: Arc<dyn Status>,
}

/// The control listener's routes.
pub fn router(metrics: Arc<Metrics>, status: Arc<dyn Status>) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || (StatusCode::NOT_FOUND, axum::Json(json!({ "error": "No such route" }))))
        .with_state(Control { metrics, status })
}

async fn exposition(State(control): State<Control>) -> Response {
    control.status.refresh();
    match control.metrics.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(control): State<Control>) -> Response {
    let failing = control.status.unready();
    if failing.is_empty() {
        return axum::Json(json!({ "ready": true })).into_response();
    }
    let parts: serde_json::Map<_, _> =
        failing.into_iter().map(|(part, why)| (part.to_owned(), why.into())).collect();
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({ "ready": false, "failing": parts }))).into_response()
}
