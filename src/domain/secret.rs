//! API keys as text: how they are made, recognised and digested.
//!
//! A key is a prefix (`sk_live_`), 26 random base62 characters (154 bits) and 6 base62 characters of a
//! CRC-32 over everything before them. The checksum is no security: it lets a mistyped or invented key be
//! refused without asking any store. Only the SHA-256 digest of a key is ever kept.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Random characters of a key.
pub const RANDOM_CHARS: usize = 26;
/// Checksum characters of a key.
pub const CHECKSUM_CHARS: usize = 6;
/// Characters of a key after its prefix.
pub const BODY_CHARS: usize = RANDOM_CHARS + CHECKSUM_CHARS;
/// Longest prefix of a key: it is part of every key, and of every scan for leaked keys.
pub const PREFIX_CHARS_MAX: usize = 32;
/// Longest text that is taken for a credential at all, in bytes. Imported keys may have any shape below this.
pub const SECRET_BYTES_MAX: usize = 512;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key's secret. Its `Debug` is masked; it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a key from `entropy`, which must be fresh from the operating system. Bytes are rejected where
    /// they would favour a character, so more are taken than characters are made; `None` where they ran out
    /// (one call in 10^20 with 64 bytes).
    pub fn from_entropy(prefix: &str, entropy: &[u8; 64]) -> Option<Self> {
        let mut text = String::with_capacity(prefix.len() + BODY_CHARS);
        text.push_str(prefix);
        let fair = entropy.iter().filter(|byte| **byte < 62 * 4).take(RANDOM_CHARS);
        text.extend(fair.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
        if text.len() != prefix.len() + RANDOM_CHARS {
            return None;
        }
        let sum = checksum(text.as_bytes());
        text.extend(sum.map(char::from));
        Some(Self(text))
    }

    /// A secret that came from elsewhere.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, by which people tell their keys apart.
    pub fn hint(&self) -> &str {
        self.0.char_indices().nth_back(3).map_or("", |(at, _)| &self.0[at..])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a key may begin with this: 1 to [`PREFIX_CHARS_MAX`] letters, digits, `_` and `-`.
pub fn is_prefix(text: &[u8]) -> bool {
    let may_lead = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=PREFIX_CHARS_MAX).contains(&text.len()) && text.iter().all(may_lead)
}

/// Whether `text` has the shape of our keys: prefix, length, alphabet and checksum. Any prefix will do, as the
/// configured one may have been another when the key was made, and the checksum covers it.
pub fn is_well_formed(text: &[u8]) -> bool {
    let Some((prefix, body)) = text.len().checked_sub(BODY_CHARS).and_then(|at| text.split_at_checked(at))
    else {
        return false;
    };
    if !is_prefix(prefix) || !body.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let (head, sum) = text.split_at(text.len() - CHECKSUM_CHARS);
    sum == checksum(head)
}

fn checksum(head: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = u64::from(crc32fast::hash(head));
    let mut chars = [b'0'; CHECKSUM_CHARS];
    for place in chars.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    chars
}

/// SHA-256 of a key's text: what every store knows a key by.
#[derive(Clone, Copy)]
#[allow(
    clippy::derived_hash_with_manual_eq,
    reason = "equal content is equal either way; only the time differs"
)]
#[derive(Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a key's text.
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// Constant time in the digest's content.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        // By words with one barrier at the end: byte by byte it takes most of the time of a cached lookup.
        let (ours, theirs) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
        let differing = ours.iter().zip(theirs).fold(0, |seen, (a, b)| seen | (word(a) ^ word(b)));
        differing.ct_eq(&0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u8) -> Secret {
        let mut entropy = [0; 64];
        for (at, byte) in entropy.iter_mut().enumerate() {
            *byte = seed.wrapping_add((at * 7) as u8);
        }
        Secret::from_entropy("sk_live_", &entropy).unwrap()
    }

    #[test]
    fn a_made_key_is_well_formed_and_hides_in_debug() {
        let key = made(3);
        assert_eq!(key.expose().len(), 40);
        assert!(is_well_formed(key.expose().as_bytes()));
        assert_eq!(format!("{key:?}"), "Secret(…)");
        assert!(key.expose().ends_with(key.hint()) && key.hint().len() == 4);
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let key = made(9);
        for at in 0..key.expose().len() {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed(&bytes), "changed at {at}");
        }
        for wrong in ["", "sk_live_", "sk_live_short", "sk_test_0000000000000000000000000000000"] {
            assert!(!is_well_formed(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_another_prefix_is_well_formed_too() {
        let made = |prefix: &str| Secret::from_entropy(prefix, &[7; 64]).unwrap();
        for prefix in ["a", "acme-prod_", &"p".repeat(32)] {
            assert!(is_well_formed(made(prefix).expose().as_bytes()), "{prefix}");
        }
        for wrong in [made(""), made("a b_"), made("a\u{e9}_"), made(&"p".repeat(33))] {
            assert!(!is_well_formed(wrong.expose().as_bytes()), "{}", wrong.expose());
        }
        let other = made("acme_").expose().replacen("acme_", "sk_live_", 1);
        assert!(!is_well_formed(other.as_bytes()), "the checksum covers the prefix");
    }

    #[test]
    fn digests_are_compared_whole() {
        let one = Digest::of(b"one");
        assert_eq!(one, Digest::of(b"one"));
        for at in 0..32 {
            let mut other = one;
            other.0[at] ^= 0x80;
            assert_ne!(one, other, "byte {at}");
        }
    }

    #[test]
    fn biased_bytes_are_not_used() {
        assert!(Secret::from_entropy("sk_", &[255; 64]).is_none());
    }
}
