//! Sessions, and the tokens that name them: JWT (RFC 7519) with HS256, and no other algorithm whatever a token
//! says of itself.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actor, Admin, AdminError, random};
use crate::config::Masked;
use crate::domain::id::UserId;
use crate::domain::people::{Session, User};
use crate::domain::time::Timestamp;

/// The `iss` of every token.
const ISSUER: &str = "tollgate";
/// Longest life of a session.
pub const SESSION_MAX: Duration = Duration::from_secs(30 * 86_400);

/// A session and its token. The token is as good as the login: it has no `Debug`.
pub struct Login {
    /// The session.
    pub session: Session,
    /// The token that names it.
    pub token: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Uuid,
    jti: Uuid,
    iat: u64,
    exp: u64,
    iss: String,
}

/// What a token of ours says. Whether the session was revoked, only the record knows.
#[derive(Debug, PartialEq)]
pub struct Signed {
    /// The session.
    pub session: Uuid,
    /// Whose it is.
    pub user: UserId,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Makes and reads session tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// With the secret of the configuration.
    pub fn new(secret: &Masked) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // The end is compared with the `now` of the call, not with a clock in the library.
        validation.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(secret.0.as_bytes()),
            decoding: DecodingKey::from_secret(secret.0.as_bytes()),
            validation,
        }
    }

    /// The token of a session.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where it cannot be signed.
    pub fn issue(&self, session: &Session) -> Result<String, AdminError> {
        let claims = Claims {
            sub: session.user.0,
            jti: session.id,
            iat: session.created_at.seconds(),
            exp: session.expires_at.seconds(),
            iss: ISSUER.to_owned(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(|error| AdminError::Machine(format!("the token could not be signed: {error}")))
    }

    /// What a token says; `None` where it is not ours, or was changed.
    pub fn read(&self, token: &str) -> Option<Signed> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims;
        let expires_at = Timestamp::from_seconds(claims.exp);
        Some(Signed { session: claims.jti, user: UserId(claims.sub), expires_at })
    }
}

impl Admin {
    /// Logs a user in for `ttl`, without asking for a password: for the operator at the machine.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create_session(
        &self,
        email: &str,
        ttl: Duration,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Login, AdminError> {
        self.session_secret()?;
        let user = self.record.user(email.trim()).await?;
        self.begin_session(&user, ttl, actor, now).await
    }

    pub(super) async fn begin_session(
        &self,
        user: &User,
        ttl: Duration,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Login, AdminError> {
        let secret = self.session_secret()?;
        if ttl < Duration::from_secs(1) || ttl > SESSION_MAX {
            return Err(AdminError::invalid("ttl", "give a time from 1s to 30d"));
        }
        let session = Session {
            id: random::uuid()?,
            user: user.id,
            created_at: now,
            expires_at: now.plus(ttl),
            revoked_at: None,
        };
        let token = Tokens::new(&secret).issue(&session)?;
        self.record.create_session(&session, actor, now).await?;
        Ok(Login { session, token })
    }

    fn session_secret(&self) -> Result<Masked, AdminError> {
        self.settings.load().session_secret.clone().ok_or_else(|| {
            AdminError::invalid(
                "session.secret",
                "is not set, so no token can be signed: set it in the configuration or in \
                 TOLLGATE_SESSION_SECRET",
            )
        })
    }
}
