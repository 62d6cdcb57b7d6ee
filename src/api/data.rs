//! The data listener's own answers: clients have one base URL, and some paths of it are the gateway's.
//!
//! Handlers ask the record, so they run on the second runtime: an I/O thread hands a request over with its body
//! collected, and goes on serving others. That costs two wake-ups, which requests on their way to an upstream
//! never pay.
//!
//! | what fails | what happens |
//! |---|---|
//! | `data.own_requests_max` are being answered | 503 `overloaded`, at once |
//! | a handler takes longer than `data.own_timeout` | it is dropped, 503 `store_unavailable` |
//! | a handler panics | the client's connection ends, counted, as with any panic |
//! | the client goes away | the handler comes to its end: what it writes is written whole |

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Data;
use crate::domain::refusal::Refusal;

use super::arrival::Arrival;
use super::system::{self, System};

/// The longest body of an answer, in bytes: pages are bounded by the systems far below this.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What answers on the data listener in the place of an upstream.
#[derive(Debug)]
pub struct Local {
    systems: Arc<[System]>,
    /// Where handlers run.
    runtime: Handle,
    slots: Arc<Semaphore>,
    /// How long a handler may take.
    within: Duration,
}

impl Local {
    /// Answers for `systems` on `runtime`, within the bounds of `[data]`.
    pub fn new(systems: Vec<System>, runtime: Handle, bounds: &Data) -> Self {
        let slots = Arc::new(Semaphore::new(bounds.own_requests_max));
        Self { systems: systems.into(), runtime, slots, within: bounds.own_timeout }
    }

    /// What answers requests for this here; `None`: they are an upstream's. Asked of every request there is.
    pub fn owner(&self, method: &Method, path: &str) -> Option<&System> {
        system::owner(&self.systems, method, path)
    }

    /// Answers one request of `system`'s. Where a caller was turned away, the [`Refusal`] is in the answer's extensions.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] where too many are being answered, [`Refusal::StoreUnavailable`] where the handler
    /// took too long.
    ///
    /// # Panics
    /// Where the handler did.
    pub async fn answer(
        &self,
        system: &System,
        mut request: Request<Bytes>,
        arrival: Arrival,
    ) -> Result<Response<Bytes>, Refusal> {
        let system = system.clone();
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        request.extensions_mut().insert(arrival);
        let within = self.within;
        let answering = self.runtime.spawn(async move {
            let _slot = slot;
            timeout(within, whole(&system, request.map(Body::from))).await
        });
        match answering.await {
            Ok(answered) => answered.ok().flatten().ok_or(Refusal::StoreUnavailable),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(Refusal::Overloaded),
            },
        }
    }
}

async fn whole(system: &System, request: Request<Body>) -> Option<Response<Bytes>> {
    let (mut parts, body) = system.answer(request).await.into_parts();
    // As on the operators' side: an answer may hold a key, and is of its moment.
    parts.headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.ok()?;
    Some(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests;
