//! (placeholder)

pub mod scrape;
