//! The native API over the real binary: one whole story, who may do what, what is not believed, and what holds when
//! many come at once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "native/bed.rs"]
mod bed;
#[path = "native/document.rs"]
mod document;
#[path = "native/edges.rs"]
mod edges;
#[path = "native/forged.rs"]
mod forged;
#[path = "native/matrix.rs"]
mod matrix;
#[path = "native/outside.rs"]
mod outside;
#[path = "native/story.rs"]
mod story;
