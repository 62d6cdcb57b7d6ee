//! The request log: rows are durable in a spool before a client has its whole answer, and move from there to
//! the record (placeholder).

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::domain::row::{Admission, Row};

/// The spool has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolFull;

/// The spool over all threads.
#[derive(Debug)]
pub struct Spool {}

impl Spool {
    /// Opens the spool's directory.
    pub fn open(_settings: &config::Logs) -> std::io::Result<Arc<Self>> {
        todo!()
    }

    /// A writer for one I/O thread.
    pub fn writer(self: &Arc<Self>, _thread: usize) -> std::io::Result<SpoolWriter> {
        todo!()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        todo!()
    }
}

/// One thread's writer: no lock, no system call per row.
#[derive(Debug)]
pub struct SpoolWriter {}

impl SpoolWriter {
    /// Whether the next admission and its row still fit.
    pub fn has_room(&mut self) -> bool {
        todo!()
    }

    /// Writes an admission down.
    pub fn admitted(&mut self, _admission: &Admission<'_>) -> Result<(), SpoolFull> {
        todo!()
    }

    /// Writes a finished request down.
    pub fn finished(&mut self, _row: &Row<'_>) -> Result<(), SpoolFull> {
        todo!()
    }
}
