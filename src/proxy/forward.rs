//! An admitted request on its way to an upstream target, and the answer's way back.
//!
//! Only a request of which no byte reached a target is tried at another one.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::clock;
use crate::config::{Route, Upstream, UpstreamCredential};
use crate::domain::refusal::Refusal;
use crate::pipeline::credentials::{self, Query};
use crate::pipeline::verdict::{Ending, Heard, reads_body};

use super::body::RequestBody;
use super::deadline::Watch;
use super::exchange::Exchange;
use super::headers;
use super::headers::Forwarded;
use super::http1::OnUpgrade;
use super::own;
use super::refuse;
use super::relay::{Answer, Relay};
use super::service::Peer;
use super::soft;
use super::tunnel;
use super::upload::Upload;
use super::upstream::answer::Reply;
use super::upstream::balance::Target;
use super::upstream::outbound::Outbound;
use super::upstream::pool::SendError;

/// What stands percent-encoded in a query: all but what RFC 3986 section 2.3 calls unreserved.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An answer, and what it came by.
struct Answered {
    reply: Reply<Upload>,
    target: Arc<Target>,
}

/// Forwards what `exchange` was admitted for, and answers with what comes back.
pub async fn forward(
    mut exchange: Box<Exchange>,
    peer: &Peer,
    request: Request<RequestBody>,
) -> Response<Answer> {
    let version = request.version();
    let live = Arc::clone(&exchange.live);
    let Some((_, route)) = exchange.known.route.clone() else {
        return refuse::respond(exchange, Refusal::NoRoute, version);
    };
    let upstream = &live.config.upstreams[route.upstream];
    let wants_upgrade = route.upgrade && headers::asks_for_upgrade(request.headers());
    let upgrade = wants_upgrade.then(|| request.body().on_upgrade()).flatten();
    let softly = soft::is_asked(&route, request.uri().query());
    let answer_timeout = route.answer_timeout.unwrap_or(upstream.answer_timeout);
    let answer_due = exchange.core().deadlines.watch(answer_timeout);
    let Some(mut outbound) = outbound(
        &exchange,
        peer,
        request,
        &route,
        upstream,
        (&answer_due, answer_timeout),
        upgrade.is_some(),
    ) else {
        return refuse::respond(exchange, Refusal::BadRequest, version);
    };

    let sent = clock::now();
    let metrics = &exchange.core().shared.metrics;
    metrics.overhead_seconds.observe(sent.since(exchange.started).as_secs_f64());
    let answered = tokio::select! {
        biased;
        answered = send(&exchange, route.upstream, upstream, &mut outbound, upgrade.is_some()) => answered,
        () = answer_due.expired() => Err(Refusal::UpstreamTimeout),
    };
    match answered {
        Err(refusal) => refuse::respond(exchange, refusal, version),
        Ok(answered) => {
            let now = clock::now();
            exchange.core().shared.metrics.upstream_seconds.observe(now.since(sent).as_secs_f64());
            let Answered { mut reply, target } = answered;
            let status = reply.status.as_u16();
            let heard = Heard::of(&route, status, |name| reply.fields.text(name.as_str()));
            exchange.answered(target, heard, status, now);
            headers::clean_response(&mut reply.fields, reply.status == StatusCode::SWITCHING_PROTOCOLS);
            if softly && soft::is_failure(reply.status) {
                let response = reply.into_response();
                return match soft::collect(&exchange, response, upstream.stall_timeout).await {
                    Some(response) => soften(exchange, response),
                    None => refuse::respond(exchange, Refusal::UpstreamUnreachable, version),
                };
            }
            answer(exchange, reply, upgrade, upstream.stall_timeout)
        }
    }
}

/// Sends to one target after another until one has taken a byte, at most `retries` more than the first.
async fn send(
    exchange: &Exchange,
    index: usize,
    upstream: &Upstream,
    request: &mut Outbound<Upload>,
    upgrade: bool,
) -> Result<Answered, Refusal> {
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let Some(target) = exchange.live.balancers.select(index, &tried) else {
            return Err(if tried.is_empty() {
                Refusal::NoHealthyUpstream
            } else {
                Refusal::UpstreamUnreachable
            });
        };
        let target = Arc::clone(target);
        match exchange.core().pool.send(&target, upstream, request, upgrade).await {
            Ok(reply) => return Ok(Answered { reply, target }),
            Err(SendError::Unsent(_)) if tried.len() < upstream.retries => tried.push(target.address()),
            Err(error) => {
                tracing::debug!(%error, target = target.text(), request = %exchange.id, "no answer");
                return Err(exchange.uploaded.trouble().unwrap_or(Refusal::UpstreamUnreachable));
            }
        }
    }
}

