//! Wiring: the commands that run a gateway.



mod listen;

pub mod gateway;
pub mod scrape;
mod signals;
mod status;
pub mod tracing;
