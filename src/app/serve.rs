//! `tollgate serve`.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::config::load::load;

use super::gateway::Gateway;
use super::tracing;

/// What `serve` is told.
#[derive(Debug, Clone, Default)]
pub struct Serve {
    /// The configuration file; `None` runs with the defaults.
    pub config: Option<PathBuf>,
    /// The line that says it is ready as JSON. The same line is printed where standard output is no terminal.
    pub json: bool,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Whatever keeps it from serving; mistakes in the configuration as [`Problems`](crate::config::problem::Problems).
pub fn serve(told: Serve) -> Result<ExitCode> {
    tracing::start();
    let config = load(told.config.as_deref(), &environment(), &[])?;
    let gateway = Gateway::start(config)?;
    let signals = gateway.signals()?;
    let ready = if told.json || !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        json!({ "data_addr": gateway.data_addr.to_string(), "control_addr": gateway.control_addr.to_string() }).to_string()
    } else {
        let state = if gateway.is_without_record { "listens, without its record" } else { "is ready" };
        format!("tollgate {state}: clients on {}, operators on {}", gateway.data_addr, gateway.control_addr)
    };
    say(&ready)?;
    let reread =
        move || load(told.config.as_deref(), &environment(), &[]).map_err(|problems| problems.to_string());
    gateway.run_until_told(signals, &reread)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a line at once: whoever waits for it may read from a pipe.
pub(super) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// The environment, without what is no Unicode: no setting could be.
pub fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
