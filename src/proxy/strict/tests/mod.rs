//! The rules as text cases.

mod answers;
pub mod cases;
pub mod escapes;

use super::HeadLimits;

/// Small, so that they are reached.
pub const HEAD_LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 2048, headers_max: 20, target_bytes_max: 256 };
