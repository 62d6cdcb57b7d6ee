//! Binding the listeners.

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
    let alone = bind(address, false).with_context(|| cannot_bind("data.listen", address))?;
    let address = alone.local_addr()?.as_socket().context("the data listener has no IP address")?;
    drop(alone);
    let listeners = (0..threads)
        .map(|_| listening(address, true).with_context(|| cannot_bind("data.listen", address)))
        .collect::<Result<Vec<_>>>()?;
    Ok((address, listeners))
}

/// The operators' listener.
///
/// # Errors
/// Where the address cannot be bound, naming the setting to change.
pub fn control(address: SocketAddr) -> Result<TcpListener> {
    listening(address, false).with_context(|| cannot_bind("control.listen", address))
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

fn cannot_bind(setting: &str, address: SocketAddr) -> String {
    let flag = if setting == "data.listen" { "--listen" } else { "--control" };
    format!(
        "cannot listen on {address}: stop what uses that port, or set {setting} (of a demo, {flag}) to another address"
    )
}
