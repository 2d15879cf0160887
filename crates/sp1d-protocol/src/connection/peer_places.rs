//! Places for the connections of peers.

use super::peer_table::{PeerLimits, PeerTable};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

type SharedTable<T> = Arc<Mutex<PeerTable<T>>>;

fn lock<T>(table: &SharedTable<T>) -> MutexGuard<'_, PeerTable<T>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Places for connections that stay open for long. If all are taken, further peers are refused. Clones share the
/// places.
#[derive(Debug, Clone)]
pub struct PeerPlaces(SharedTable<()>);

/// A place for a connection. Dropping it frees the place.
#[derive(Debug)]
pub struct PeerPlace {
    places: PeerPlaces,
    number: u64,
}

impl PeerPlaces {
    /// Creates free places.
    #[must_use]
    pub fn new(limits: PeerLimits) -> Self {
        Self(Arc::new(Mutex::new(PeerTable::new(limits))))
    }

    /// Takes a place for a connection of `peer`. Returns `None` if no place is free.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<PeerPlace> {
        let number = lock(&self.0).insert(peer.into(), ())?;
        Some(PeerPlace { places: self.clone(), number })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        lock(&self.places.0).remove(self.number);
    }
}

/// The connections that are in their handshake. If there are too many, the oldest one gives way: an honest peer sends
/// its first bytes at once, and needs its place for some milliseconds only. Clones share the places.
#[derive(Debug, Clone)]
pub(super) struct Handshakes(SharedTable<CancellationToken>);

/// The place of a connection that is in its handshake. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Handshake {
    handshakes: Handshakes,
    number: u64,
    displaced: CancellationToken,
}

impl Handshakes {
    pub(super) fn new(limits: PeerLimits) -> Self {
        Self(Arc::new(Mutex::new(PeerTable::new(limits))))
    }

    /// Starts the handshake of a connection of `peer`.
    pub(super) fn start(&self, peer: IpAddr) -> Handshake {
        let displaced = CancellationToken::new();
        let (number, replaced) = lock(&self.0).insert_in_place_of_oldest(peer.into(), displaced.clone());
        if let Some(replaced) = replaced {
            replaced.cancel();
        }
        Handshake { handshakes: self.clone(), number, displaced }
    }
}

impl Handshake {
    /// Resolves when the connection must be closed in favor of another one.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        lock(&self.handshakes.0).remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const LIMITS: PeerLimits = PeerLimits { total: 2, per_network: 1 };

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = PeerPlaces::new(LIMITS);
        let first = places.take(peer(1));
        assert!(first.is_some() && places.take(peer(1)).is_none());
        drop(first);
        assert!(places.take(peer(1)).is_some());
    }

    #[test]
    fn the_oldest_handshake_gives_way() {
        let handshakes = Handshakes::new(LIMITS);
        let (first, other) = (handshakes.start(peer(1)), handshakes.start(peer(2)));
        assert!(first.displaced().now_or_never().is_none());
        let second = handshakes.start(peer(1));
        assert!(first.displaced().now_or_never().is_some());
        drop(first);
        assert!(second.displaced().now_or_never().is_none() && other.displaced().now_or_never().is_none());
    }
}
