//! HTTP dialects: how the gateway's own answers are spelled, and the operators' endpoints.

pub mod control;
pub mod dialect;
