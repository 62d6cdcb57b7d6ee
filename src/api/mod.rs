//! HTTP dialects: how the gateway's own answers are spelled, what it answers itself, and the operators'
//! endpoints.

pub mod arrival;
pub mod control;
pub mod data;
pub mod dialect;
pub mod own_usage;
pub mod system;
