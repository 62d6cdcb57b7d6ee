//! A wire with an ear: passes TCP on to where it belongs, and keeps every byte of both directions.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A listening wire; it ends with the test's runtime.
pub struct Recorder {
    /// Connect here in the place of the other side.
    pub address: SocketAddr,
    towards: Arc<Mutex<Vec<u8>>>,
    back: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Passes connections on to `behind`.
    pub async fn in_front_of(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Self { address, towards: Arc::default(), back: Arc::default() };
        let (towards, back) = (Arc::clone(&recorder.towards), Arc::clone(&recorder.back));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Whoever connects to a wire whose other end is gone is hung up on.
                let Ok(far) = TcpStream::connect(behind).await else { continue };
                drop((near.set_nodelay(true), far.set_nodelay(true)));
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_read, far_write, Arc::clone(&towards)));
                tokio::spawn(pass(far_read, near_write, Arc::clone(&back)));
            }
        });
        recorder
    }

    /// Every byte sent towards the other side so far, over all connections.
    pub fn towards(&self) -> Vec<u8> {
        self.towards.lock().clone()
    }

    /// Every byte that came back so far.
    pub fn back(&self) -> Vec<u8> {
        self.back.lock().clone()
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: Arc<Mutex<Vec<u8>>>) {
    let mut part = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut part).await {
        heard.lock().extend_from_slice(&part[..read]);
        if to.write_all(&part[..read]).await.is_err() {
            break;
        }
    }
}
