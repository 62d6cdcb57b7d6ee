//! Binding the listeners.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel queues for one listener.
const BACKLOG: i32 = 4096;

/// One listener per I/O thread on the same address (SO_REUSEPORT): the kernel spreads connections, and no
/// thread wakes another.
///
/// # Errors
/// Where the address cannot be bound, naming the setting to change.
pub fn data(address: SocketAddr, threads: usize) -> Result<(SocketAddr, Vec<TcpListener>)> {
    // Bound alone for a moment, so that a second gateway on one port is told so instead of silently taking
    // half of the connections.
    let alone = bind(address, false).map_err(|error| cannot_bind(DATA, address, error))?;
    let address = alone.local_addr()?.as_socket().context("the data listener has no IP address")?;
    drop(alone);
    let listeners = (0..threads)
        .map(|_| listening(address, true).map_err(|error| cannot_bind(DATA, address, error)))
        .collect::<Result<Vec<_>>>()?;
    Ok((address, listeners))
}

/// The operators' listener.
///
/// # Errors
/// Where the address cannot be bound, naming the setting to change.
pub fn control(address: SocketAddr) -> Result<TcpListener> {
    listening(address, false).map_err(|error| cannot_bind(CONTROL, address, error))
}

fn listening(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = bind(address, shared)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The setting that names an address, and the flag of a demo.
type Named = [&'static str; 2];
const DATA: Named = ["data.listen", "--listen"];
const CONTROL: Named = ["control.listen", "--control"];

fn cannot_bind([setting, flag]: Named, address: SocketAddr, error: Error) -> anyhow::Error {
    let advice = match error.kind() {
        ErrorKind::AddrNotAvailable => "name an address of this machine, or 0.0.0.0 for all of them, in",
        ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; or name another port in"
        }
        _ => "stop what uses that port, or name another in",
    };
    let said = format!("cannot listen on {address}: {advice} {setting} (of a demo, {flag})");
    anyhow::Error::new(error).context(said)
}
