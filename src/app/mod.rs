//! Wiring: the commands that run a gateway.

pub mod demo;
pub mod gateway;
mod listen;
mod reload;
pub mod scrape;
mod signals;
mod status;
pub mod tracing;
