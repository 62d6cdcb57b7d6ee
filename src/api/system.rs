//! What the gateway answers itself: systems of paths, each with its own router.
//!
//! A system owns paths: on the data listener requests for these are answered here, and everything else goes to
//! the upstreams. Which systems there are is said once per listener, in `app::gateway`.
//!
//! **Invariants.** What a system owns reaches no upstream, however it is written (`/API/v1//api%2Dkeys/`): there it
//! could be the operator's own account that answers. The first system that owns a path answers it, also with its own 404. A handler that turns a
//! caller away answers with [`Arrival::refuse`] or leaves the [`Refusal`] in the response's extensions: the log,
//! the metrics and the address guard learn of it from there, whichever words the body has.
//!
//! [`Arrival::refuse`]: super::arrival::Arrival::refuse
//! [`Refusal`]: crate::domain::refusal::Refusal

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};
use tower_service::Service as _;

use crate::config::Dialect;
use crate::domain::path::{Pattern, is_plain};

/// A router, and the paths that it answers.
#[derive(Debug, Clone)]
pub struct System {
    owned: Vec<Owned>,
    router: Router,
    dialect: Dialect,
}

#[derive(Debug, Clone)]
struct Owned {
    /// `None` is every method.
    method: Option<Method>,
    /// What every path that matches begins with: most requests are told apart by it alone.
    prefix: String,
    pattern: Pattern,
}

impl System {
    /// A system that owns `paths`: patterns as those of routes, each for every method (`/_tollgate/*`) or for one
    /// (`GET /v2/usage`). HEAD goes where GET does.
    ///
    /// # Panics
    /// Where a path is no pattern: they are written in this program.
    #[allow(
        clippy::panic,
        reason = "a table in this program is wrong, and every test that starts would tell"
    )]
    pub fn new(paths: &[&str], router: Router) -> Self {
        let owned = paths
            .iter()
            .map(|path| Owned::parse(path).unwrap_or_else(|why| panic!("`{path}` cannot be owned: {why}")));
        Self { owned: owned.collect(), router, dialect: Dialect::Native }
    }

    /// The same, where refusals that come before its router are spelled as `dialect` does.
    #[must_use]
    pub const fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// How refusals are spelled that come before its router: of a blocked address, of a body too large.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether requests for this belong here.
    pub fn owns(&self, method: &Method, path: &str) -> bool {
        let plain = is_plain(path);
        self.owned.iter().any(|owned| owned.matches(method, path, plain))
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        // A router is always ready, and what it is asked for is its own clone's.
        let answered: Result<Response, Infallible> = self.router.clone().call(request).await;
        let Ok(response) = answered;
        response
    }
}

impl Owned {
    fn parse(text: &str) -> Result<Self, String> {
        let (method, path) = match text.split_once(' ') {
            None => (None, text),
            Some((method, path)) => (Some(method.parse().map_err(|_| format!("no method: {method}"))?), path),
        };
        let prefix = path.split(['{', '*']).next().unwrap_or_default();
        // `/a/*` owns `/a`, too.
        let prefix = if path.ends_with('*') { prefix.trim_end_matches('/') } else { prefix };
        Ok(Self { method, prefix: prefix.to_owned(), pattern: Pattern::parse(path)?.loose() })
    }

    fn matches(&self, method: &Method, path: &str, plain: bool) -> bool {
        let takes = |own: &Method| own == method || (own == Method::GET && method == Method::HEAD);
        let begins = |front: &str| front.eq_ignore_ascii_case(&self.prefix);
        (!plain || path.get(..self.prefix.len()).is_some_and(begins))
            && self.method.as_ref().is_none_or(takes)
            && self.pattern.matches(path)
    }
}

/// The system of `systems` that answers requests for this; `None` where none does.
pub fn owner<'s>(systems: &'s [System], method: &Method, path: &str) -> Option<&'s System> {
    systems.iter().find(|system| system.owns(method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_owns_what_its_table_says_and_nothing_else() {
        let system = System::new(
            &["/_tollgate/*", "GET /v2/usage", "/private/projects/{id}/api-keys/*", "/health"],
            Router::new(),
        );
        for (method, path, owns) in [
            (Method::GET, "/_tollgate", true),
            (Method::DELETE, "/_tollgate/usage", true),
            (Method::GET, "/_tollgates", false),
            (Method::GET, "/v2/usage", true),
            (Method::HEAD, "/v2/usage", true),
            (Method::POST, "/v2/usage", false),
            (Method::GET, "/v2/usage/x", false),
            (Method::PATCH, "/private/projects/7/api-keys", true),
            (Method::PATCH, "/private/projects/7/api-keys/9", true),
            (Method::PATCH, "/private/projects/7/jobs", false),
            (Method::PATCH, "/private/projects//api-keys", false),
            (Method::GET, "/health", true),
            (Method::GET, "/Health/", true),
            (Method::GET, "//h%65alth", true),
            (Method::GET, "/_Tollgate/usage", true),
            (Method::PATCH, "/private//projects/7/%41pi-keys", true),
            (Method::GET, "/healthz", false),
            (Method::GET, "/", false),
            (Method::OPTIONS, "*", false),
        ] {
            assert_eq!(system.owns(&method, path), owns, "{method} {path}");
        }
    }
}
