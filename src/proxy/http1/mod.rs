//! HTTP/1.1 towards clients: one task per connection, which reads a request, has it served and writes the
//! answer, one after the other.
//!
//! **Invariants**
//! - A head is looked at only when the answer before it has been written: a refusal never overtakes an answer,
//!   and what comes ahead of its turn waits in the socket, but for a little.
//! - What is served is complete and means one thing to every reader ([`super::strict`]); a body is passed on
//!   only as long as its framing is that thing. Nothing is repaired.
//! - Behind a body that was not read to its end there is no next request.
//! - A connection that waits for a request holds no buffer.
//!
//! | what happens | the service sees | the client gets |
//! |---|---|---|
//! | head refused, or too slow | nothing | [`Ended::answer`], by [`refuse`] |
//! | body framing broken, or body stands still | the body fails with the [`Violation`](super::strict::Violation) | the service's own answer |
//! | answer not taken for `stall_timeout` | its answer is dropped | a closed connection |
//! | idle for too long | nothing | a closed connection |
//! | client gone, also while it waits for an answer | it is dropped | |
//!
//! Deliberately absent: HTTP/2, which is hyper's; and half-closed clients, which are taken for gone.

mod alarm;
mod ending;
mod head;
mod serve;
mod socket;
mod wire;

#[cfg(test)]
mod tests;

pub use ending::{Ended, linger, refuse};
pub use head::InHead;
pub use serve::serve;
pub use socket::{Duplex, Socket};
pub use wire::{BodyBroken, Inbound, OnUpgrade, Upgraded};
