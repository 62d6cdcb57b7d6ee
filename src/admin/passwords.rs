//! Passwords: what one must be, and how it is kept.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;

use super::{Admin, AdminError};

/// Shortest password, in characters (NIST SP 800-63B asks for 15 alone or 8 beside a second factor; this is
/// between, and beneath it stands the cost of argon2id).
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in bytes: a bound on the work of hashing, not on people.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

impl Admin {
    /// The PHC string of a password: argon2id with the parameters OWASP names (19 MiB, 2 passes), on a thread
    /// that may block.
    pub(super) async fn hash(&self, password: &str) -> Result<String, AdminError> {
        check(password)?;
        let password = password.to_owned();
        let machine = |error: String| AdminError::Machine(error);
        let permit = self.hashes.clone().acquire_owned().await.map_err(|error| machine(error.to_string()))?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
        })
        .await
        .map_err(|error| machine(error.to_string()))?
        .map_err(|error| machine(format!("the password could not be hashed: {error}")))
    }
}

fn check(password: &str) -> Result<(), AdminError> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(AdminError::invalid(
            "password",
            format!("too short: give at least {PASSWORD_CHARS_MIN} characters"),
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AdminError::invalid(
            "password",
            format!("too long: give at most {PASSWORD_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}
