//! The life of a request, in order: named, admitted, forwarded, answered.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, Version};

use crate::config::{Config, WhenFull};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::pipeline::admit::at_first_sight;
use crate::pipeline::facts::Facts;
use crate::pipeline::permit::{Known, Permit, Refused};

use super::body::RequestBody;
use super::core::Core;
use super::exchange::Exchange;
use super::forward;
use super::local;
use super::refuse;
use super::relay::Answer;

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address at its other end.
    pub address: SocketAddr,
    /// The same as a header's value, made once per connection.
    pub text: HeaderValue,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// Answers one request whose head was complete at `started`.
pub async fn serve(
    core: &Rc<Core>,
    peer: &Peer,
    request: Request<RequestBody>,
    started: Timestamp,
) -> Response<Answer> {
    let version = request.version();
    let live = core.shared.live.load_full();
    let facts = Facts {
        method: request.method(),
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
        peer: peer.address.ip(),
    };
    let owner = core.shared.local.owner(facts.method, facts.path);
    let sighted = || {
        let known = at_first_sight(&live.config, &facts);
        match owner {
            Some(system) => Known { route: None, dialect: system.dialect(), ..known },
            None => known,
        }
    };
    let admitted = if must_refuse_all(core, &live.config, started) {
        Err(Refused { refusal: Refusal::Overloaded, known: sighted() })
    } else if let Err(refusal) = check_h2_head(&request, &live.config) {
        Err(Refused { refusal, known: sighted() })
    } else if let Some(system) = owner {
        let known = sighted();
        return Box::pin(local::serve(core, live, system, request, known, started)).await;
    } else {
        core.shared.gate.admit(&live.config, &facts, started).await
    };
    match admitted {
        Err(Refused { refusal, known }) => {
            let exchange = Exchange::new(core, live, started, &request, known);
            refuse::respond(exchange, refusal, version)
        }
        Ok(Permit { known, claim }) => {
            let mut exchange = Exchange::new(core, live, started, &request, known);
            match exchange.admit(claim) {
                Ok(()) => forward::forward(exchange, peer, request).await,
                Err(refusal) => refuse::respond(exchange, refusal, version),
            }
        }
    }
}

/// A full log refuses before anything is asked or claimed, where the configuration wants every row.
fn must_refuse_all(core: &Core, config: &Config, now: Timestamp) -> bool {
    let refuse =
        config.logs.when_full == WhenFull::Refuse && core.log().is_some_and(|mut log| !log.has_room());
    if refuse {
        core.shared.log_full_at.store(now.micros(), Ordering::Relaxed);
    }
    refuse
}

/// Checks 1 and 2 for heads that came in HTTP/2's frames; those of HTTP/1 were made where bytes are read.
/// The host is in `:authority`, and a `Host` beside it must say the same (RFC 9113 section 8.3.1).
fn check_h2_head<B>(request: &Request<B>, config: &Config) -> Result<(), Refusal> {
    if request.version() < Version::HTTP_2 {
        return Ok(());
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > config.data.target_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    // As long as it would be in HTTP/1: `name: value` and a line break each.
    let fields: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if request.headers().len() > config.data.headers_max || target + fields > config.data.head_bytes_max {
        return Err(Refusal::HeadTooLarge);
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts =
        authority.into_iter().chain(request.headers().get_all(HOST).into_iter().map(HeaderValue::as_bytes));
    let Some(host) = hosts.next() else { return Err(Refusal::BadRequest) };
    if hosts.all(|other| other.eq_ignore_ascii_case(host)) && request.method() != Method::CONNECT {
        return Ok(());
    }
    Err(Refusal::BadRequest)
}
