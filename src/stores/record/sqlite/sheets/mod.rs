//! Rows of the log in sheets of up to [`SHEET_ROWS`], in the order in which they came in.
//!
//! A table of rows costs each row its own key, header, 23 bound values and a place in a tree: 1.6 µs of processor. A row
//! of a sheet is appended to a buffer, and SQLite moves 512 of them as one value. What many rows of a sheet have in common, their
//! shape, it has once: that makes a row half as long, and half of what is left to do goes by length.
//!
//! **Still plain SQL.** A sheet is JSONB, which SQLite reads itself: the view `requests` shows rows one by one, and
//! `request_log` with words. That is for people, and slow; what is asked often goes over the blocks of `log_blocks`,
//! which know the numbers of the rows they list.
//!
//! ```text
//! row   = [ at, shape, first_byte_micros, total_micros, bytes_in, bytes_out, domain, further, credits, microcents, address ]
//! shape = [ scope, facts, project, method, path, code, tier, target, user_agent, credits, microcents, address ]
//! ```
//! `at` counts from the sheet's base, `further` says how far a row stands from its first choice. A row has elements from `domain`
//! on as far as it needs them: what is null there is none, zero, or as in its shape, which has cost and address of its first row.
//! Sheets of an earlier version have no shapes, and rows of all elements (`earlier.rs`).
//!
//! **Invariants**
//! - Rows are numbered in the order in which they came in, from `first` on; a number is never given again, so who follows the
//!   log counts in them.
//! - Only the last sheet grows. One is dropped whole, when its newest row is older than rows are kept.

mod earlier;
mod jsonb;
mod read;
mod write;

use super::names::Kind;

pub(super) use self::read::{Reader, Stored, next_number};
pub(super) use self::write::{Sheeted, Writer, go_on_from};

/// Rows of a sheet. More cost what writes few rows at a time, as the last sheet is written anew; fewer waste more of the
/// last page of each.
pub(super) const SHEET_ROWS: usize = 512;

/// Texts of a shape, in their order.
const SHAPE_NAMES: [Kind; 7] =
    [Kind::Project, Kind::Method, Kind::Path, Kind::Code, Kind::Tier, Kind::Target, Kind::UserAgent];

/// Bytes of an id.
const ID_BYTES: usize = 16;

/// Whether the limits admitted it: bit 0 of what a row has in one number.
const ADMITTED: i64 = 1;
/// Its outcome and one, or 0: three bits.
const OUTCOME_SHIFT: u32 = 1;
/// The source of its cost: three bits.
const SOURCE_SHIFT: u32 = 4;
/// Its status: the rest.
const STATUS_SHIFT: u32 = 8;
const THREE_BITS: i64 = 7;
