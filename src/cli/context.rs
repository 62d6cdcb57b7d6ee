//! What a command works with: the checked configuration, and the record that it names.

use std::collections::HashMap;
use std::path::Path;

use super::failure::Failure;
use crate::admin::{Admin, Settings};
use crate::clock;
use crate::config::{Config, load};
use crate::domain::time::Timestamp;
use crate::stores::record::open::{self, Opened};
use crate::stores::record::{Actor, SharedRecord};

/// What a command works with.
pub(super) struct Context {
    pub config: Config,
    pub admin: Admin,
    pub actor: Actor,
    /// A command has one instant.
    pub now: Timestamp,
    opened: Opened,
}

impl Context {
    /// Loads the configuration, but for what only a gateway needs, and opens its record, making it where there is none.
    pub(super) async fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let config = load::load_to_manage(file, &environment())?;
        let opened = open::open(&config.record).await?;
        let admin = Admin::new(opened.shared(), Settings::from(&config));
        let actor = Actor { who: "cli".to_owned(), from: String::new() };
        Ok(Self { config, admin, actor, now: clock::now(), opened })
    }

    /// The record.
    pub(super) fn record(&self) -> &SharedRecord {
        self.admin.record()
    }

    /// Ends the connections.
    pub(super) async fn close(&self) {
        self.opened.close().await;
    }
}

/// The configuration of `file`, under the environment.
pub(super) fn configuration(file: Option<&Path>) -> Result<Config, Failure> {
    configuration_with(file, &[])
}

/// The configuration of `file`, under the environment and these settings (dotted key, value).
pub(super) fn configuration_with(file: Option<&Path>, flags: &[(String, String)]) -> Result<Config, Failure> {
    Ok(load::load(file, &environment(), flags)?)
}

/// Variables that are no UTF-8 cannot be settings.
fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
