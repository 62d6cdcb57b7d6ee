//! HTTP dialects: how the gateway's own answers are spelled, what it answers itself, and the operators'
//! endpoints.

mod alterlab;
pub mod arrival;
mod azscraper;
pub mod control;
pub mod data;
pub mod desk;
pub mod dialect;
pub mod docs;
mod fields;
pub mod json;
pub mod native;
pub mod no;
pub mod openapi;
pub mod own_usage;
mod piloterr;
pub mod published;
pub mod system;
