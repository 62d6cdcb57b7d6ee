//! The request log: rows are durable in a spool before a client has its whole answer, and move from there to
//! the record.
//!
//! ```text
//! I/O thread ── SpoolWriter ──> mapped segment files ── Shipper ──> record (rows, cursor: one transaction)
//!                                    │ keeper: one thread makes segments, one forces them to disk
//!                                    └ recover(): what an earlier process left, before this one ships
//! record ── Exporter ──> JSON lines in a file or on standard output, where that is configured
//! ```
//!
//! **Invariants**
//! - An admission that was accepted has room for its row, on blocks that the file system has handed out.
//! - A row is a frame with length and checksum; a process killed at any instruction leaves whole frames only.
//! - A segment is given up, for its file to become another one or to go, only after the record has everything in it:
//!   its rows, and its admissions without a row as *carried* ones.
//! - Everything sent to the record may be sent again: rows are known by the id of their request.
//! - What requests left is shipped, lost or pending, at every instant ([`Counts::left`]).
//!
//! | what fails | what happens |
//! |---|---|
//! | the process dies | the next start ships what is in the spool; admissions without a row become rows that say so |
//! | the machine dies | as above, less at most `logs.sync_every` |
//! | the disk is slow to have what is written | nobody waits: segments are made without it |
//! | the record is away | the spool grows to `logs.spool_bytes_max`; the shipper retries, and says so once |
//! | the record refuses a row for what it holds | the row is counted as lost, and said; the others of its batch are taken |
//! | the record took a batch and could not say so | the batch is sent again and changes nothing |
//! | the spool is full, or the disk | [`SpoolWriter::has_room`] says no before anything is claimed; a row without room is counted as dropped |
//! | a frame is damaged | the frames before it are kept, the file is set aside as `*.damaged`, reported and counted |
//! | another gateway uses the directory | [`Spool::open`] fails and says what to do |
//!
//! **Absent on purpose:** a lock or a system call per row; a queue between the I/O threads and anything else.

mod batch;
mod bytes;
mod codec;
mod deliver;
mod directory;
mod export;
mod frame;
mod keeper;
mod left;
mod line;
mod mapping;
mod numbers;
mod progress;
mod recovery;
pub mod retention;
mod segment;
mod shipper;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

pub use export::{ExportError, Exporter, Reached};
pub use frame::Damage;
pub use left::{Left, left};
pub use line::Line;
pub use recovery::{CRASHED_CODE, Recovered, RecoveryError, recover};
pub use shipper::{Shipper, Undrained};
pub use spool::{Counts, Spool};
pub use writer::{SpoolFull, SpoolWriter, Ticket};
