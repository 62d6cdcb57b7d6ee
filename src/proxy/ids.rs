//! Request ids: UUID version 7 (RFC 9562 section 5.7), made without a lock or a system call.

use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// One thread's source of request ids.
#[derive(Debug)]
pub struct RequestIds {
    state: u64,
    thread: u64,
    count: u64,
}

impl RequestIds {
    /// A source seeded by the operating system. Two threads, processes or nodes never share ids but by a
    /// collision of 64 random bits within one millisecond.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { state: getrandom::u64()?, thread: getrandom::u64()?, count: 0 })
    }

    /// The next id, for a request that came at `now`.
    pub fn next(&mut self, now: Timestamp) -> RequestId {
        self.count = self.count.wrapping_add(1);
        let low = mix(self.state.wrapping_add(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let high = mix(self.thread ^ self.count);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&low.to_be_bytes());
        random[8..].copy_from_slice(&high.to_be_bytes()[..2]);
        RequestId(uuid::Builder::from_unix_timestamp_millis(now.micros() / 1_000, &random).into_uuid())
    }
}

/// The finaliser of SplitMix64: ids need to be distinct and evenly spread, not secret.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
