//! Whole connections: a client, the loop, a service; on a clock that passes by itself, and beside hyper as a second
//! reader.

mod clock;
mod differential;
mod stories;
mod wire;

use std::time::Duration;

use super::super::message::fields::Fields;
use super::super::strict::Limits;
use super::super::strict::tests::HEAD_LIMITS;
use super::InHead;

const LIMITS: Limits = Limits {
    head: HEAD_LIMITS,
    head_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    stall_timeout: Duration::from_secs(30),
};

/// Bodies of tests say nothing in heads.
impl InHead for http_body_util::Full<bytes::Bytes> {
    fn fields(&self) -> Option<&Fields> {
        None
    }
    fn put_own_fields(&self, _: &mut Vec<u8>) {}
}

impl InHead for http_body_util::Empty<bytes::Bytes> {
    fn fields(&self) -> Option<&Fields> {
        None
    }
    fn put_own_fields(&self, _: &mut Vec<u8>) {}
}
