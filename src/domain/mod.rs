//! Values and rules.
//!
//! Everything here is a plain value or a plain function of values: what a key is, when it may be used,
//! what a limit means, how a refusal is called. A rule is tested in one line.
//!
//! **Invariant:** no async, no IO, no serde, no clock. Whatever needs to know the time is told it as a
//! [`Timestamp`](time::Timestamp); whatever needs a store lives a floor up.

pub mod account;
pub mod address;
mod claim;
pub mod cost;
pub mod id;
pub mod key;
pub mod limit;
pub mod path;
pub mod people;
pub mod refusal;
pub mod ring;
pub mod row;
pub mod secret;
mod spend;
pub mod target;
pub mod time;
mod usage;
pub mod used;
