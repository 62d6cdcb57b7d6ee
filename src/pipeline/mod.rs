//! What a request may do (placeholder).

pub mod credentials;
pub mod guard;
