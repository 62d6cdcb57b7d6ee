//! (placeholder)

pub mod strict;
