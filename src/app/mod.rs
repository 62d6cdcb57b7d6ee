//! Wiring: the commands that run a gateway.

mod delivery;
pub mod demo;
pub mod gateway;
mod listen;
pub mod scrape;
pub mod serve;
mod signals;
mod status;
pub mod tracing;

pub use demo::{Demo, demo};
pub use serve::{Serve, serve};
