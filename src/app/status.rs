//! What `/readyz` and `/metrics` ask of the running gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::control::Status;
use crate::proxy::core::Shared;

/// Readiness, and the metrics that are read from the parts when they are asked for.
#[derive(Debug)]
pub struct GatewayStatus {
    shared: Arc<Shared>,
    draining: AtomicBool,
}

impl GatewayStatus {
    /// The status of a gateway that is ready.
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, draining: AtomicBool::new(false) }
    }

    /// From now on the gateway says that it wants no more requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}
