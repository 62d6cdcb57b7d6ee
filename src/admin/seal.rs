//! Sealing: what has to be kept and must not be read, such as a secret that its owner may see again.
//!
//! AES-256-GCM with a random nonce for each sealing (NIST SP 800-38D allows 2^32 of them under one key), bound to
//! what it is about, so that a copy put in the place of another does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;

use super::AdminError;

/// Bytes of a key.
pub const SEAL_BYTES: usize = 32;

/// A key for sealing.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// With this key.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where the cryptography library refuses.
    pub fn new(key: &[u8; SEAL_BYTES]) -> Result<Self, AdminError> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self).map_err(|_| failed())
    }

    /// With a key derived from `secret` for `purpose` (HKDF, RFC 5869): one secret, many keys.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where the cryptography library refuses.
    pub fn derived(secret: &[u8], purpose: &str) -> Result<Self, AdminError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tollgate");
        let mut key = [0; SEAL_BYTES];
        salt.extract(secret)
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .map_err(|_| failed())?;
        Self::new(&key)
    }

    /// With a key that nobody else has.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where there is no randomness.
    pub fn random() -> Result<Self, AdminError> {
        let mut key = [0; SEAL_BYTES];
        super::random::fill(&mut key)?;
        Self::new(&key)
    }

    /// Seals `plain`, which is about `about`: nonce, ciphertext, tag.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where the cryptography library refuses.
    pub fn seal(&self, plain: &[u8], about: &[u8]) -> Result<Vec<u8>, AdminError> {
        let mut text = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(about), &mut text).map_err(|_| failed())?;
        Ok([&nonce.as_ref()[..], &text].concat())
    }

    /// What was sealed; `None` where it was sealed with another key, about something else, or changed.
    pub fn open(&self, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(about), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

fn failed() -> AdminError {
    AdminError::Machine("its cryptography library refuses to seal".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_whole_and_in_its_place() {
        let seal = Seal::new(&[7; SEAL_BYTES]).unwrap();
        let sealed = seal.seal(b"sk_live_x", b"key 1").unwrap();
        assert_eq!(seal.open(&sealed, b"key 1").as_deref(), Some(&b"sk_live_x"[..]));
        assert!(!sealed.windows(9).any(|part| part == b"sk_live_x"));
        assert_ne!(seal.seal(b"sk_live_x", b"key 1").unwrap(), sealed, "a nonce is used once");
        assert_eq!(seal.open(&sealed, b"key 2"), None);
        assert_eq!(Seal::new(&[8; SEAL_BYTES]).unwrap().open(&sealed, b"key 1"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(&changed, b"key 1"), None, "byte {at}");
        }
        for short in [0, NONCE_LEN, NONCE_LEN + 15] {
            assert_eq!(seal.open(&sealed[..short], b"key 1"), None, "{short} bytes");
        }
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let (one, two) = (Seal::derived(b"secret", "a").unwrap(), Seal::derived(b"secret", "b").unwrap());
        let sealed = one.seal(b"x", b"").unwrap();
        assert_eq!(Seal::derived(b"secret", "a").unwrap().open(&sealed, b""), Some(b"x".to_vec()));
        assert_eq!(two.open(&sealed, b""), None);
    }
}