/// The request as the upstream sees it: re-serialised, without the client's credential, with the gateway's
/// own, and with exactly one of each identity header. `None` where its target cannot be written any more.
fn outbound(
    exchange: &Exchange,
    peer: &Peer,
    request: Request<RequestBody>,
    route: &Route,
    upstream: &Upstream,
    (answer_due, answer_timeout): (&Watch, Duration),
    upgrade: bool,
) -> Option<Outbound<Upload>> {
    let (mut parts, body) = request.into_parts();
    let config = &exchange.live.config;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let mut forwarded = Forwarded::of(
        &parts.headers,
        (peer.address.ip(), &peer.text),
        peer.tls,
        authority,
        &config.data.trusted_proxies,
    );
    let credential = exchange.caller().map(|caller| &caller.credential);
    let softly = soft::is_asked(route, parts.uri.query());
    let query = credentials::strip(&mut parts.headers, parts.uri.query(), &config.keys, credential);
    let query = if softly { soft::strip(parts.uri.query(), query) } else { query };
    headers::clean_request(&mut parts.headers, upgrade);
    if parts.version == Version::HTTP_2 {
        headers::join_cookies(&mut parts.headers);
    }
    let target = target(&parts.uri, &query, upstream)?;
    if let Some(UpstreamCredential::Header(name, value)) = &upstream.credential {
        parts.headers.insert(name.clone(), HeaderValue::from_str(&value.0).ok()?);
    }
    forwarded.set_host(&mut parts.headers);
    if softly || reads_body(route) {
        // A compressed answer could not be looked into.
        parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !body.is_end_stream() && is_json(content_type) && !parts.headers.contains_key(CONTENT_ENCODING) {
        exchange.uploaded.look_for_target(route.inspect_bytes_max);
    }
    let stall_timeout = config.data.stall_timeout;
    let body = (!body.is_end_stream()).then(|| {
        Upload::new(
            body,
            std::rc::Rc::clone(&exchange.uploaded),
            route.body_bytes_max,
            (exchange.core().deadlines.watch(stall_timeout), stall_timeout),
            (answer_due.clone(), answer_timeout),
        )
    });
    let mut identified = false;
    let own = |text: &mut Vec<u8>| identified = own::put_identity(text, exchange, &forwarded);
    let outbound = Outbound::new(&parts.method, &target, &parts.headers, own, body);
    identified.then_some(outbound)
}

/// Origin form (RFC 9112 section 3.2.1): the client's path, and the query without its key and with the
/// upstream's, where that is how the upstream takes it.
fn target<'u>(uri: &'u Uri, query: &Query, upstream: &Upstream) -> Option<Cow<'u, str>> {
    let own = match &upstream.credential {
        Some(UpstreamCredential::Query(name, value)) => Some((name, &value.0)),
        _ => None,
    };
    let kept = match query {
        Query::Unchanged if own.is_none() => {
            return Some(Cow::Borrowed(uri.path_and_query().map_or("/", PathAndQuery::as_str)));
        }
        Query::Unchanged => uri.query(),
        Query::Gone => None,
        Query::Rest(rest) => Some(rest.as_str()),
    };
    // An upstream that takes the first of two would take the client's word for the operator's.
    let alone = own.zip(kept).map(|((name, _), kept)| credentials::without(kept, name));
    let kept = match &alone {
        None | Some(Query::Unchanged) => kept,
        Some(Query::Gone) => None,
        Some(Query::Rest(rest)) => Some(rest.as_str()),
    };
    let own = own.map(|(name, value)| {
        let escape = |text| utf8_percent_encode(text, &RESERVED);
        format!("{}={}", escape(name), escape(value))
    });
    let query: Vec<&str> = kept.into_iter().chain(own.as_deref()).filter(|part| !part.is_empty()).collect();
    let text =
        if query.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), query.join("&")) };
    text.parse::<PathAndQuery>().ok().map(|target| Cow::Owned(target.as_str().to_owned()))
}

/// A 404 as a client sees it that wants it softly.
fn soften(exchange: Box<Exchange>, mut response: Response<Bytes>) -> Response<Answer> {
    own::set_for_client(response.headers_mut(), &exchange, exchange.started);
    soft::answer(exchange, response)
}

/// The answer as the client sees it.
fn answer(
    mut exchange: Box<Exchange>,
    reply: Reply<Upload>,
    upgrade: Option<OnUpgrade>,
    stall: Duration,
) -> Response<Answer> {
    if reply.status == StatusCode::SWITCHING_PROTOCOLS {
        let (mut parts, body) = reply.into_response().into_parts();
        let (Some(client), Some(upstream)) = (upgrade, body.into_tunnel()) else {
            // Nobody asked this upstream to switch.
            return refuse::respond(exchange, Refusal::UpstreamUnreachable, Version::HTTP_11);
        };
        own::set_for_client(&mut parts.headers, &exchange, exchange.started);
        tunnel::open(exchange, client, upstream, stall);
        return Response::from_parts(parts, Answer::empty());
    }
    let Reply { status, fields, body } = reply;
    if body.is_end_stream() {
        exchange.finish(Ending::Whole);
    } else if exchange.known.route.as_ref().is_some_and(|(_, route)| reads_body(route))
        && is_json(fields.text("content-type"))
    {
        exchange.inspect_body();
    }
    let watch = exchange.core().deadlines.watch(stall);
    let mut response = Response::new(Answer::relay(Relay::new(fields, body, exchange, (watch, stall))));
    *response.status_mut() = status;
    response
}

fn is_json(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|value| value.split(';').next()).map_or("", str::trim);
    essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
}
