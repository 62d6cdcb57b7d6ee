//! A way to a server that swallows everything when told to: connections stand, connections are made, and no byte comes
//! back.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay in front of a server, which stops relaying without a word when told to.
pub struct Relay {
    pub address: SocketAddr,
    /// Whether it does at present.
    pub swallows: watch::Sender<bool>,
}

impl Relay {
    /// Starts one to a server.
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(to).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, told.clone()));
                tokio::spawn(pass(from_server, to_client, told.clone()));
            }
        });
        Self { address, swallows }
    }
}

/// Passes bytes on; what comes while it swallows is lost for good.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !*swallows.borrow() && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    // An end is swallowed, too.
    if *swallows.borrow() {
        std::future::pending::<()>().await;
    }
}
