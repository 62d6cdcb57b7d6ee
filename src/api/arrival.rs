//! A request that the gateway answers itself: what is known of how it came, and how it is turned away.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::config::{Config, Dialect};
use crate::domain::id::RequestId;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

use super::dialect::refusal_body;

/// What a handler is told of its request beside the request: an extension of it, on either listener.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The configuration that this request goes by, whatever is reloaded meanwhile.
    pub config: Arc<Config>,
    /// The client's address behind trusted proxies.
    pub client: IpAddr,
    /// The request's id.
    pub id: RequestId,
    /// When its head was complete.
    pub at: Timestamp,
}

impl Arrival {
    /// The answer to a request that is turned away.
    pub fn refuse(&self, refusal: Refusal, dialect: Dialect) -> Response {
        let mut response = Response::new(Body::from(refusal_body(dialect, refusal, self.id)));
        *response.status_mut() =
            StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = refusal.retry_after(self.at) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if refusal.status() == 401 {
            // RFC 9110 section 11.6.1 wants a challenge on every 401.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(refusal);
        response
    }
}
