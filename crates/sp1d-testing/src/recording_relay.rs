//! What a packet capture of a connection shows, without the rights that a capture needs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{JoinHandle, JoinSet},
};

/// Length of the pieces in which marks are searched. Frames of a protocol may split a longer mark.
const PIECE_BYTES: usize = 16;

/// The bytes of each direction of each connection.
type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

/// A TCP relay on the loopback interface that records what it passes on, in both directions. It stops when dropped.
#[derive(Debug)]
pub struct RecordingRelay {
    /// The address to which clients connect.
    pub address: SocketAddr,
    recorded: Recorded,
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
        let recorded = Recorded::default();
        let serving = tokio::spawn(serve(listener, target, recorded.clone()));
        Self { address, recorded, serving }
    }

    /// Returns true if the relay has passed on `mark`, or any whole piece of 16 bytes of it.
    #[must_use]
    pub fn has_carried(&self, mark: &[u8]) -> bool {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces: Vec<&[u8]> =
            if mark.len() < PIECE_BYTES { vec![mark] } else { mark.chunks_exact(PIECE_BYTES).collect() };
        recorded.iter().any(|bytes| pieces.iter().any(|piece| contains(bytes, piece)))
    }

    /// Returns how many bytes the relay has passed on.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Vec::len).sum()
    }
}

impl Drop for RecordingRelay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

/// Accepts connections and passes them on until the future is dropped.
async fn serve(listener: TcpListener, target: SocketAddr, recorded: Recorded) {
    let mut directions = JoinSet::new();
    while let Ok((accepted, _)) = listener.accept().await {
        // A target that refuses the connection closes that of the client.
        let Ok(dialed) = TcpStream::connect(target).await else { continue };
        let (from_client, to_client) = accepted.into_split();
        let (from_target, to_target) = dialed.into_split();
        directions.spawn(pass_on(from_client, to_target, recorded.clone()));
        directions.spawn(pass_on(from_target, to_client, recorded.clone()));
    }
}

/// Passes on one direction of a connection until it ends. Dropping `to` then closes that direction.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, recorded: Recorded) {
    let direction = {
        let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.push(Vec::new());
        recorded.len() - 1
    };
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        recorded.lock().unwrap_or_else(PoisonError::into_inner)[direction].extend_from_slice(&buffer[..length]);
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
        assert_eq!(relay.carried_bytes(), question.len() + reply.len());
        assert!(relay.has_carried(question) && relay.has_carried(reply));
        // One piece is enough, and bytes of two directions are not one text.
        assert!(relay.has_carried(b"a question from , and then something else"));
        let across = [b"client".as_slice(), reply].concat();
        assert!(!relay.has_carried(&across) && !relay.has_carried(b"another question from here"));
    }
}
