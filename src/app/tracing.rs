//! The operational log: text on a terminal, JSON lines otherwise, always to standard error.
//!
//! What a line must never hold: a key, a token, a password, a query string, a header's value. Refusals are one
//! line each, at debug only; the request log is where they are kept.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts it. `TOLLGATE_LOG` (or `RUST_LOG`) sets the level, such as `debug` or `tollgate=debug`; default
/// `info`. A second call changes nothing.
pub fn start() {
    start_at("info");
}

/// As [`start`], at `default` where no level is set.
pub fn start_at(default: &str) {
    let text = std::env::var("TOLLGATE_LOG").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_default();
    let level = if text.is_empty() { default.to_owned() } else { text };
    let (filter, complaint) = match EnvFilter::try_new(&level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        log.with_target(false).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
    if let (Ok(()), Some(error)) = (started, complaint) {
        tracing::warn!(%error, "TOLLGATE_LOG cannot be read; logging at info");
    }
}
