//! Tokens of an outside issuer: JWT (RFC 7519) under the one algorithm that the configuration names, with public
//! keys as a JWK set (RFC 7517).
//!
//! | what fails | what happens |
//! |---|---|
//! | the key set cannot be fetched | the last one is used on; without one, nobody is known by such a token |
//! | a token names a key that is not in the set | the set is fetched again, at most every [`RETRY_AFTER`] |
//! | the set is too large, or holds nothing usable | as if it could not be fetched |
//!
//! **Invariants.** What a token says of its own algorithm is compared with the configuration and decides nothing; a
//! symmetric key in the set is no key. A token without an end, issuer, audience or subject is no token. At most
//! [`KEYS_MAX`] keys are held, and one fetch is under way.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode_header};
use serde::Deserialize;

use crate::config::{Issuer, IssuerAlgorithm};
use crate::domain::time::Timestamp;

/// Keys of a set; more than these is a mistake.
const KEYS_MAX: usize = 64;
/// The largest key set, in bytes: what a [`KeySource`] has to refuse.
pub const KEY_SET_BYTES_MAX: usize = 256 << 10;
/// How old a set may get before it is fetched again.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
/// The shortest time between two fetches.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How far the issuer's clock may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Where a key set comes from; the wiring knows how to fetch.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The set as JSON, of at most [`KEY_SET_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Why it cannot be had, for the log.
    async fn fetch(&self) -> Result<Vec<u8>, String>;
}

/// What a token says of its bearer, once it is known to be the issuer's.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    /// Who, for the issuer.
    pub sub: String,
    /// When it ends, in seconds of Unix time.
    pub exp: u64,
    nbf: Option<u64>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Verified,
}

/// `true`, or `"true"` as some issuers write it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Verified {
    Flag(bool),
    Text(String),
    #[default]
    Unsaid,
}

impl Claims {
    /// The email, where the issuer vouches for it: one that it does not might be anybody's.
    pub(super) fn email(&self) -> Option<&str> {
        let vouched = match &self.email_verified {
            Verified::Flag(flag) => *flag,
            Verified::Text(text) => text == "true",
            Verified::Unsaid => false,
        };
        self.email.as_deref().filter(|_| vouched)
    }
}

/// Reads tokens of an outside issuer.
pub struct Outside {
    source: Arc<dyn KeySource>,
    algorithm: Algorithm,
    validation: Validation,
    keys: ArcSwap<Keys>,
    /// When the last fetch began; held while one is under way.
    fetched_at: tokio::sync::Mutex<Timestamp>,
}

#[derive(Default)]
struct Keys {
    read_at: Timestamp,
    by_id: Vec<(Option<String>, DecodingKey)>,
}

impl Outside {
    /// For `issuer`, whose key set comes from `source`.
    pub fn new(issuer: &Issuer, source: Arc<dyn KeySource>) -> Self {
        let algorithm = match issuer.algorithm {
            IssuerAlgorithm::Rs256 => Algorithm::RS256,
            IssuerAlgorithm::Es256 => Algorithm::ES256,
            IssuerAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Compared with the `now` of the call, not with a clock in the library.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self { source, algorithm, validation, keys: ArcSwap::default(), fetched_at: Default::default() }
    }

    /// What a token says, where it is the issuer's and in force at `now`.
    pub(super) async fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let header = decode_header(token).ok().filter(|header| header.alg == self.algorithm)?;
        let kid = header.kid.as_deref();
        let mut keys = self.keys.load_full();
        if now.since(keys.read_at) >= REFRESH_AFTER || keys.find(kid).is_none() {
            self.refresh(now).await;
            keys = self.keys.load_full();
        }
        let claims = jsonwebtoken::decode::<Claims>(token, keys.find(kid)?, &self.validation).ok()?.claims;
        let begun = claims.nbf.is_none_or(|nbf| nbf <= now.plus(AHEAD_MAX).seconds());
        (begun && claims.exp > now.seconds()).then_some(claims)
    }

    /// Fetches the set, unless that was tried a moment ago. Who comes while it is fetched waits for it.
    async fn refresh(&self, now: Timestamp) {
        let mut fetched_at = self.fetched_at.lock().await;
        if now.since(*fetched_at) < RETRY_AFTER && now >= *fetched_at {
            return;
        }
        *fetched_at = now;
        match self.source.fetch().await.and_then(|set| self.usable(&set)) {
            Ok(by_id) => self.keys.store(Arc::new(Keys { read_at: now, by_id })),
            Err(error) => {
                tracing::warn!(%error, "the outside issuer's keys cannot be read: the last ones stay");
            }
        }
    }

    fn usable(&self, set: &[u8]) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
        let set: JwkSet =
            serde_json::from_slice(set).map_err(|error| format!("this is no key set: {error}"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("it holds {} keys, more than {KEYS_MAX}", set.keys.len()));
        }
        let keys: Vec<_> =
            set.keys.iter().filter_map(|jwk| Some((jwk.common.key_id.clone(), self.key(jwk)?))).collect();
        if keys.is_empty() { Err(format!("it holds no key for {:?}", self.algorithm)) } else { Ok(keys) }
    }

    /// The key, where it is one for signatures under the configured algorithm.
    fn key(&self, jwk: &Jwk) -> Option<DecodingKey> {
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let named =
            jwk.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{:?}", self.algorithm));
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| signs && named)?;
        let family = match self.algorithm {
            Algorithm::RS256 => AlgorithmFamily::Rsa,
            Algorithm::ES256 => AlgorithmFamily::Ec,
            _ => AlgorithmFamily::Ed,
        };
        (key.family() == family).then_some(key)
    }
}

impl Keys {
    /// The key that a token names, or the only one where it names none.
    fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (kid, self.by_id.as_slice()) {
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
            (Some(kid), all) => all.iter().find(|(id, _)| id.as_deref() == Some(kid)).map(|(_, key)| key),
        }
    }
}
