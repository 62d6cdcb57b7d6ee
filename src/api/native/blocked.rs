//! `/v1/blocked`: addresses that guessed keys, and are not listened to for a while.

use std::net::IpAddr;

use axum::Json;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::call::{Call, Named};
use super::page::Part;
use crate::admin::access::Deed;

/// An address that is not listened to.
#[derive(Serialize, ToSchema)]
pub(super) struct Blocked {
    /// An IPv6 address stands for its /64.
    address: String,
    /// Until when.
    until: String,
}

/// List who is blocked. With counters in Redis a block is every node's within a second. Bounded by `ip_guard.addresses_max`, so it is one part.
#[utoipa::path(get, path = "/v1/blocked", tag = "blocked addresses",
    extensions(("x-tollgate-deed" = json!("read-blocked"))),
    responses((status = 200, description = "Who is blocked", body = Part<Blocked>)))]
pub(super) async fn list(call: Call) -> Result<Json<Part<Blocked>>, Problem> {
    call.may(Deed::ReadBlocked)?;
    let blocked = call.native.gate.guard.blocked(call.now());
    let view = |(address, until): (IpAddr, crate::domain::time::Timestamp)| Blocked {
        address: address.to_string(),
        until: until.to_string(),
    };
    Ok(Json(Part::whole(blocked.into_iter().map(view).collect())))
}

/// Listen to an address again; with counters in Redis every node does within a second.
#[utoipa::path(delete, path = "/v1/blocked/{address}", tag = "blocked addresses",
    params(("address" = String, Path, description = "An IP address")),
    extensions(("x-tollgate-deed" = json!("unblock"))),
    responses((status = 204, description = "It is listened to")))]
pub(super) async fn unblock(call: Call, Named(address): Named<String>) -> Result<StatusCode, Problem> {
    call.may(Deed::Unblock)?;
    let missing = || Problem::missing("this address is not blocked");
    let address: IpAddr = address.parse().map_err(|_| missing())?;
    if call.native.gate.guard.unblock(address, call.now()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}
