//! Rows of the log in sheets of up to [`SHEET_ROWS`], in the order in which they came in.
//!
//! A table of rows costs each row its own key, header, 23 bound values and a place in a tree: 1.6 µs of processor. A row
//! of a sheet is appended to a buffer, and SQLite moves 256 of them as one value.
//!
//! **Still plain SQL.** A sheet is JSONB, which SQLite reads itself: the view `requests` shows rows one by one, and
//! `request_log` with words. That is for people, and slow; what is asked often goes over the blocks of `log_blocks`,
//! which know the numbers of the rows they list.
//!
//! **Invariants**
//! - Rows are numbered in the order in which they came in, from `first` on; a number is never given again, so who follows the
//!   log counts in them.
//! - Only the last sheet grows. One is dropped whole, when its newest row is older than rows are kept.

mod jsonb;
mod read;
mod write;

pub(super) use self::read::{Reader, Stored, next_number};
pub(super) use self::write::{Writer, go_on_from};

/// Rows of a sheet. More cost what writes few rows at a time, as the last sheet is written anew; fewer waste more of the
/// last page of each.
pub(super) const SHEET_ROWS: usize = 256;

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
