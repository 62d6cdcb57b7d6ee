//! What address guards of several nodes tell each other: who failed to authenticate, and who is blocked.
//!
//! Ends are told as time that is left, so that no clock is compared with another.

use std::net::IpAddr;
use std::time::Duration;

/// When an address is blocked, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRules {
    /// Failed authentications that block an address.
    pub failures: u64,
    /// The time in which they count.
    pub within: Duration,
    /// How long the address stays blocked.
    pub block_for: Duration,
    /// Addresses blocked at one time.
    pub addresses_max: usize,
}

/// What one node has to say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It failed so often since it was last told.
    Failed(u64),
    /// It is blocked for so long.
    Blocked(Duration),
    /// Somebody wants it listened to again.
    Unblocked,
}

/// What is new of an address: blocked for so long, or listened to again.
pub type BlockNews = (IpAddr, Option<Duration>);

/// What other nodes have told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// In no order.
    pub news: Vec<BlockNews>,
    /// Whether what was told before is lost: who is blocked has to be told again.
    pub is_lost: bool,
    /// Blocks given up for want of room.
    pub evicted: u64,
}
