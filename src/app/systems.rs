//! What the gateway answers itself, by listener. The first system that owns a path has it; on the data listener,
//! routes come after all of them.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;

use crate::api::control::{self, Control, Limits};
use crate::api::desk::Desk;
use crate::api::native::{self, Native};
use crate::api::system::System;
use crate::api::{docs, openapi, own_usage, published};
use crate::config::Config;
use crate::proxy::core::Shared;

/// What clients are answered by the gateway itself.
pub(super) fn data(config: &Config, desk: &Desk) -> Vec<System> {
    let own = own_usage::system(Arc::clone(&desk.gate), desk.record.clone());
    std::iter::once(own).chain(published::systems(config.systems, desk)).collect()
}

/// The operators' listener: the same, metrics, health, the native API, and the document of all systems.
///
/// # Errors
/// Where the native API cannot seal what it keeps.
pub(super) fn operators(shared: &Arc<Shared>, desk: &Desk) -> Result<Router> {
    let config = Arc::clone(&shared.live.load().config);
    let native = Native::new(desk.admin.clone(), Arc::clone(&shared.gate), &config)?;
    let (native, document) = native::system(native);
    let documents = std::iter::once(document).chain(published::documents(config.systems)).collect();
    let own = [native, openapi::system(documents), docs::system()];
    let live = Arc::clone(shared);
    Ok(control::router(Control {
        metrics: Arc::clone(&shared.metrics),
        status: Arc::clone(&desk.status),
        config: Arc::new(move || Arc::clone(&live.live.load().config)),
        gate: Arc::clone(&shared.gate),
        systems: data(&config, desk).into_iter().chain(own).collect(),
        limits: Limits::from(&config.control),
    }))
}
