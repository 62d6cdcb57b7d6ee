//! `/docs`: the document at `/openapi.json`, for people. A page of this program's own: nothing is fetched from
//! elsewhere, neither when it is built nor when it is read.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::system::System;

/// The page asks this gateway only, and runs its own script only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// The page and what it is made of.
pub fn system() -> System {
    let router = Router::new()
        .route("/docs", get(async || asset("text/html; charset=utf-8", include_str!("docs/index.html"))))
        .route(
            "/docs/page.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("docs/page.js"))),
        )
        .route(
            "/docs/page.css",
            get(async || asset("text/css; charset=utf-8", include_str!("docs/page.css"))),
        );
    System::new(&["GET /docs", "GET /docs/page.js", "GET /docs/page.css"], router)
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")], text)
}
