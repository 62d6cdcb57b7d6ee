//! What the gateway answers itself, by listener. The first system that owns a path has it; on the data listener,
//! routes come after all of them.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;

use crate::admin::Admin;
use crate::api::control::{self, Control, Limits};
use crate::api::native::{self, Native};
use crate::api::system::System;
use crate::api::{docs, openapi, own_usage};
use crate::pipeline::admit::Gate;
use crate::proxy::core::Shared;
use crate::stores::record::SharedRecord;

use super::status::GatewayStatus;

/// What clients are answered by the gateway itself.
pub fn data(gate: &Arc<Gate>, record: &SharedRecord) -> Vec<System> {
    vec![own_usage::system(Arc::clone(gate), record.clone())]
}

/// The operators' listener: metrics, health, the native API, and the document of all systems.
///
/// # Errors
/// Where the native API cannot seal what it keeps.
pub fn operators(
    shared: &Arc<Shared>,
    status: &Arc<GatewayStatus>,
    admin: &Admin,
    record: &SharedRecord,
) -> Result<Router> {
    let config = Arc::clone(&shared.live.load().config);
    let (native, document) = native::system(Native::new(admin.clone(), Arc::clone(&shared.gate), &config)?);
    let live = Arc::clone(shared);
    Ok(control::router(Control {
        metrics: Arc::clone(&shared.metrics),
        status: Arc::clone(status) as _,
        config: Arc::new(move || Arc::clone(&live.live.load().config)),
        gate: Arc::clone(&shared.gate),
        systems: Arc::new([
            own_usage::system(Arc::clone(&shared.gate), record.clone()),
            native,
            openapi::system(vec![document]),
            docs::system(),
        ]),
        limits: Limits::from(&config.control),
    }))
}
