//! Logging in and out.
//!
//! **Invariant:** an email without an account is answered as a wrong password is, with the same words, after the
//! same work and under the same back-off.

use std::net::IpAddr;
use std::time::Duration;

use super::access::Caller;
use super::backoff::{Backoff, Slope};
use super::sessions::Login;
use super::{Actor, Admin, AdminError};
use crate::domain::address::guarded;
use crate::domain::id::UserId;
use crate::domain::people::{Session, User};
use crate::domain::time::Timestamp;

/// Whoever knows an email can make its owner wait, so not for long.
const OF_ACCOUNT: Slope = Slope { free: 5, longest: Duration::from_secs(30) };
/// Many people may share an address; who guesses waits longer and longer.
const OF_ADDRESS: Slope = Slope { free: 20, longest: Duration::from_secs(15 * 60) };

/// What slows guessing down.
pub(super) struct Brakes {
    accounts: Backoff,
    addresses: Backoff,
}

impl Brakes {
    /// For at most so many accounts, and as many addresses.
    pub(super) fn new(failing_max: usize) -> Self {
        Self {
            accounts: Backoff::new(OF_ACCOUNT, failing_max),
            addresses: Backoff::new(OF_ADDRESS, failing_max),
        }
    }

    /// Those that were forgotten for others before their time.
    pub(super) fn evicted(&self) -> u64 {
        self.accounts.evicted() + self.addresses.evicted()
    }

    /// Lets a try at `account` from `from` begin, counted as failed.
    fn attempt(&self, account: &str, from: IpAddr, now: Timestamp) -> Result<(), AdminError> {
        self.accounts.attempt(account, now).map_err(AdminError::Wait)?;
        self.addresses.attempt(guarded(from), now).map_err(|wait| {
            // It was not tried: nobody makes an account wait from an address that has to wait itself.
            self.accounts.right(account, now);
            AdminError::Wait(wait)
        })
    }

    fn right(&self, account: &str, from: IpAddr, now: Timestamp) {
        self.addresses.right(guarded(from), now);
        self.accounts.forget(account);
    }
}

impl Admin {
    /// Logs in with email and password, from the address `from`.
    ///
    /// # Errors
    /// [`AdminError::WrongLogin`], [`AdminError::Wait`], [`AdminError::Busy`], or that there are no logins here.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(Login, User), AdminError> {
        let account = email.trim().to_lowercase();
        let user = self.try_password(&account, password, from, now).await?;
        let user = self.record.user_by_id(user).await?;
        let actor = Actor { who: user.id.to_string(), from: from.to_string() };
        let ttl = self.settings.load().session_ttl;
        Ok((self.begin_session(&user, ttl, &actor, now).await?, user))
    }

    /// Ends the session that `caller` came with; a key has none.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn logout(&self, session: &Session, actor: &Actor, now: Timestamp) -> Result<(), AdminError> {
        Ok(self.record.revoke_session(session, actor, now).await?)
    }

    /// Gives a user another password, who shows the one it has; its other sessions end.
    ///
    /// # Errors
    /// As [`Admin::login`], and where the new password is none.
    pub async fn change_password(
        &self,
        caller: &Caller,
        [present, new]: [&str; 2],
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        let Caller::Person { user, session } = caller else { return Err(super::Denied::Keys.into()) };
        let known = self.try_password(&user.email, present, from, now).await?;
        if known != user.id {
            return Err(AdminError::WrongLogin);
        }
        let hash = self.hash("new_password", new).await?;
        let actor = caller.actor(from);
        Ok(self.record.set_password(user.id, &hash, Some(session.id), &actor, now).await?)
    }

    /// Whose password this is.
    async fn try_password(
        &self,
        account: &str,
        password: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<UserId, AdminError> {
        self.brakes.attempt(account, from, now)?;
        let (user, hash) = self.record.password(account).await?.unzip();
        let right = self.hashing.verify(password, hash.flatten()).await?;
        let user = user.filter(|_| right).ok_or(AdminError::WrongLogin)?;
        self.brakes.right(account, from, now);
        Ok(user)
    }
}
