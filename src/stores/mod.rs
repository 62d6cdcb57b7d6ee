//! What the gateway remembers, each behind the question that is asked of it.
//!
//! - [`record`]: durable truth about organizations, people, keys, and the request log.
//! - [`counters`]: live limits.
//! - [`keyring`]: digest to grant, found fast and gone at once.
//! - [`jobs`]: which project made what an answer named.
//! - [`gather`]: questions of one kind, asked together.

pub mod counters;
mod gather;
pub mod jobs;
pub mod keyring;
pub mod record;
