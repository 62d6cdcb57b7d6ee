//! The native API: `/v1` on the control listener.
//!
//! One file per resource: its paths, handlers, and what it reads and writes. Every handler says in its annotation
//! which [`Deed`](crate::admin::access::Deed) it is, and asks for the same one; the document at `/openapi.json` is
//! made of these annotations ([`openapi`](super::openapi)).
//!
//! | question | answer |
//! |---|---|
//! | who calls | `Authorization: Bearer` with a session token or a key, or a key in `X-API-Key` ([`call`]) |
//! | which organization | `?organization=` (id or name); without it, the caller's own |
//! | lists | by keyset: `?after=` and `?limit=`, the next `after` is `next` in the answer ([`page`]) |
//! | edits | `ETag` on a thing, `If-Match` on its change: 412 where it has changed since ([`tag`]) |
//! | creations | `Idempotency-Key`: repeated, it is answered the same and done once ([`once`]) |
//! | no | problem details, RFC 9457, with `code` and where there is one `field` ([`problem`]) |
//!
//! **Invariants.** Who calls is known before anything is read, and what it may do before a body is looked at. A
//! secret is in the answer to the call that made it, in its repetition, and in that of `reveal`; in no other.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

mod audit;
mod blocked;
mod body;
mod call;
mod invitations;
mod key_changes;
mod key_import;
mod keys;
mod limits;
mod logs;
mod members;
mod once;
mod organizations;
mod page;
mod plans;
mod problem;
mod projects;
mod session;
mod tag;
mod usage;
mod users;
mod views;

use std::fmt;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::{Admin, AdminError, Seal};
use crate::config::Config;
use crate::pipeline::admit::Gate;

use super::system::System;

pub use self::key_import::ImportedKey;
pub use self::problem::{Problem, RowProblem};

/// What the handlers are made of. Cheap to clone.
#[derive(Clone)]
pub struct Native {
    admin: Admin,
    /// Whose guard and counters are shown.
    gate: Arc<Gate>,
    /// What kept answers are sealed with.
    seal: Arc<Seal>,
}

impl Native {
    /// Over `admin` and the running gateway's `gate`.
    ///
    /// # Errors
    /// [`AdminError::Machine`] where there is no randomness, or no cryptography.
    pub fn new(admin: Admin, gate: Arc<Gate>, config: &Config) -> Result<Self, AdminError> {
        // Nodes that share a secret can repeat each other's answers; without one, only this process its own.
        let seal = match &config.session.secret {
            Some(secret) => Seal::derived(secret.0.as_bytes(), "idempotency")?,
            None => Seal::random()?,
        };
        Ok(Self { admin, gate, seal: Arc::new(seal) })
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

/// Everything below `/v1`, and what the document says of it.
pub fn system(native: Native) -> (System, OpenApi) {
    let (router, document) = routes().split_for_parts();
    let router = router
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        // The control listener bounds every body, for every system.
        .layer(DefaultBodyLimit::disable())
        .with_state(native);
    (System::new(&["/v1/*"], router), document)
}

/// What the document says of it, without anything that could answer.
#[cfg(test)]
pub fn document() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Native> {
    OpenApiRouter::new()
        .routes(routes!(session::login, session::me, session::logout))
        .routes(routes!(session::change_password))
        .routes(routes!(users::list, users::create))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::read, organizations::edit))
        .routes(routes!(limits::of_organization, limits::set_of_organization, limits::clear_of_organization))
        .routes(routes!(members::list, members::add))
        .routes(routes!(members::set_role, members::remove))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitations::withdraw))
        .routes(routes!(invitations::accept))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::read, projects::rename))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(key_import::import))
        .routes(routes!(keys::read, keys::edit, keys::delete))
        .routes(routes!(key_changes::disable))
        .routes(routes!(key_changes::enable))
        .routes(routes!(key_changes::revoke))
        .routes(routes!(key_changes::rotate))
        .routes(routes!(key_changes::reveal))
        .routes(routes!(limits::of_key, limits::set_of_key, limits::clear_of_key))
        .routes(routes!(usage::read))
        .routes(routes!(logs::list))
        .routes(routes!(blocked::list))
        .routes(routes!(blocked::unblock))
        .routes(routes!(plans::list))
        .routes(routes!(audit::list))
}
