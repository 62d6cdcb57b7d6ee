//! Tollgate: an authenticating reverse-proxy gateway.

pub mod admin;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod logs;
pub mod metrics;
pub mod pipeline;
pub mod proxy;
pub mod stores;
