//! HTTPS towards clients: TLS 1.2 and 1.3, HTTP/2 by ALPN.
//!
//! **How it fails.** A file that cannot be read, is no PEM, or a key that is not the certificate's: an error
//! that names the file, and on a reload the certificate in force stays. A client that is slow in its handshake
//! is left after the time it was given.
//!
//! Deliberately absent: client certificates, several certificates by name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config;

/// Offered in this order (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes encrypted connections of plain ones. All threads share one; a reload is seen by the next handshake.
#[derive(Debug)]
pub struct Acceptor {
    config: ArcSwap<ServerConfig>,
}

/// Why certificate and key cannot be used. The text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file is no PEM, or is damaged.
    #[error("{0} is not valid PEM ({1}): it must hold `-----BEGIN …-----` blocks")]
    NotPem(PathBuf, rustls_pki_types::pem::Error),
    /// There is no certificate in the file.
    #[error(
        "{0} holds no certificate: it needs the chain as `-----BEGIN CERTIFICATE-----` blocks, leaf first"
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("{0} holds no private key: it needs a `-----BEGIN PRIVATE KEY-----` block without a password")]
    NoKey(PathBuf),
    /// The key is another certificate's.
    #[error(
        "the key in {key} does not belong to the first certificate in {cert}: give the pair that was issued together, leaf certificate first"
    )]
    Mismatch {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The pair is well-formed but of no use.
    #[error("{cert} and {key} cannot be used: {reason}")]
    Unusable {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library says.
        reason: rustls::Error,
    },
}

impl Acceptor {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn load(files: &config::Tls) -> Result<Self, TlsError> {
        Ok(Self { config: ArcSwap::from_pointee(server_config(files)?) })
    }

    /// Reads certificate and key again, for handshakes from now on.
    ///
    /// # Errors
    /// [`TlsError`]; those in force stay in force.
    pub fn reload(&self, files: &config::Tls) -> Result<(), TlsError> {
        self.config.store(Arc::new(server_config(files)?));
        Ok(())
    }

    /// The handshake, which must be done `within`.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], or what the client did wrong.
    pub async fn accept(&self, stream: TcpStream, within: Duration) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        tokio::time::timeout(within, acceptor.accept(stream))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

/// Whether the client chose HTTP/2.
pub fn speaks_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0])
}

fn server_config(files: &config::Tls) -> Result<ServerConfig, TlsError> {
    let config::Tls { cert, key } = files;
    let unusable = |reason| match reason {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.clone(), key: key.clone() },
        reason => TlsError::Unusable { cert: cert.clone(), key: key.clone(), reason },
    };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::NotPem(cert.clone(), error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert.clone()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoKey(key.clone()),
        error => TlsError::NotPem(key.clone(), error),
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error))
}

#[cfg(test)]
mod tests;
