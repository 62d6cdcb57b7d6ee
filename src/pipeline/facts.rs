//! What admission may look at: the request as it came, and nothing of the engine.

use std::net::IpAddr;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};

/// A request's head and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path without query, as received.
    pub path: &'a str,
    /// The query without `?`, as received.
    pub query: Option<&'a str>,
    /// The headers, as received.
    pub headers: &'a HeaderMap,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
}

impl Facts<'_> {
    /// The declared length of the body, in bytes.
    pub fn body_bytes(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}
