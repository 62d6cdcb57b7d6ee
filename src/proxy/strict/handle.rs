//! What a connection's filter and its service tell each other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Violation;

/// Shared by the filter of a connection, its service and its acceptor. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Instants below are nanoseconds after this.
    accepted: Instant,
    phase: AtomicU8,
    tunnel: AtomicBool,
    closing: AtomicBool,
    /// A head or body has begun to arrive and is not complete.
    receiving: AtomicBool,
    head_bytes: AtomicU32,
    body_bytes: AtomicU64,
    head_complete: AtomicU64,
    idle_since: AtomicU64,
    violation: Mutex<Option<Violation>>,
}

/// Where the request on a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// Its head has been given to hyper.
    Given,
    /// The service has it.
    InService,
    /// The service is done with it; hyper may not have written the whole answer yet.
    Answered,
}

/// A request is in service until this is dropped; see [`Handle::serve`].
#[derive(Debug)]
pub struct InService(Handle);

impl Default for Handle {
    fn default() -> Self {
        Self::new()
    }
}

impl Handle {
    /// For a connection that is accepted now.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            accepted: Instant::now(),
            phase: AtomicU8::new(0),
            tunnel: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            receiving: AtomicBool::new(false),
            head_bytes: AtomicU32::new(0),
            body_bytes: AtomicU64::new(0),
            head_complete: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            violation: Mutex::new(None),
        }))
    }

    /// The service takes over the request (`true`) or is done with it, its answer's body included (`false`).
    ///
    /// Both must be said for every request, by the task that runs the connection: the first before the service
    /// waits for anything, the second at the latest when hyper drops the answer's body, and not before hyper
    /// has taken its last piece. The next request is looked at only then. [`Self::serve`] does it by scope.
    pub fn in_flight(&self, begins: bool) {
        if begins {
            self.set_phase(Phase::InService);
        } else {
            self.finished_at(Instant::now());
        }
    }

    /// As `in_flight(false)`, for a service that has just read the clock.
    pub fn finished_at(&self, now: Instant) {
        self.set_idle_since(now);
        self.set_phase(Phase::Answered);
    }

    /// As `in_flight(true)`, until what it returns is dropped: keep that in the answer's body.
    pub fn serve(&self) -> InService {
        self.in_flight(true);
        InService(self.clone())
    }

    /// From here on the connection is a tunnel: bytes pass unread, both ways, without deadlines. To be called
    /// before the service returns `101 Switching Protocols`, and only then.
    pub fn tunnel(&self) {
        self.0.tunnel.store(true, Relaxed);
    }

    /// Lets the connection end where no request is lost by it: at once if it is idle, else when the request
    /// under way has been answered (which should say `Connection: close`). The task that runs the connection
    /// must poll it once after this call, as a `select!` between it and a drain signal does.
    pub fn close_when_idle(&self) {
        self.0.closing.store(true, Relaxed);
    }

    /// Whether no request is under way, on its way in, or unread.
    pub fn is_idle(&self) -> bool {
        self.phase() == Phase::Idle && !self.0.receiving.load(Relaxed)
    }

    /// Why the connection's present request was not let through to its end, if it was not.
    pub fn violation(&self) -> Option<Violation> {
        *self.0.violation.lock()
    }

    /// Bytes of the present request's head, as they came.
    pub fn head_bytes(&self) -> u32 {
        self.0.head_bytes.load(Relaxed)
    }

    /// Bytes of the present request's body given to hyper so far, as they came: with chunk lines and trailers.
    pub fn body_bytes(&self) -> u64 {
        self.0.body_bytes.load(Relaxed)
    }

    /// When the present request's head was complete.
    pub fn head_complete(&self) -> Instant {
        self.instant(&self.0.head_complete)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.0.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Given,
            2 => Phase::InService,
            _ => Phase::Answered,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Relaxed);
    }

    /// A whole head of so many bytes is given to hyper.
    pub(super) fn give(&self, head_bytes: usize, has_body: bool) {
        self.0.head_bytes.store(u32::try_from(head_bytes).unwrap_or(u32::MAX), Relaxed);
        self.0.body_bytes.store(0, Relaxed);
        self.0.head_complete.store(self.nanos(Instant::now()), Relaxed);
        self.set_receiving(has_body);
        self.set_phase(Phase::Given);
    }

    /// More of the body is given to hyper; with `complete` the last of it.
    pub(super) fn add_body(&self, bytes: usize, complete: bool) {
        // One task writes this, so load and store need not be one step.
        let so_far = self.0.body_bytes.load(Relaxed);
        self.0.body_bytes.store(so_far + bytes as u64, Relaxed);
        if complete {
            self.set_receiving(false);
        }
    }

    pub(super) fn set_receiving(&self, receiving: bool) {
        self.0.receiving.store(receiving, Relaxed);
    }

    pub(super) fn set_violation(&self, violation: Violation) {
        *self.0.violation.lock() = Some(violation);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.0.tunnel.load(Relaxed)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.0.closing.load(Relaxed)
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.instant(&self.0.idle_since)
    }

    pub(super) fn set_idle_since(&self, now: Instant) {
        self.0.idle_since.store(self.nanos(now), Relaxed);
    }

    fn instant(&self, nanos: &AtomicU64) -> Instant {
        self.0.accepted + Duration::from_nanos(nanos.load(Relaxed))
    }

    fn nanos(&self, at: Instant) -> u64 {
        // 584 years fit.
        at.saturating_duration_since(self.0.accepted).as_nanos() as u64
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        self.0.in_flight(false);
    }
}
