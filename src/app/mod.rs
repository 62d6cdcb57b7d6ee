//! The running gateway (placeholder).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `serve` is told.
#[derive(Debug)]
pub struct Serve {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// One line of JSON when ready.
    pub json: bool,
}

/// What `demo` is told.
#[derive(Debug)]
pub struct Demo {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub control: SocketAddr,
    /// Where the stores live; `None` is a fresh directory.
    pub data: Option<PathBuf>,
    /// One line of JSON when ready.
    pub json: bool,
}

/// Runs the gateway until it is told to stop.
pub fn serve(_serve: Serve) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`serve` is not built yet")
}

/// Runs the demonstration until it is told to stop.
pub fn demo(_demo: Demo) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`demo` is not built yet")
}
