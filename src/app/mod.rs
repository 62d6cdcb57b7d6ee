//! Wiring: the commands that run a gateway.

mod listen;

pub mod demo;
pub mod gateway;
pub mod scrape;
pub mod serve;
mod signals;
mod status;
pub mod tracing;
