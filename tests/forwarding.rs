//! What an upstream sees of a request and a client of its answer, through the real binary and over real sockets.
//!
//! `credentials` and `identity` are about who is calling, `headers` about what ends at the gateway, `wire` about
//! HTTP/1 itself, `streams` about what takes its time, `http2` about TLS and HTTP/2, `hostile` about
//! clients and upstreams that lie, `targets` about upstreams that come and go, `slots` about how a request in flight ends, `costs` about what the log and the limits
//! make of an answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "forwarding/bed.rs"]
mod bed;
#[path = "forwarding/costs.rs"]
mod costs;
#[path = "forwarding/credentials.rs"]
mod credentials;
#[path = "forwarding/headers.rs"]
mod headers;
#[path = "forwarding/hostile.rs"]
mod hostile;
#[path = "forwarding/http2.rs"]
mod http2;
#[path = "forwarding/identity.rs"]
mod identity;
#[path = "forwarding/slots.rs"]
mod slots;
#[path = "forwarding/streams.rs"]
mod streams;
#[path = "forwarding/targets.rs"]
mod targets;
#[path = "forwarding/wire.rs"]
mod wire;
