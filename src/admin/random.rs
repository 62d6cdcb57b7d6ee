//! Randomness of the operating system, made into ids and secrets.

use uuid::Uuid;

use super::AdminError;
use crate::domain::secret::Secret;

/// Fills `bytes`.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), AdminError> {
    getrandom::fill(bytes).map_err(|error| AdminError::Machine(format!("no randomness: {error}")))
}

/// A random UUID (version 4).
pub(super) fn uuid() -> Result<Uuid, AdminError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// A new secret.
pub(super) fn secret(prefix: &str) -> Result<Secret, AdminError> {
    let mut entropy = [0; 64];
    // The first try nearly always does; see `Secret::from_entropy`.
    for _ in 0..8 {
        fill(&mut entropy)?;
        if let Some(secret) = Secret::from_entropy(prefix, &entropy) {
            return Ok(secret);
        }
    }
    Err(AdminError::Machine("its randomness is not random".into()))
}

/// Eight characters, `0` to `9` and `a` to `f`.
pub(super) fn suffix() -> Result<String, AdminError> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}
