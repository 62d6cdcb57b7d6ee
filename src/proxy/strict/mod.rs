//! What bytes of HTTP/1.1 may say: pure rules, for requests and for answers.
//!
//! Readers forgive what a gateway must not: `Content-Length` beside `Transfer-Encoding`, bare line feeds,
//! look-alike header names, odd chunk sizes. Whoever forgives in another way than the next in line lets one
//! message be read as two. So only what means one thing to every reader (RFC 9112) is let through, and nothing is
//! repaired; and whatever is let through, hyper reads alike (the tests compare).
//!
//! Deliberately absent: sockets and time (they are [`super::http1`]'s and [`super::upstream`]'s), rules about
//! paths ([`crate::domain::path`]), header meaning beyond framing, HTTP/2.

pub(super) mod answer;
pub(super) mod chunked;
pub(super) mod fields;
mod head;
mod host;

#[cfg(test)]
pub(super) mod tests;

use std::time::Duration;

use crate::domain::refusal::Refusal;

pub use head::{Framing, Head, check, check_trailers, read};

/// Bounds of a request head (contract section 4, check 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Request line and headers together, in bytes, with the empty line. Trailers are bounded by it too.
    pub head_bytes_max: usize,
    /// Header lines.
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
