//! Whole connections: a client, the loop, a service; on a clock that passes by itself, and beside hyper as a second
//! reader.

mod clock;
mod differential;
mod stories;
mod wire;

use std::time::Duration;

use super::super::strict::Limits;
use super::super::strict::tests::HEAD_LIMITS;

const LIMITS: Limits = Limits {
    head: HEAD_LIMITS,
    head_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    stall_timeout: Duration::from_secs(30),
};
