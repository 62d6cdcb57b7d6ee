//! Passwords: what one must be, how it is kept, and how it is compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admin, AdminError};

/// Shortest password, in characters: what OWASP ASVS 5.0 (6.2.1) and most services ask for. Beneath it stand the cost
/// of argon2id and the wait after failed logins.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password, in bytes: a bound on the work of hashing, not on people.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// What is compared where there is no password, so that it takes as long: no text is known that leads to it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords, few at a time, on threads that may block.
pub(super) struct Hashing {
    turns: Arc<Semaphore>,
    /// Room for those at work and those that wait.
    places: Semaphore,
    refused: AtomicU64,
}

impl Hashing {
    /// At most `hashes_max` at one time, each with 19 MiB and tens of milliseconds of a core, and at most `waiting_max`
    /// that wait for that.
    pub(super) fn new(hashes_max: usize, waiting_max: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(hashes_max)),
            places: Semaphore::new(hashes_max + waiting_max),
            refused: AtomicU64::new(0),
        }
    }

    /// Passwords that found as many waiting as may.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether `password` leads to the PHC string `hash`; takes as long where there is none.
    pub(super) async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, AdminError> {
        let real = hash.is_some() && password.len() <= PASSWORD_BYTES_MAX;
        let hash = hash.unwrap_or_else(|| DECOY.to_owned());
        let password = if real { password.to_owned() } else { String::new() };
        let matches = self
            .work(move || {
                let hash = PasswordHash::new(&hash)
                    .map_err(|error| format!("a kept password is unreadable: {error}"))?;
                Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(matches && real)
    }

    async fn hash(&self, password: &str) -> Result<String, AdminError> {
        let password = password.to_owned();
        self.work(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string())
                .map_err(|error| format!("the password could not be hashed: {error}"))
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, AdminError> {
        let _place = self.places.try_acquire().map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            AdminError::Busy
        })?;
        let machine = |error: String| AdminError::Machine(error);
        let turn: OwnedSemaphorePermit =
            self.turns.clone().acquire_owned().await.map_err(|error| machine(error.to_string()))?;
        let worked = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that goes away does not make room before it is done.
            let _turn = turn;
            job()
        });
        worked.await.map_err(|error| machine(error.to_string()))?.map_err(machine)
    }
}

impl Admin {
    /// The PHC string of a password: argon2id with the parameters OWASP names (19 MiB, 2 passes).
    pub(super) async fn hash(&self, field: &'static str, password: &str) -> Result<String, AdminError> {
        check(field, password)?;
        self.hashing.hash(password).await
    }
}

fn check(field: &'static str, password: &str) -> Result<(), AdminError> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        let advice = format!("too short: give at least {PASSWORD_CHARS_MIN} characters");
        return Err(AdminError::invalid(field, advice));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AdminError::invalid(field, format!("too long: give at most {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(())
}
