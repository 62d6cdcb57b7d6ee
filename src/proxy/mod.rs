//! The engine: sockets, HTTP and the life of a request on the wire. Nothing above or below this floor names
//! hyper's server or client.
//!
//! One thread per core, each with a current-thread runtime, a listener (SO_REUSEPORT), an upstream pool and a
//! log writer of its own ([`core`]); no request waits for another thread.
//!
//! A request's way: [`server`] accepts, [`http1`] reads heads by the rules of [`strict`], [`service`] asks the
//! gate, [`forward`] sends, [`relay`] hands the answer back, [`exchange`] settles and logs.

pub mod body;
pub mod connection;
pub mod core;
pub mod deadline;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod http1;
pub mod ids;
pub mod local;
pub mod message;
pub mod own;
pub mod refuse;
pub mod relay;
pub mod server;
pub mod service;
mod soft;
pub mod strict;
pub mod thread;
pub mod tls;
pub mod tunnel;
pub mod upload;
pub mod upstream;
