//! The strict HTTP/1.1 filter between a client's socket and hyper.
//!
//! hyper's parser forgives what a gateway must not: it drops `Content-Length` beside `Transfer-Encoding`,
//! takes bare line feeds and look-alike header names, answers errors with an empty body, and bounds neither a
//! head that drips in byte by byte nor a body that stands still. So every byte is looked at here first.
//!
//! **Invariants**
//! - hyper sees a head only when it is complete and means one thing to every reader (RFC 9112), and a body
//!   only as long as its framing is that thing. Nothing is repaired.
//! - One request at a time: the head of a pipelined request is looked at when the answer before it has been
//!   written. So a refusal never overtakes an answer, and what [`Handle`] tells is about the request in service.
//! - What hyper would say by itself never reaches the client: bytes written while no request is in service are
//!   dropped, and the request is refused in our own words.
//! - A connection that waits for a request holds no buffer here.
//!
//! | what happens | hyper and the service see | the client gets |
//! |---|---|---|
//! | head refused, or too slow | end of the stream, nothing in flight | [`Ended::answer`], by [`refuse`] |
//! | body framing broken | the body fails; [`Handle::violation`] says why | the service's own answer |
//! | body stands still | the body fails with [`Violation::BodyTimeout`] | the service's own answer |
//! | answer not taken for `stall_timeout` | the write fails | a closed connection |
//! | idle for too long | end of the stream | a closed connection |
//! | client gone | end of the stream | |
//!
//! The other way, [`answer`] holds what an upstream says to the same rules.
//!
//! Deliberately absent: rules about paths ([`crate::domain::path`]), header meaning beyond framing, HTTP/2.
//!
//! Everything of one connection runs in one task. [`Handle`] is atomic all the same because hyper asks that a
//! connection which may be upgraded be `Send`; its loads and stores are relaxed, which costs nothing.

pub mod answer;
pub mod chunked;
mod deadline;
mod ending;
mod fields;
mod handle;
mod head;
mod host;
mod io;
mod messages;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::refusal::Refusal;

pub use ending::{Ended, linger, refuse};
pub use handle::{Handle, InService};
pub use head::{Framing, Head, check, check_trailers};
pub use io::StrictIo;

/// Bounds of a request head (contract section 4, check 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Request line and headers together, in bytes, with the empty line. Trailers are bounded by it too.
    pub head_bytes_max: usize,
    /// Header lines. hyper must be allowed as many (its default is 100).
    pub headers_max: usize,
    /// Request target, in bytes.
    pub target_bytes_max: usize,
}

/// What one connection is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of a head.
    pub head: HeadLimits,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// How long a request body, or the reader of an answer, may stand still.
    pub stall_timeout: Duration,
}

/// Why a request was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// The head was not complete in time.
    HeadTimeout,
    /// The head, or a trailer section, has too many bytes or lines.
    HeadTooLarge,
    /// The request target is too long.
    UriTooLong,
    /// The message could be read in more than one way, or not at all. The text names the rule, for operators.
    BadRequest(&'static str),
    /// The body stood still.
    BodyTimeout,
}

impl Violation {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::HeadTimeout => Refusal::HeadTimeout,
            Self::HeadTooLarge => Refusal::HeadTooLarge,
            Self::UriTooLong => Refusal::UriTooLong,
            Self::BadRequest(_) => Refusal::BadRequest,
            Self::BodyTimeout => Refusal::BodyTimeout,
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadRequest(rule) => f.write_str(rule),
            other => f.write_str(other.refusal().text()),
        }
    }
}

impl std::error::Error for Violation {}
