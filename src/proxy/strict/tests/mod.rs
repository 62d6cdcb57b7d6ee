//! The rules as text cases, then the filter before a real hyper server.

mod answers;
mod cases;
mod clock;
mod differential;
mod escapes;
mod stories;
mod wire;

use std::time::Duration;

use super::{HeadLimits, Limits};

const LIMITS: Limits = Limits {
    head: HeadLimits { head_bytes_max: 2048, headers_max: 20, target_bytes_max: 256 },
    head_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    stall_timeout: Duration::from_secs(30),
};
