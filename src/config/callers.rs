//! `[session]`, `[keys]` and `[ip_guard]`: who a caller is, and how often one may guess.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::masked::{Masked, SealKey};

/// `[session]`
#[derive(Debug)]
pub struct Session {
    /// The HS256 secret of tokens; `None` where no built-in login is wanted.
    pub secret: Option<Masked>,
    /// How long a login lasts.
    pub ttl: Duration,
    /// Passwords compared at one time.
    pub hashes_max: usize,
    /// Passwords that wait for that; more are refused.
    pub hashes_waiting_max: usize,
    /// Accounts, and as many addresses, whose failed logins are remembered.
    pub failing_max: usize,
    /// Who else says who somebody is.
    pub outside: Option<Issuer>,
}

/// An outside identity provider, whose tokens (JWT) are believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// Where its public keys are.
    pub keys: KeySet,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// How its tokens are signed.
    pub algorithm: IssuerAlgorithm,
}

/// Where a JWK set (RFC 7517) is.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySet {
    /// Fetched, and fetched again.
    Url(String),
    /// Read from a file, and read again.
    File(PathBuf),
}

/// How an outside issuer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// `[keys]`
#[derive(Debug)]
pub struct Keys {
    /// What a made key begins with.
    pub prefix: String,
    /// Where a key is looked for; the first source present decides.
    pub sources: Vec<Source>,
    /// Keys kept in memory.
    pub cache_max: usize,
    /// Unknown digests remembered as unknown.
    pub cache_absent_max: usize,
    /// How long an unknown digest is remembered as unknown.
    pub cache_absent_for: Duration,
    /// How often changes made elsewhere are looked for.
    pub follow_every: Duration,
    /// How long the key index in Redis keeps a key that nobody reads from the record; zero is no index.
    pub index_for: Duration,
    /// With a record on a server: how long after that last confirmed them a gateway that starts without it goes on with
    /// the keys it knew; zero is never.
    pub remember_for: Duration,
    /// What new keys are sealed with; `None` keeps digests only.
    pub reveal_key: Option<SealKey>,
}

/// A place where a client may put its key.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// `header:NAME`
    Header(HeaderName),
    /// `bearer`: `Authorization: Bearer KEY` (RFC 6750)
    Bearer,
    /// `basic`: `Authorization: Basic`, the key as user name (password empty) or as password (RFC 7617)
    Basic,
    /// `query:NAME`
    Query(String),
}

/// `[ip_guard]`
#[derive(Debug)]
pub struct IpGuard {
    /// Failed authentications that block an address; 0 switches the guard off.
    pub failures: u32,
    /// The time in which they count.
    pub within: Duration,
    /// How long the address stays blocked.
    pub block_for: Duration,
    /// Addresses watched at one time.
    pub addresses_max: usize,
}
