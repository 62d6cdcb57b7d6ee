//! What both engines are asked in the same words: people, organizations, keys and what has become of them.
//!
//! There is no module of this name beside the engines: each compiles this directory as a module of its own, against its
//! own connections and rows, which it calls by the names in `engine`. So a statement here is one that SQLite and
//! PostgreSQL read alike: `$1` for arguments, `ON CONFLICT` for what may be there, no function that only one knows.
//! What they cannot be asked alike (the log, its sums, upkeep) is theirs.

mod attempts;
pub(super) mod columns;
pub(super) mod grants;
mod invitations;
pub(super) mod keys;
mod log;
mod members;
mod notices;
pub(super) mod organizations;
mod people;
mod projects;
mod sessions;
pub(super) mod trail;

use super::engine;
