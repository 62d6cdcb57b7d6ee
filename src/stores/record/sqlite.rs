//! The record on SQLite (placeholder).
