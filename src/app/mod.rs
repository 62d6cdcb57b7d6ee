//! Wiring: the commands that run a gateway.

mod arrears;
mod beside;
mod control;
mod delivery;
pub mod demo;
pub mod gateway;
mod grants;
mod listen;
mod people;
pub mod scrape;
pub mod serve;
mod signals;
mod status;
mod stores;
mod systems;
pub mod tracing;
mod upkeep;

pub use demo::{Demo, demo};
pub use serve::{Serve, serve};
