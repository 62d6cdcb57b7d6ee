//! Who calls, from what it shows.

use std::net::IpAddr;

use uuid::Uuid;

use super::access::Caller;
use super::outside::{Claims, Outside};
use super::sessions::{Signed, Tokens};
use super::{Actor, Admin, AdminError};
use crate::domain::people::{Session, User};
use crate::domain::refusal::Refusal;
use crate::domain::secret::{Digest, SECRET_BYTES_MAX, is_well_formed};
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// What a caller shows.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A session token.
    Token(&'a str),
    /// An API key.
    Key(&'a str),
    /// Either, as some published systems send both in one header. What has the shape of our keys is a key, what
    /// has three parts is a token, and the rest is a key that was made elsewhere.
    Either(&'a str),
}

impl Admin {
    /// Who calls from `from`.
    ///
    /// # Errors
    /// [`AdminError::InvalidToken`], [`AdminError::InvalidKey`], or that the record cannot be asked.
    pub async fn identify(
        &self,
        shown: Credential<'_>,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Caller, AdminError> {
        match shown {
            Credential::Token(token) => self.person(token, from, now).await,
            Credential::Key(key) => self.program(key, from, now).await,
            Credential::Either(text) => {
                let ours = is_well_formed(text.as_bytes(), &self.settings.load().prefix);
                if !ours && text.split('.').count() == 3 {
                    self.person(text, from, now).await
                } else {
                    self.program(text, from, now).await
                }
            }
        }
    }

    async fn person(&self, token: &str, from: IpAddr, now: Timestamp) -> Result<Caller, AdminError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AdminError::InvalidToken);
        }
        let secret = self.settings.load().session_secret.clone();
        if let Some(signed) = secret.and_then(|secret| Tokens::new(&secret).read(token)) {
            return self.of_session(&signed, now).await;
        }
        let Some(outside) = &self.outside else { return Err(AdminError::InvalidToken) };
        self.of_outside(outside, token, from, now).await
    }

    async fn of_session(&self, signed: &Signed, now: Timestamp) -> Result<Caller, AdminError> {
        let known = if now < signed.expires_at { self.record.session(signed.session).await? } else { None };
        let (session, user) = known
            .filter(|(session, _)| session.user == signed.user && session.is_in_force(now))
            .ok_or(AdminError::SessionEnded)?;
        Ok(Caller::Person { user, session })
    }

    async fn of_outside(
        &self,
        outside: &Outside,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Caller, AdminError> {
        let claims = outside.read(token, now).await.ok_or(AdminError::InvalidToken)?;
        let id = session_of(token);
        if self.record.session(id).await?.is_some_and(|(session, _)| !session.is_in_force(now)) {
            return Err(AdminError::InvalidToken);
        }
        let user = self.user_of(&claims, from, now).await?;
        let session = Session {
            id,
            user: user.id,
            created_at: now,
            expires_at: Timestamp::from_seconds(claims.exp),
            revoked_at: None,
        };
        Ok(Caller::Person { user, session })
    }

    /// The user that the issuer's subject is; the first time, the one with the email that the issuer vouches for,
    /// and from then on nobody else with that email.
    async fn user_of(&self, claims: &Claims, from: IpAddr, now: Timestamp) -> Result<User, AdminError> {
        if let Some(user) = self.record.user_of_subject(&claims.sub).await? {
            return Ok(user);
        }
        let email = claims.email().ok_or(AdminError::InvalidToken)?;
        let unknown = |error| match error {
            RecordError::NotFound(_) | RecordError::Conflict(_) => AdminError::InvalidToken,
            error => error.into(),
        };
        let user = self.record.user(email).await.map_err(unknown)?;
        let actor = Actor { who: user.id.to_string(), from: from.to_string() };
        self.record.link_subject(user.id, &claims.sub, &actor, now).await.map_err(unknown)
    }

    async fn program(&self, key: &str, from: IpAddr, now: Timestamp) -> Result<Caller, AdminError> {
        let invalid = AdminError::InvalidKey;
        let well_formed = is_well_formed(key.as_bytes(), &self.settings.load().prefix);
        if !well_formed && (key.is_empty() || key.len() > SECRET_BYTES_MAX) {
            return Err(invalid(Refusal::InvalidApiKey));
        }
        if !well_formed && !self.record.has_imported_keys().await? {
            return Err(invalid(Refusal::InvalidApiKey));
        }
        let grant = self.record.grant(&Digest::of(key.as_bytes())).await?;
        let grant = grant.ok_or(invalid(Refusal::InvalidApiKey))?;
        grant.standing(now).map_err(invalid)?;
        grant.allows_from(from).map_err(invalid)?;
        Ok(Caller::Key(Box::new(self.record.key(grant.id).await?)))
    }
}

/// What ends the session of an outside issuer's token: half of the digest of what its signature covers, as the
/// signature itself can be written in more than one way.
fn session_of(token: &str) -> Uuid {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let half = Digest::of(signed.as_bytes()).0.first_chunk().copied().unwrap_or_default();
    Uuid::from_bytes(half)
}
