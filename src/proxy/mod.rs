//! The engine: sockets, HTTP and the life of a request on the wire.

pub mod deadline;
pub mod headers;
pub mod tls;
pub mod upstream;
