//! What people may do in a running gateway, and where an outside issuer's keys come from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;

use crate::admin::{Admin, KEY_SET_BYTES_MAX, KeySource, Settings};
use crate::config::{Config, KeySet};
use crate::stores::keyring::Keyring;
use crate::stores::record::SharedRecord;

/// How long fetching a key set may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// What people may do, in force in this process at once.
///
/// # Errors
/// Where nothing could be fetched from an outside issuer.
pub fn administration(record: &SharedRecord, keyring: &Arc<Keyring>, config: &Config) -> Result<Admin> {
    let admin = Admin::new(record.clone(), Settings::from(config)).serving(Arc::clone(keyring));
    let Some(issuer) = &config.session.outside else { return Ok(admin) };
    let source: Arc<dyn KeySource> = match &issuer.keys {
        KeySet::File(path) => Arc::new(FromFile(path.clone())),
        KeySet::Url(url) => Arc::new(Fetched::new(url.clone())?),
    };
    Ok(admin.believing(issuer, source))
}

/// A key set in a file, read again each time.
struct FromFile(PathBuf);

#[async_trait]
impl KeySource for FromFile {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        let named = |error: std::io::Error| format!("{}: {error}", self.0.display());
        let size = tokio::fs::metadata(&self.0).await.map_err(named)?.len();
        if size > KEY_SET_BYTES_MAX as u64 {
            return Err(format!("{} is larger than {KEY_SET_BYTES_MAX} bytes", self.0.display()));
        }
        tokio::fs::read(&self.0).await.map_err(named)
    }
}

/// A key set behind an address.
struct Fetched {
    url: String,
    client: reqwest::Client,
}

impl Fetched {
    fn new(url: String) -> Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            // Whoever the address leads to was not named in the configuration.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot set up fetching session.jwks_url")?;
        Ok(Self { url, client })
    }
}

#[async_trait]
impl KeySource for Fetched {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        let answer = self.client.get(&self.url).send().await.map_err(|error| error.to_string())?;
        let mut answer = answer.error_for_status().map_err(|error| error.to_string())?;
        let mut set = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
            if set.len() + piece.len() > KEY_SET_BYTES_MAX {
                return Err(format!("{} answers with more than {KEY_SET_BYTES_MAX} bytes", self.url));
            }
            set.extend_from_slice(&piece);
        }
        Ok(set)
    }
}
