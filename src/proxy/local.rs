//! Requests that the gateway answers itself, between the wire and [`Local`](crate::api::data::Local).
//!
//! They pass checks 1 to 3 as any other and leave one row each: not admitted, no cost, and of no key and no
//! organization, as what a client asks the gateway is no use of its key.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::api::arrival::Arrival;
use crate::api::system::System;
use crate::domain::path::is_unambiguous;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::pipeline::permit::Known;

use super::body::RequestBody;
use super::core::{Core, Live};
use super::exchange::Exchange;
use super::own;
use super::refuse;
use super::relay::Answer;
use super::strict::Violation;

/// Answers `request`, which is `system`'s, and of which `known` holds the client.
pub async fn serve(
    core: &Rc<Core>,
    live: Arc<Live>,
    system: &System,
    request: Request<RequestBody>,
    known: Known,
    started: Timestamp,
) -> Response<Answer> {
    let version = request.version();
    let mut exchange = Exchange::new(core, live, started, &request, known);
    let answered = match checked(&exchange, &request) {
        Ok(()) => answer(&exchange, system, request).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) => return refuse::respond(exchange, refusal, version),
    };
    let refusal = response.extensions_mut().remove::<Refusal>();
    if refusal.is_some_and(Refusal::is_failed_authentication) {
        core.shared.gate.guard.failed(exchange.known.client, started);
    }
    exchange.answered_here(response.status().as_u16(), refusal, response.body().len() as u64);
    own::set_for_client(response.headers_mut(), &exchange, started);
    response.map(Answer::text)
}

/// Checks 2, as far as it is about the path, and 3.
fn checked(exchange: &Exchange, request: &Request<RequestBody>) -> Result<(), Refusal> {
    if !is_unambiguous(request.uri().path(), false) {
        return Err(Refusal::BadRequest);
    }
    exchange.core().shared.gate.guard.check(exchange.known.client, exchange.started)
}

async fn answer(
    exchange: &Exchange,
    system: &System,
    request: Request<RequestBody>,
) -> Result<Response<Bytes>, Refusal> {
    let (parts, body) = request.into_parts();
    let arrival = Arrival {
        config: Arc::clone(&exchange.live.config),
        client: exchange.known.client,
        id: exchange.id,
        at: exchange.started,
    };
    let due = exchange.core().deadlines.watch(arrival.config.data.stall_timeout);
    let body = tokio::select! {
        biased;
        collected = collect(body, arrival.config.data.own_body_max) => collected?,
        // Not from piece to piece, as on the way to an upstream: these bodies are small.
        () = due.expired() => return Err(Refusal::BodyTimeout),
    };
    exchange.uploaded.add(body.len());
    exchange.core().shared.local.answer(system, Request::from_parts(parts, body), arrival).await
}

/// A whole body of at most `most` bytes.
async fn collect(mut body: RequestBody, most: usize) -> Result<Bytes, Refusal> {
    let declared = http_body::Body::size_hint(&body).lower();
    if declared > most as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|broken| broken.0.map_or(Refusal::BadRequest, Violation::refusal))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > most {
            return Err(Refusal::BodyTooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}
