//! What a packet capture of a connection shows, without the rights that a capture needs.

use crate::observed_traffic::ObservedTraffic;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

/// A TCP relay on the loopback interface that records what it passes on, in both directions. It stops when dropped.
#[derive(Debug)]
pub struct RecordingRelay {
    /// The address to which clients connect.
    pub address: SocketAddr,
    traffic: ObservedTraffic,
    serving: JoinHandle<()>,
}

impl RecordingRelay {
    /// Starts a relay to `target`.
    ///
    /// # Panics
    /// Panics if no port is free.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let traffic = ObservedTraffic::default();
        let serving = tokio::spawn(serve(listener, target, traffic.clone()));
        Self { address, traffic, serving }
    }

    /// Returns what the relay has passed on so far.
    #[must_use]
    pub const fn traffic(&self) -> &ObservedTraffic {
        &self.traffic
    }
}

impl Drop for RecordingRelay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts connections and passes them on until the future is dropped.
async fn serve(listener: TcpListener, target: SocketAddr, traffic: ObservedTraffic) {
    let mut directions = JoinSet::new();
    while let Ok((accepted, _)) = listener.accept().await {
        // A target that refuses the connection closes that of the client.
        let Ok(dialed) = TcpStream::connect(target).await else { continue };
        let (from_client, to_client) = accepted.into_split();
        let (from_target, to_target) = dialed.into_split();
        directions.spawn(pass_on(from_client, to_target, traffic.clone()));
        directions.spawn(pass_on(from_target, to_client, traffic.clone()));
    }
}

/// Passes on one direction of a connection until it ends. Dropping `to` then closes that direction.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, traffic: ObservedTraffic) {
    let part = traffic.open_part();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        traffic.extend(part, &buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_relay_passes_on_and_records_both_directions() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = RecordingRelay::start(listener.local_addr().unwrap()).await;
        let (mut client, accepted) =
            tokio::join!(async { TcpStream::connect(relay.address).await.unwrap() }, listener.accept());
        let mut server = accepted.unwrap().0;
        let (question, reply) = (b"a question from the client".as_slice(), b"a reply".as_slice());
        client.write_all(question).await.unwrap();
        let mut bytes = vec![0; question.len()];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, question);
        server.write_all(reply).await.unwrap();
        drop(server);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, reply);
        assert_eq!(relay.traffic().carried_bytes(), question.len() + reply.len());
        assert!(relay.traffic().has_carried(question) && relay.traffic().has_carried(reply));
        // Bytes of two directions are not one text.
        assert!(!relay.traffic().has_carried(&[b"client".as_slice(), reply].concat()));
    }
}
